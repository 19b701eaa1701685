"""Parts of --mode tune: plan, workers, trials and results of an Optuna study."""
