"""What people see in a terminal: Hydra composition, progress, tables, the closing words of a sweep, Ctrl-C."""
