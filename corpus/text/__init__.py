"""Text to symbol ids: normalisation, phonemes, symbol sets."""
