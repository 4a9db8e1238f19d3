"""Choosing place and order of the hot files by simulation, for ``bootprof sort``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from bootprof.bootlog import read_bootlog
from bootprof.errors import InputError
from bootprof.report.units import quantity
from optimizer.attribution import resolve
from optimizer.drives import Drive
from optimizer.iso9660 import find_squashfs, is_iso
from optimizer.search import choose_place, search
from optimizer.simulate import Cost, Place, Workload, make_workload
from optimizer.squashfs import Layout, read_layout


@dataclass(frozen=True)
class Choice:
    """What was chosen.

    Attributes:
        paths: The hot files in the order in which they are to be accessed.
        place: Where they go.
        said: What was simulated, a sentence each.
    """

    paths: list[bytes]
    place: Place
    said: tuple[str, ...]


def choose(
    paths: Sequence[bytes],
    bootlog: Path,
    image: Path,
    *,
    place: Literal["start", "end", "auto"],
    drive: Drive,
    candidates: int,
) -> Choice:
    """Choose where the hot files go, and in which order, by simulating the boot.

    Args:
        paths: The files in the order of first access.
        bootlog: Rich bootlog of the boot.
        image: Image of the same root file system: a squashfs, or an ISO with one.
        place: Where they go; ``auto`` for the cheaper place.
        drive: Drive whose time counts.
        candidates: How many orders to try; 0 to keep the order of first access.

    Raises:
        InputError: The bootlog is plain, or not of this image.
    """
    with bootlog.open("rb") as stream:
        if not stream.read(18).startswith(b"#bootprof-bootlog "):
            raise InputError(
                f"{bootlog}: a plain bootlog does not tell which parts of a file were read when",
                hint="give bootlog.events, or leave out --place auto and --search",
            )
        stream.seek(0)
        log = read_bootlog(stream, str(bootlog))
    layout = read_layout(image, find_squashfs(image) if is_iso(image) else 0)
    workload = make_workload(layout, log)
    said = []
    where: Place
    if place == "auto":
        costs = choose_place(workload, drive)
        where = next(iter(costs))
        said.append(
            f"simulated on {drive.title}: "
            + ", ".join(f"at the {name} {describe(cost)}" for name, cost in costs.items())
        )
    else:
        where = place
    order = np.arange(len(workload.paths))
    if candidates:
        found = search(workload, where, drive, candidates)
        order = found.order
        above = found.cost.seconds / found.cost.bound_seconds
        said.append(
            f"best of {candidates} orders: {describe(found.cost)}, the order of first access "
            f"{describe(found.first)}; {above:.2f} times the bound of one pass"
        )
    return Choice(reordered(paths, layout, workload, order, where), where, tuple(said))


def describe(cost: Cost) -> str:
    """Say what an order costs: its time alone, which is what the simulation is good for."""
    return quantity(cost.seconds, "seconds")


def reordered(
    paths: Sequence[bytes],
    layout: Layout,
    workload: Workload,
    order: np.ndarray[tuple[int], np.dtype[np.int64]],
    place: Place,
) -> list[bytes]:
    """Return paths in the order of a workload's files.

    Files whose data was not read (only looked up, or empty) are in nobody's way behind the others
    at the start of an image, and before them at its end.
    """
    rank = {int(workload.inodes[number]): position for position, number in enumerate(order)}
    ranked: list[tuple[int, bytes]] = []
    unread = []
    for path in paths:
        way = resolve(layout, path)
        position = rank.get(int(layout.entries["inode"][way[-1]])) if way else None
        if position is None:
            unread.append(path)
        else:
            ranked.append((position, path))
    read = [path for _, path in sorted(ranked, key=lambda item: item[0])]
    return [*read, *unread] if place == "start" else [*unread, *read]
