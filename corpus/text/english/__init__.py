"""English numbers, dates, amounts and abbreviations in words."""
