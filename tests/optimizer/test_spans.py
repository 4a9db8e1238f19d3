# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""Spans are merged, intersected and matched as sets of bytes are."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from optimizer.spans import Spans, common, make_spans, merge, overlaps, reach_of

places_strategy = st.lists(st.tuples(st.integers(0, 300), st.integers(0, 40)), max_size=12)


def spans_from(places: list[tuple[int, int]]) -> Spans:
    return make_spans([place[0] for place in places], [place[1] for place in places])


def bytes_of(spans: Spans) -> set[int]:
    return {byte for offset, length in spans.tolist() for byte in range(offset, offset + length)}


def brute_force(
    spans: list[tuple[int, int]], reads: list[tuple[int, int]]
) -> list[tuple[int, int, int]]:
    rows = []
    for read, (offset, length) in enumerate(reads):
        for index, (other, size) in enumerate(spans):
            begin, end = max(offset, other), min(offset + length, other + size)
            if end > begin:
                rows.append((read, index, end - begin))
    return rows


@settings(max_examples=300)
@given(places=places_strategy, reads=places_strategy)
def test_overlaps_are_those_of_a_comparison_of_all_pairs(
    places: list[tuple[int, int]], reads: list[tuple[int, int]]
) -> None:
    """Also where spans overlap each other, as the extents of a strange image may."""
    places.sort()
    spans = spans_from(places)
    found = overlaps(
        spans, reach_of(spans), [read[0] for read in reads], [read[1] for read in reads]
    )
    assert found.tolist() == brute_force(places, reads)


@given(places=places_strategy)
def test_merged_spans_have_the_same_bytes_in_as_few_spans_as_can_be(
    places: list[tuple[int, int]],
) -> None:
    merged = merge(spans_from(places))
    assert bytes_of(merged) == bytes_of(spans_from(places))
    ends = merged["offset_bytes"] + merged["length_bytes"]
    assert (merged["offset_bytes"][1:] > ends[:-1]).all()


@given(one=places_strategy, other=places_strategy)
def test_common_bytes_are_the_intersection(
    one: list[tuple[int, int]], other: list[tuple[int, int]]
) -> None:
    found = common(spans_from(one), spans_from(other))
    assert bytes_of(found) == bytes_of(spans_from(one)) & bytes_of(spans_from(other))
    assert np.array_equal(found, merge(found))
