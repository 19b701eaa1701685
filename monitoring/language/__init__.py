"""Names and texts for people, in English and Russian."""
