"""An experiment-tracking sweep pipeline: Hydra configs, Optuna sweeps, a NumPy network, MLflow runs, bit-identical reruns."""
