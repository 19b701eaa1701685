"""The HTML report of a run or a study, its pictures and sound."""
