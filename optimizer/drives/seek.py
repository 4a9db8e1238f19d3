# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""Cost of a block trace: seek distance, and the time that a drive needs for it.

*Seek distance* is the sum over all reads of |offset - end of the previous read|, in bytes. It does
not depend on any drive. The head starts at offset 0, so the seek distance of the first read is its
offset. A read is *non-contiguous* if its distance is not 0.

*Modelled time* is the sum over all reads of overhead + positioning + transfer, with the formulas
and sources of :mod:`optimizer.drives.models`.

The *bound* of a trace is the modelled time of one ascending pass over the bytes that it read, each
byte once and each contiguous range in one request. In this model, no order of the same bytes at the
same places is faster; other places can be.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from optimizer.drives.models import Drive
from optimizer.spans import Spans, merge


@dataclass(frozen=True)
class Totals:
    """The totals of a block trace that do not depend on a drive.

    Attributes:
        reads: Number of reads.
        bytes: Sum of their lengths.
        unique_bytes: Bytes that were read at least once.
        noncontiguous_reads: Reads that do not start where the one before them ended.
        seek_distance_bytes: Sum over reads of |offset - end of the previous read|.
    """

    reads: int
    bytes: int
    unique_bytes: int
    noncontiguous_reads: int
    seek_distance_bytes: int


def previous_ends(reads: Spans) -> NDArray[np.int64]:
    """Return the position of the head before each read, in bytes, shape (reads,)."""
    ends = np.zeros(len(reads), dtype=np.int64)
    ends[1:] = (reads["offset_bytes"] + reads["length_bytes"])[:-1]
    return ends


def seek_distances(reads: Spans) -> NDArray[np.int64]:
    """Return |offset - end of the previous read| of each read in bytes, shape (reads,)."""
    return np.asarray(np.abs(reads["offset_bytes"] - previous_ends(reads)))


def totals_of(reads: Spans) -> Totals:
    """Return the totals of a block trace.

    Args:
        reads: Reads, or spans that are read in this order.
    """
    distances = seek_distances(reads)
    return Totals(
        reads=len(reads),
        bytes=int(reads["length_bytes"].sum()),
        unique_bytes=int(merge(reads)["length_bytes"].sum()),
        noncontiguous_reads=int(np.count_nonzero(distances)),
        seek_distance_bytes=int(distances.sum()),
    )


def read_seconds(reads: Spans, drive: Drive) -> NDArray[np.float64]:
    """Return the modelled time of each read on a drive in seconds, shape (reads,).

    Args:
        reads: Reads, or spans that are read in this order; all within the capacity of the drive.
        drive: The drive; the image starts at its offset 0.
    """
    offsets = reads["offset_bytes"]
    transfer = drive.pass_seconds(offsets + reads["length_bytes"]) - drive.pass_seconds(offsets)
    positioning = drive.positioning_seconds(previous_ends(reads), offsets)
    return np.asarray(drive.overhead_ms / 1e3 + positioning + transfer)


def modelled_seconds(reads: Spans, drive: Drive) -> float:
    """Return the modelled time of a block trace on a drive in seconds."""
    return float(read_seconds(reads, drive).sum())


def bound_seconds(reads: Spans, drive: Drive) -> float:
    """Return the modelled time of one ascending pass over the bytes that a block trace read."""
    return modelled_seconds(merge(reads), drive)
