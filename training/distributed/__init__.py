"""Several processes that share one training step."""
