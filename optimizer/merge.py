# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""Several boots' orders of files to one order.

The rule is Borda's (Mémoire sur les élections au scrutin, 1781), for lists of different lengths
that do not hold the same files:

* the score of a file in a profile of n files is its rank divided by n, so from 0 to below 1;
* in a profile that does not have it, its score is 1: behind all. (R. Fagin, R. Kumar and
  D. Sivakumar, Comparing top k lists, SIAM J. Discrete Math. 17 (1), 2003, put it at this place,
  which they call location k + 1);
* files are put in the order of the weighted mean of their scores. Where it is equal, the file with
  more weight behind it comes first, then the smaller path.

Hence: a file that all profiles have before another one comes before it in the result; a file that
few profiles have goes to the end, where the other boots do not have to pass over it; a weight of 2
is the same as the profile twice; and the order in which profiles are given does not matter.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import count

import numpy as np
from numpy.typing import NDArray

from optimizer.errors import InputError

# Sums of the same numbers in another order differ by less; real differences are far larger.
SCORE_DIGITS = 11


@dataclass(frozen=True)
class Opinion:
    """Comparison of one profile with the merged order.

    Attributes:
        name: Name of the profile.
        weight: Its weight.
        files: Number of its files.
        only_here: Number of files that no other profile has.
        absent: Number of files of the others that it does not have.
        footrule: Spearman's footrule between its order and the merged order of its files, as a
            fraction of the largest possible one: 0 same order, 1 reversed.
    """

    name: str
    weight: float
    files: int
    only_here: int
    absent: int
    footrule: float


@dataclass(frozen=True, eq=False)
class Merged:
    """One order for several profiles. Arrays have shape (files,), in the merged order.

    Attributes:
        paths: The files.
        scores: Weighted mean score of each, from 0 to 1.
        support: Share of the weight of the profiles that have it.
        profiles: Number of profiles that have it.
        spread: Weighted standard deviation of its score among the profiles that have it.
        opinions: One for each profile, in the order in which they were added.
    """

    paths: list[bytes]
    scores: NDArray[np.float64]
    support: NDArray[np.float64]
    profiles: NDArray[np.int64]
    spread: NDArray[np.float64]
    opinions: tuple[Opinion, ...]


class Merger:
    """Takes profiles one by one; paths are held once, so that thousands of profiles fit."""

    def __init__(self) -> None:
        """Start without profiles."""
        self._numbers: defaultdict[bytes, int] = defaultdict(count().__next__)
        self._profiles: list[tuple[str, float, NDArray[np.int32]]] = []

    def add(self, name: str, paths: Iterable[bytes], weight: float = 1.0) -> None:
        """Take a profile.

        Args:
            name: What to call it.
            paths: Its distinct paths in the order of first access.
            weight: Its weight, more than 0.

        Raises:
            InputError: The weight is not a number above 0.
        """
        if not 0 < weight < math.inf:
            raise InputError(f"{name}: weight {weight:g}", hint="a weight is a number above 0")
        numbers = np.fromiter(map(self._numbers.__getitem__, paths), np.int32)
        self._profiles.append((name, float(weight), numbers))

    def merge(
        self, excluded: Callable[[bytes], object] | None = None, least_support: float = 0.0
    ) -> Merged:
        """Merge all profiles.

        Args:
            excluded: Returns which paths to leave out before ranks are counted.
            least_support: Leave out files that profiles with less than this share of the weight
                have, from 0 to 1.

        Raises:
            InputError: There is no profile, or no file is left.
        """
        paths = list(self._numbers)
        kept = np.ones(len(paths), bool)
        if excluded is not None:
            kept = np.fromiter((not excluded(path) for path in paths), bool, len(paths))
        profiles = [
            (name, weight, numbers[kept[numbers]]) for name, weight, numbers in self._profiles
        ]
        total = sum(weight for _, weight, _ in profiles)
        support, squares, sums = (np.zeros(len(paths)) for _ in range(3))
        holders = np.zeros(len(paths), np.int64)
        for _, weight, numbers in profiles:
            score = np.arange(numbers.size) / max(1, numbers.size)
            support[numbers] += weight
            holders[numbers] += 1
            sums[numbers] += weight * score
            squares[numbers] += weight * score**2
        held = np.maximum(support, np.finfo(float).tiny)
        spread = np.sqrt(np.maximum(squares / held - (sums / held) ** 2, 0.0))
        # A sum of parts, compared with a bound that people give with few digits.
        share = support / (total or 1.0)
        left = np.flatnonzero((holders > 0) & (share >= least_support - 1e-9))
        if not left.size:
            raise InputError(
                f"{len(profiles)} profiles: no file is left to put in order",
                hint="give bootlogs with files of the image, or a lower --min-support",
            )
        scores = np.round((sums + (total - support)) / total, SCORE_DIGITS)
        by_path = np.array(sorted(left.tolist(), key=paths.__getitem__))
        order = by_path[np.lexsort((-np.round(share[by_path], SCORE_DIGITS), scores[by_path]))]
        rank = np.full(len(paths), -1)
        rank[order] = np.arange(order.size)
        return Merged(
            paths=[paths[number] for number in order.tolist()],
            scores=scores[order],
            support=share[order],
            profiles=holders[order],
            spread=spread[order],
            opinions=tuple(
                _opinion(name, weight, numbers, rank, holders, order.size)
                for name, weight, numbers in profiles
            ),
        )


def _opinion(
    name: str,
    weight: float,
    numbers: NDArray[np.int32],
    rank: NDArray[np.int64],
    holders: NDArray[np.int64],
    files: int,
) -> Opinion:
    merged = rank[numbers]
    present = merged[merged >= 0]
    moved = np.abs(np.argsort(present) - np.arange(present.size))
    largest = present.size**2 // 2
    return Opinion(
        name=name,
        weight=weight,
        files=int(numbers.size),
        only_here=int((holders[numbers] == 1).sum()),
        absent=files - int(present.size),
        footrule=float(moved.sum() / largest) if largest else 0.0,
    )
