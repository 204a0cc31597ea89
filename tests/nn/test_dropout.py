import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom

from pipeline.nn import dropout
from pipeline.nn.network import Architecture, Network, Regularization
from pipeline.nn.parameters import Parameters


def generator(seed: int) -> np.random.Generator:
    return np.random.Generator(np.random.SFC64(seed))


def mask(keep_prob: float, shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    words = dropout.draw_words(int(np.prod(shape)), rng=generator(seed)).reshape(shape)
    D = np.empty(shape)
    dropout.fill_mask(words, keep_prob, D)
    return D


@given(keep_prob=st.floats(0.01, 1), seed=st.integers(0, 2**32))
def test_entries_are_zero_or_the_activation_over_keep_prob(keep_prob: float, seed: int) -> None:
    A = generator(seed + 1).standard_normal((5, 7))
    out = np.empty_like(A)
    D = mask(keep_prob, A.shape, seed)
    dropout.apply(A, D, out)
    np.testing.assert_allclose(out, np.where(D > 0, A / keep_prob, 0), rtol=1e-15)


@settings(max_examples=30)
@given(keep_prob=st.floats(0.02, 0.99), seed=st.integers(0, 2**32))
def test_the_share_kept_matches_keep_prob_to_statistical_accuracy(keep_prob: float, seed: int) -> None:
    count = 200_000
    kept = np.count_nonzero(mask(keep_prob, (count,), seed))
    low, high = binom.interval(1 - 1e-9, count, keep_prob)
    assert low <= kept <= high


@settings(max_examples=30)
@given(keep_prob=st.floats(0.05, 1), seed=st.integers(0, 2**32))
def test_inverted_dropout_keeps_the_mean(keep_prob: float, seed: int) -> None:
    count = 200_000
    standard_error = np.sqrt((1 - keep_prob) / keep_prob / count)
    assert abs(mask(keep_prob, (count,), seed).mean() - 1) <= 6.5 * standard_error + 1e-5 / keep_prob


def test_the_resolution_of_keep_prob_is_two_to_the_minus_sixteen() -> None:
    every_word = np.arange(2**16, dtype=np.uint16)
    D = np.empty(2**16)
    for keep_prob in (0.1, 0.5, 0.65, 0.999, 1 - 2**-20):
        dropout.fill_mask(every_word, keep_prob, D)
        assert abs(np.count_nonzero(D) / 2**16 - keep_prob) <= 2**-17
        assert D.max() == pytest.approx(1 / keep_prob)


def test_the_smallest_keep_prob_keeps_one_word_in_65536_rather_than_none() -> None:
    D = np.empty(2**16)
    dropout.fill_mask(np.arange(2**16, dtype=np.uint16), 1e-6, D)
    assert np.count_nonzero(D) == 1


def test_units_are_dropped_independently_of_each_other_and_of_the_example() -> None:
    kept = mask(0.5, (8, 50_000)) > 0
    assert np.abs(np.corrcoef(kept) - np.eye(8)).max() < 0.025
    halves = np.corrcoef(kept[:, :-1].ravel(), kept[:, 1:].ravel())[0, 1]
    assert abs(halves) < 0.01


def network(keep_prob: tuple[float, ...], keep_prob_input: float = 1.0) -> Network:
    regularization = Regularization(m=10, keep_prob=keep_prob, keep_prob_input=keep_prob_input)
    return Network(
        Architecture((6, 5, 4, 3), ("relu", "tanh"), "softmax"), regularization, dtype=np.float64, max_batch=9
    )


def test_each_layer_has_its_own_keep_prob_and_the_output_layer_none() -> None:
    D = network((0.5, 0.25), 0.8).draw_masks(9, generator(0))
    assert [d.shape for d in D if d is not None] == [(6, 9), (5, 9), (4, 9)]
    assert [d.max() for d in D if d is not None] == pytest.approx([1.25, 2, 4])
    assert network((1.0, 0.25)).draw_masks(9, generator(0))[:2] == [None, None]


def test_a_network_that_keeps_everything_draws_nothing() -> None:
    rng, untouched = generator(3), generator(3)
    assert network(()).draw_masks(9, rng) == [None] * 3
    assert rng.random() == untouched.random()


@pytest.mark.parametrize("second", [0.5, 0.25])
def test_every_layer_has_words_of_its_own_whether_its_keep_prob_is_its_neighbours_or_not(second: float) -> None:
    masks, words = network((0.5, second)).draw_masks(9, generator(1)), dropout.draw_words(81, rng=generator(1))
    expected = np.concatenate([(words[:45] < 2**15) / 0.5, (words[45:] < second * 2**16) / second])
    np.testing.assert_array_equal(np.concatenate([d.T.ravel() for d in masks if d is not None]), expected)


def test_evaluation_ignores_dropout() -> None:
    rng = np.random.default_rng(0)
    parameters = Parameters((6, 5, 4, 3), np.float64)
    parameters.theta[:] = rng.standard_normal(parameters.theta.size)
    X, y = rng.standard_normal((6, 9)), rng.integers(0, 3, 9)
    assert network((0.5, 0.5), 0.5).evaluate(X, y, parameters) == network(()).evaluate(X, y, parameters)
