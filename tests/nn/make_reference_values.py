"""Write `reference_values.npz` from PyTorch, so that the core is held to it where PyTorch is not installed.

`python -m tests.nn.make_reference_values`
"""

from pathlib import Path

import numpy as np

from tests.nn.oracle_cases import Case, few_cases

PATH = Path(__file__).with_name("reference_values.npz")
OPTIMIZERS = ("gradient_descent", "momentum", "rmsprop", "adam")
TRAJECTORY = Case("tanh", "softmax", "l1_l2", "three", True)
STEPS, LEARNING_RATE = 25, 0.02


def main() -> None:
    from tests.nn import torch_oracle

    answers = [torch_oracle.cost_and_gradient(case) for case in few_cases()]
    arrays = {
        "costs": np.array([J for J, _ in answers]),
        "gradients": np.concatenate([gradient for _, gradient in answers]),
        **{name: torch_oracle.train(TRAJECTORY, name, STEPS, LEARNING_RATE) for name in OPTIMIZERS},
    }
    np.savez_compressed(PATH, **arrays)


if __name__ == "__main__":
    main()
