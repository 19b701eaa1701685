"""A corpus made on the spot: generated sentences, spoken by espeak-ng."""
