"""The supervisor's inputs: facts of the run, the view of its signals, outliers."""
