"""One mode of the command line a module: each builds the parts and joins them."""
