"""From a finished study to one configuration: confirmation on new seeds, and a single evaluation on the test set."""
