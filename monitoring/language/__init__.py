"""Messages and reports in English and Russian."""
