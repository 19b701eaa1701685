"""Copies of a run for other tools: TensorBoard and MLflow."""
