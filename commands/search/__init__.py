"""Parts of --mode tune: set-up, workers, trials and results of a study."""
