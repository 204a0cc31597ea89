"""One short file for each command: compose the configuration, call, print."""
