"""Plan of a run: settings that are measured at its start, its length in steps, and the forecast of its time."""
