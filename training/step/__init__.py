"""One update of the weights, and the measurements made before the first one."""
