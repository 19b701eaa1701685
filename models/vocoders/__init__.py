"""Vocoders: from a log-mel to a wave."""
