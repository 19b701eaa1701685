"""A loaded voice and the speech it makes."""
