"""One trial: the pure function that trains it, its record, the comparison of two records, the environment."""
