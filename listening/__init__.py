"""Listening: waves → text, by a speech recogniser, and comparison of what was heard with what should have been said."""
