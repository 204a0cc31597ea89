"""The digests by which a record's arrays are known."""

import hashlib

import numpy as np
import pytest

from pipeline.tracking.files import digest


def test_a_digest_is_sha256_over_name_type_shape_and_bytes() -> None:
    values = np.arange(6, dtype="<f4").reshape(2, 3)
    expected = hashlib.sha256(b"W1 <f4 (2, 3)\n" + values.tobytes()).hexdigest()
    assert digest({"W1": values}) == expected == digest({"W1": np.asfortranarray(values)})


@pytest.mark.parametrize(
    "other",
    [
        {"W2": np.zeros((2, 3), np.float32)},
        {"W1": np.zeros((3, 2), np.float32)},
        {"W1": np.zeros(6, np.float32)},
        {"W1": np.zeros((2, 3), np.int32)},
        {"W1": -np.zeros((2, 3), np.float32)},
    ],
)
def test_another_name_type_shape_or_bit_gives_another_digest(other: dict) -> None:
    assert digest(other) != digest({"W1": np.zeros((2, 3), np.float32)})
