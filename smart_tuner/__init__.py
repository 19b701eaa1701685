"""The supervisor: detects ailments of a training run, decides on interventions and judges their effect."""
