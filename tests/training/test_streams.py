import pickle

import numpy as np
import pytest

from pipeline.training.streams import SPAWN_KEYS, STREAM_SCHEME, Streams, streams

FIRST = {"init": 175889, "shuffle": 486908, "dropout": 756936, "augmentation": 144473, "gradcheck": 914815}


def test_streams_of_a_seed_are_always_the_same() -> None:
    """These numbers may change only together with STREAM_SCHEME: records depend on them."""
    assert STREAM_SCHEME == 1
    assert {name: int(getattr(streams(7), name).bit_generator.random_raw()) % 10**6 for name in SPAWN_KEYS} == FIRST


def test_streams_differ_from_each_other_and_between_seeds() -> None:
    drawn = [getattr(streams(seed), name).random() for seed in (0, 1) for name in SPAWN_KEYS]
    assert len(set(drawn)) == 10


def test_drawing_from_one_stream_moves_no_other() -> None:
    a, b = streams(1), streams(1)
    a.dropout.random(1000)
    assert a.shuffle.random() == b.shuffle.random()
    assert a.init.random() == b.init.random()


def test_restored_streams_go_on_where_they_were() -> None:
    original = streams(3)
    original.shuffle.permutation(10)
    original.dropout.random(7, np.float32)
    restored = Streams.restore(pickle.loads(pickle.dumps(original.states())))
    for name in SPAWN_KEYS:
        np.testing.assert_array_equal(getattr(restored, name).random(5), getattr(original, name).random(5))


def test_a_negative_seed_is_refused() -> None:
    with pytest.raises(ValueError, match="seed must not be negative, got -1"):
        streams(-1)


def test_every_repeat_has_streams_of_its_own_and_repeat_0_those_of_the_seed() -> None:
    first = [streams(3, repeat).init.integers(2**32) for repeat in range(20)]
    assert len(set(first)) == 20
    assert first[0] == streams(3).init.integers(2**32)
    assert streams(3, 2).init.integers(2**32) == first[2] != streams(4, 2).init.integers(2**32)
