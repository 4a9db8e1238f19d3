# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""Place and order of the hot files on an image, chosen by simulating the boot."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from optimizer.drives.models import Drive
from optimizer.formats.events import Bootlog
from optimizer.formats.sortfile import Place
from optimizer.images.layout import Layout
from optimizer.search import BestOrder, choose_place, search
from optimizer.simulate import Cost, Workload, make_workload


@dataclass(frozen=True)
class Placement:
    """The chosen place and order.

    Attributes:
        paths: The hot files in the order in which they are to be accessed.
        place: Where they go.
        costs: Simulated cost of each place that was compared, the cheaper one first; empty if the
            place was given.
        found: The best order of those that were tried; None if none were.
    """

    paths: list[bytes]
    place: Place
    costs: Mapping[Place, Cost]
    found: BestOrder | None


def choose(
    paths: Sequence[bytes],
    bootlog: Bootlog,
    layout: Layout,
    *,
    place: Literal["start", "end", "auto"],
    drive: Drive,
    candidates: int,
) -> Placement:
    """Choose where the hot files go, and in which order, by simulating the boot.

    Args:
        paths: The files in the order of first access.
        bootlog: Events of the boot.
        layout: An image of the same root file system, in any order.
        place: Where they go; ``auto`` for the cheaper place.
        drive: Drive whose time counts.
        candidates: How many orders to try; 0 to keep the order of first access.

    Raises:
        InputError: The bootlog is not of this image.
    """
    workload = make_workload(layout, bootlog)
    costs: dict[Place, Cost] = {}
    if place == "auto":
        costs = choose_place(workload, drive)
        where: Place = next(iter(costs))
    else:
        where = place
    order = np.arange(len(workload.paths))
    found = None
    if candidates:
        found = search(workload, where, drive, candidates)
        order = found.order
    return Placement(reordered(paths, layout, workload, order, where), where, costs, found)


def reordered(
    paths: Sequence[bytes],
    layout: Layout,
    workload: Workload,
    order: NDArray[np.int64],
    place: Place,
) -> list[bytes]:
    """Return paths in the order of a workload's files.

    Files whose data was not read (only looked up, or empty) go behind the others at the start of
    an image, and before them at its end, where no read passes over them.
    """
    rank = {int(workload.inodes[number]): position for position, number in enumerate(order)}
    ranked: list[tuple[int, bytes]] = []
    unread = []
    for path in paths:
        looked_up = layout.resolve(path)
        position = rank.get(int(layout.entries["inode"][looked_up[-1]])) if looked_up else None
        if position is None:
            unread.append(path)
        else:
            ranked.append((position, path))
    read = [path for _, path in sorted(ranked, key=lambda item: item[0])]
    return [*read, *unread] if place == "start" else [*unread, *read]
