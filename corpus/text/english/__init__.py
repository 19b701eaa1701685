"""English numbers, dates and abbreviations as words."""
