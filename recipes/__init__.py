"""One file for each model: its fields, bounds and presets."""
