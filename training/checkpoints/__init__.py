"""Files of a run that training reads back: checkpoints, initial weights, quarantine."""
