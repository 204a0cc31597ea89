"""The search: its space, its study, its coordinator and the workers it hands trials to."""
