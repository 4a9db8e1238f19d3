# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""Seeks by their length: how many there are of each, and what they add up to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bootprof.report.comparison import Build
from optimizer.drives.seek import seek_distances

# Three bins for each power of ten.
BIN_STEPS = (1, 2, 5)


@dataclass(frozen=True, eq=False)
class SeekHistogram:
    """Seeks of several builds by length.

    Attributes:
        edges_bytes: Lengths between the bins, ascending, shape (bins + 1,). A bin holds its lower
            edge and not its upper one.
        counts: Number of seeks, shape (builds, bins).
        distances_bytes: Sum of their lengths, same shape.
        contiguous: Reads without a seek, shape (builds,).
    """

    edges_bytes: NDArray[np.int64]
    counts: NDArray[np.int64]
    distances_bytes: NDArray[np.int64]
    contiguous: NDArray[np.int64]


def seek_histogram(builds: Sequence[Build]) -> SeekHistogram:
    """Sort the seeks of several builds into bins of 1, 2 and 5 times the powers of ten."""
    of_builds = [seek_distances(build.trace.reads) for build in builds]
    every = np.concatenate([distances[distances > 0] for distances in of_builds])
    shortest, longest = (int(every.min()), int(every.max())) if every.size else (1, 1)
    ladder = [step * 10**power for power in range(19) for step in BIN_STEPS]
    first = max(number for number, edge in enumerate(ladder) if edge <= shortest)
    last = min(number for number, edge in enumerate(ladder) if edge > min(longest, 10**18))
    edges = np.array(ladder[first : last + 1], np.int64)
    bins = len(edges) - 1
    counts, sums, contiguous = [], [], []
    for distances in of_builds:
        jumps = distances[distances > 0]
        place = np.clip(np.searchsorted(edges, jumps, side="right") - 1, 0, bins - 1)
        counts.append(np.bincount(place, minlength=bins))
        added = np.zeros(bins, np.int64)
        np.add.at(added, place, jumps)
        sums.append(added)
        contiguous.append(len(distances) - len(jumps))
    return SeekHistogram(edges, np.array(counts), np.array(sums), np.array(contiguous))
