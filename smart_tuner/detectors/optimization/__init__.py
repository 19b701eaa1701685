"""Detectors of trouble with losses, gradients and the learning rate."""
