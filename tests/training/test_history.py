import numpy as np

from pipeline.training.history import History


def test_rows_become_curves_by_name() -> None:
    history = History(num_layers=1)
    assert history.names[6:] == ("weight_norm_1", "gradient_norm_1", "activation_norm_1")
    history.append(*range(9))
    history.append(*range(10, 19))
    np.testing.assert_array_equal(history.curves()["dev_cost"], [1, 11])
    assert history.at(1)["weight_norm_1"] == 16
    assert all(curve.flags.c_contiguous for curve in history.curves().values())


def test_a_copy_grows_independently() -> None:
    history = History(num_layers=1)
    history.append(*range(9))
    history.copy().append(*range(9))
    assert history.curves()["train_cost"].shape == (1,)
