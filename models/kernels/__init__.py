"""Fast CPU and GPU code that several models share: numba loops, oneDNN products, OpenMP threads, CUDA graphs."""
