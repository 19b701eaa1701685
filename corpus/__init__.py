"""Recordings and transcripts to padded batches."""
