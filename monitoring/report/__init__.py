"""HTML reports of runs and studies, with their pictures and sound."""
