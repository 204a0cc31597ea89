import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.nn.signals import linear_signals


@given(multiplier=st.sampled_from([0.5, 1.0, 1.5]), num_layers=st.integers(1, 60), units=st.integers(2, 8))
def test_signals_grow_or_vanish_by_the_power_of_the_depth(multiplier: float, num_layers: int, units: int) -> None:
    signals = linear_signals(multiplier, num_layers, units)
    layers = np.arange(1, num_layers + 1)
    np.testing.assert_allclose(signals.activation_norms, multiplier**layers, rtol=1e-12)
    np.testing.assert_allclose(signals.gradient_norms, multiplier ** (num_layers - layers), rtol=1e-12)


@pytest.mark.parametrize(("multiplier", "expected"), [(1.5, 1.5**49), (0.5, 0.5**49)])
def test_fifty_layers_explode_at_one_and_a_half_and_vanish_at_a_half(multiplier: float, expected: float) -> None:
    signals = linear_signals(multiplier, 50)
    assert signals.activation_norms[48] == pytest.approx(expected)
    assert signals.gradient_norms[0] == pytest.approx(expected)


def test_no_layers_are_refused() -> None:
    with pytest.raises(ValueError, match="num_layers"):
        linear_signals(1.5, 0)
