"""German normalisation."""
