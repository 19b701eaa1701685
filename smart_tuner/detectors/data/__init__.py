"""Detectors of trouble with recordings, transcripts and their loading."""
