"""A network with its preprocessing: inference, and the model that MLflow serves."""
