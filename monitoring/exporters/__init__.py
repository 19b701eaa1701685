"""Exporters of a run to other programs: TensorBoard event files, MLflow runs."""
