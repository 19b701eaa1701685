"""The loop that turns batches into a voice."""
