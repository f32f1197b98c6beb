"""`studies:`: trials of a search over the study's settings, their ranking, and the resource check."""
