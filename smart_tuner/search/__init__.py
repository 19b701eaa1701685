"""Hyperparameter search: Optuna studies of short trainings, run by several workers and resumed after interruptions."""
