"""Treatment of ailments: choosing a remedy, carrying it out, judging its effect, undoing what did not help."""
