"""Training a network: random streams, optimisers, early stopping, the fit itself, and what its errors say."""
