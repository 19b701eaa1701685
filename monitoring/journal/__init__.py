"""The record of a run on disk: journal, summary, orders to a running training, and their readers."""
