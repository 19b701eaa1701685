"""Modes about recordings and transcripts."""
