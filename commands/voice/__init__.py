"""Modes that use a trained voice."""
