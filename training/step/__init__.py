"""One update of the weights, and measurements that are made before the first one."""
