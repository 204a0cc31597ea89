"""A sweep pipeline: Hydra configs, Optuna sweeps, a NumPy network, MLflow runs, and reruns to the same bits."""
