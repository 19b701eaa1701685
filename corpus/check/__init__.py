"""Check of a corpus before training: measurements, rules and the report."""
