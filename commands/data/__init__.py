"""Modes that work on recordings and transcripts."""
