"""Fast CPU and GPU code that several models share."""
