import pytest

from pipeline.nn.architecture import Architecture, Regularization


def test_binary_networks_have_two_classes_and_one_unit() -> None:
    assert Architecture((4, 1), (), "sigmoid").num_classes == 2
    assert Architecture((4, 6, 5), ("relu",), "softmax").num_classes == 5
    assert Architecture((4, 6, 5), ("relu",), "softmax").num_layers == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (((4,), (), "softmax"), "layer_sizes"),
        (((4, 0, 2), ("relu",), "softmax"), "layer_sizes"),
        (((4, 3, 2), (), "softmax"), r"one per hidden layer \(1\)"),
        (((4, 3, 2), ("swish",), "softmax"), "one of relu, leaky_relu, tanh, sigmoid, identity, got 'swish'"),
        (((4, 3, 2), ("relu",), "linear"), "one of softmax, sigmoid, got 'linear'"),
        (((4, 3, 2), ("relu",), "sigmoid"), "one unit, got 2"),
    ],
)
def test_parts_that_do_not_fit_are_refused_by_name(arguments: tuple[object, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Architecture(*arguments)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"m": 0}, "m must be at least 1, got 0"),
        ({"m": 1, "lambd": -0.1}, "lambd must be finite and not negative, got -0.1"),
        ({"m": 1, "lambd": float("nan")}, "lambd"),
        ({"m": 1, "lambd_l1": float("inf")}, "lambd_l1"),
        ({"m": 1, "keep_prob": (0.5, 0.0)}, r"keep_prob must be in \(0, 1\], got 0.0"),
        ({"m": 1, "keep_prob_input": 1.1}, r"keep_prob_input must be in \(0, 1\], got 1.1"),
    ],
)
def test_strengths_out_of_range_are_refused_by_name(values: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Regularization(**values)  # type: ignore[arg-type]
