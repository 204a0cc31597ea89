"""The gradient check: numerical gradients, restarts at a layer, verdicts, and the checks before a sweep."""
