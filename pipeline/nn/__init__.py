"""The network in NumPy and the standard library alone: it knows no configuration, no files and no tracking."""
