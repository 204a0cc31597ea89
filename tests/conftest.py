"""What every test has: quiet libraries."""

import logging

import pytest


@pytest.fixture(autouse=True)
def quiet_optuna() -> None:
    logging.getLogger("optuna").setLevel(logging.WARNING)
