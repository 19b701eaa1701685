"""A run's files: the journal with its writer, readers and replayed state, summary.json, decoded arrays, requests."""
