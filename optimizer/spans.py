# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""Byte ranges of an image: merged, intersected, and matched with each other.

A *span* is an offset and a length. What a boot read, what it had to read and where a file lies are
all spans; only what was really read, in an order and at a time, is a read
(:data:`optimizer.formats.blocktrace.READ_DTYPE`). Every function here takes rows with the fields
``offset_bytes`` and ``length_bytes``, so reads and extents can be passed as they are.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

Spans = NDArray[np.void]
"""Rows of :data:`SPAN`, or of any type that has its two fields."""

SPAN = np.dtype([("offset_bytes", "<i8"), ("length_bytes", "<i8")])
"""One span: offset and length in bytes."""

OVERLAP = np.dtype([("read", "<i8"), ("extent", "<i8"), ("length_bytes", "<i8")])
"""What two spans have in common: index of the one (a read), index of the other (an extent), and
how many bytes."""


def make_spans(offsets_bytes: ArrayLike, lengths_bytes: ArrayLike) -> Spans:
    """Return spans of these offsets and lengths."""
    offsets = np.atleast_1d(np.asarray(offsets_bytes, np.int64))
    spans = np.empty(offsets.size, SPAN)
    spans["offset_bytes"] = offsets
    spans["length_bytes"] = lengths_bytes
    return spans


def spans_of(rows: Spans) -> Spans:
    """Return where some rows lie, without their other fields."""
    return make_spans(rows["offset_bytes"], rows["length_bytes"])


def merge(spans: Spans) -> Spans:
    """Return the bytes of some spans as spans that neither overlap nor touch, ascending."""
    if not len(spans):
        return spans_of(spans)
    order = np.argsort(spans["offset_bytes"], kind="stable")
    starts = spans["offset_bytes"][order]
    # How far the bytes reach that all spans up to this one cover.
    reach = np.maximum.accumulate(starts + spans["length_bytes"][order])
    first = np.concatenate(([True], starts[1:] > reach[:-1]))
    last = np.concatenate((first[1:], [True]))
    return make_spans(starts[first], reach[last] - starts[first])


def common(one: Spans, other: Spans) -> Spans:
    """Return the bytes that are in both of two sets of spans, merged."""
    first, second = merge(one), merge(other)
    rows = overlaps(second, reach_of(second), first["offset_bytes"], first["length_bytes"])
    offsets = np.maximum(
        first["offset_bytes"][rows["read"]], second["offset_bytes"][rows["extent"]]
    )
    return merge(make_spans(offsets, rows["length_bytes"]))


def reach_of(spans: Spans) -> NDArray[np.int64]:
    """Return for ascending spans the largest end of each one and all before it, in bytes."""
    return np.maximum.accumulate(spans["offset_bytes"] + spans["length_bytes"])


def overlaps(
    spans: Spans, reach: NDArray[np.int64], offsets_bytes: ArrayLike, lengths_bytes: ArrayLike
) -> Spans:
    """Find what of some spans each read overlaps.

    Args:
        spans: Ascending by offset; they may overlap each other.
        reach: :func:`reach_of` them.
        offsets_bytes: Offset of each read.
        lengths_bytes: Length of each read.

    Returns:
        Rows of :data:`OVERLAP`, by read and then by offset.
    """
    begin = np.atleast_1d(np.asarray(offsets_bytes, np.int64))
    end = begin + np.atleast_1d(np.asarray(lengths_bytes, np.int64))
    starts = spans["offset_bytes"]
    first = np.searchsorted(reach, begin, side="right")
    last = np.searchsorted(starts, end, side="left")
    counts = np.where(end > begin, np.maximum(last - first, 0), 0)
    read = np.repeat(np.arange(begin.size), counts)
    extent = np.arange(read.size) + np.repeat(first - (np.cumsum(counts) - counts), counts)
    covered = np.minimum(end[read], starts[extent] + spans["length_bytes"][extent])
    covered = covered - np.maximum(begin[read], starts[extent])
    touched = covered > 0
    rows = np.empty(int(touched.sum()), OVERLAP)
    rows["read"] = read[touched]
    rows["extent"] = extent[touched]
    rows["length_bytes"] = covered[touched]
    return rows
