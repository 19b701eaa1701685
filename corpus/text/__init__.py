"""Text to symbol ids: normalisation, phonemes, the symbol set."""
