# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""Search for an order of the files in which a boot costs less than in the order of first access.

Hill climbing: a stretch of files is moved elsewhere, and stays there if the simulated boot
(:mod:`optimizer.simulate`) got cheaper. Half of the moves are short ones, since most files are
nearly where they belong. The same seed and number of candidates give the same order.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from optimizer.drives.models import Drive
from optimizer.drives.seek import modelled_seconds
from optimizer.formats.sortfile import Place
from optimizer.simulate import (
    Cost,
    Order,
    Workload,
    cost_of,
    first_access_order,
    reads_of,
)

LONGEST_STRETCH = 32


@dataclass(frozen=True, eq=False)
class BestOrder:
    """The best order that was found.

    Attributes:
        order: Numbers of the files of the workload in the order in which they are to be written.
        cost: Its cost.
        first: Cost of the order of first access at that place.
    """

    order: Order
    cost: Cost
    first: Cost


def choose_place(workload: Workload, drive: Drive) -> dict[Place, Cost]:
    """Return the cost of the order of first access at each place, the cheaper place first."""
    order = first_access_order(workload)
    places: tuple[Place, Place] = ("start", "end")
    costs = {place: cost_of(workload, order, place, drive) for place in places}
    return dict(sorted(costs.items(), key=lambda item: item[1].seconds))


def search(
    workload: Workload, place: Place, drive: Drive, candidates: int, seed: int = 0
) -> BestOrder:
    """Look for a cheaper order.

    Args:
        workload: The demand of the boot.
        place: Where the hot files go.
        drive: Drive whose time is to be short.
        candidates: How many orders to simulate.
        seed: Of the choices.
    """
    random = np.random.default_rng(seed)
    order = first_access_order(workload)
    first = cost_of(workload, order, place, drive)
    best = modelled_seconds(reads_of(workload, order, place), drive)
    files = len(order)
    for _ in range(candidates if files > 1 else 0):
        length = int(random.integers(1, min(LONGEST_STRETCH, files - 1) + 1))
        start = int(random.integers(0, files - length + 1))
        rest = np.concatenate((order[:start], order[start + length :]))
        target = int(random.integers(0, len(rest) + 1))
        if random.random() < 0.5:
            # Not far: most files are nearly where they belong.
            near = int(random.integers(-LONGEST_STRETCH, LONGEST_STRETCH + 1))
            target = min(max(start + near, 0), len(rest))
        stretch = order[start : start + length]
        candidate = np.concatenate((rest[:target], stretch, rest[target:]))
        seconds = modelled_seconds(reads_of(workload, candidate, place), drive)
        if seconds < best:
            best, order = seconds, candidate
    return BestOrder(order, cost_of(workload, order, place, drive), first)
