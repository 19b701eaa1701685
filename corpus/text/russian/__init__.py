"""Russian numbers, dates, amounts and abbreviations as words."""
