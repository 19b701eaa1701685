"""The scorecards that anyone can run."""
