"""The display of a running training in a terminal."""
