import numpy as np
import pytest

from pipeline.nn.parameters import Parameters


def test_every_layer_is_a_view_of_one_vector() -> None:
    parameters = Parameters((3, 4, 2), np.float64)
    parameters.theta[:] = np.arange(26)
    assert [parameters.W[1].shape, parameters.W[2].shape, parameters.b[1].shape, parameters.b[2].shape] == [
        (4, 3),
        (2, 4),
        (4, 1),
        (2, 1),
    ]
    np.testing.assert_array_equal(parameters.W[2].T, np.arange(12, 20).reshape(4, 2))
    np.testing.assert_array_equal(parameters.b[2].ravel(), [24, 25])
    parameters.b[1][2] = -1
    assert parameters.theta[22] == -1


def test_weights_are_every_w_and_no_b() -> None:
    parameters = Parameters((3, 4, 2))
    for b in parameters.b.values():
        b[:] = 1
    assert parameters.weights.size == 20
    assert not parameters.weights.any()


def test_views_by_name_cover_the_vector_in_order() -> None:
    parameters = Parameters((3, 4, 2), np.float64)
    parameters.theta[:] = np.arange(26)
    assert tuple(parameters.as_dict()) == parameters.names == ("W1", "W2", "b1", "b2")
    np.testing.assert_array_equal(
        np.concatenate([v.T.ravel() for v in parameters.as_dict().values()]), parameters.theta
    )


def test_a_coordinate_is_named_by_the_entry_it_is() -> None:
    parameters = Parameters((3, 4, 2), np.float64)
    assert [parameters.coordinate(i) for i in (0, 5, 19, 20, 25)] == [
        "W1[0, 0]",
        "W1[1, 1]",
        "W2[1, 3]",
        "b1[0]",
        "b2[1]",
    ]


def test_a_coordinate_outside_is_refused() -> None:
    with pytest.raises(ValueError, match=r"0\.\.25, got 26"):
        Parameters((3, 4, 2)).coordinate(26)


def test_a_copy_shares_no_memory() -> None:
    parameters = Parameters((3, 2))
    copy = parameters.copy(np.complex128)
    copy.theta[:] = 1
    assert not parameters.theta.any()
    assert copy.theta.dtype == np.complex128


@pytest.mark.parametrize("sizes", [(3,), (3, 0, 2), ()])
def test_sizes_that_make_no_network_are_refused(sizes: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="layer_sizes"):
        Parameters(sizes)
