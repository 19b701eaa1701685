"""Display of a running training in a terminal."""
