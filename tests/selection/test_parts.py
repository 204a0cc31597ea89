"""Which subsets of the parts a race proposes values for."""

from itertools import combinations

from pipeline.selection.parts import subsets


def test_up_to_three_parts_are_tried_in_every_subset_and_more_alone_and_left_out() -> None:
    assert subsets("a") == []
    assert subsets("abc") == [("a",), ("b",), ("c",), ("a", "b"), ("a", "c"), ("b", "c")]
    for parts in ("abcd", "abcde"):
        assert subsets(parts) == [*combinations(parts, 1), *combinations(parts, len(parts) - 1)]
