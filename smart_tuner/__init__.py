"""Deciding: what to change in a training run, and whether it helped."""
