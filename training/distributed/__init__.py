"""Training steps that several processes compute together."""
