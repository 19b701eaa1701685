"""Files of a run that training reads back: checkpoints, initial weights, and settings that a person may edit."""
