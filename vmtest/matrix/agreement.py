# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""How two bootlogs of the same boot differ, and why."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from optimizer.formats.events import Bootlog, Operation
from optimizer.order import PSEUDO_FILE_SYSTEMS

BEFORE = "before the other recorder was ready"
AFTER = "after the other recorder was stopped"
PSEUDO = "in memory, or made up by the kernel (tmpfs, sysfs, namespaces)"
CACHE = "entered the page cache under its path in the squashfs, or without an open"
SCRIPT = "a script, by the given path instead of the resolved one"
OTHER = "not explained"
NO_EVENT = np.iinfo(np.int64).max


@dataclass(frozen=True)
class Agreement:
    """Two bootlogs of one boot, side by side.

    Attributes:
        both: Number of paths in both.
        only_first: Paths in the first one alone, by the reason.
        only_second: Paths in the second one alone, by the reason.
        operations: For each operation, number of paths with it in both, in the first alone and in
            the second alone; over the paths that are in both bootlogs.
    """

    both: int
    only_first: Mapping[str, list[bytes]]
    only_second: Mapping[str, list[bytes]]
    operations: Mapping[str, tuple[int, int, int]]


def compare(first: Bootlog, second: Bootlog) -> Agreement:
    """Return the differences of two bootlogs of the same boot."""
    common = set(first.paths) & set(second.paths)
    used = [paths_by_operation(log) for log in (first, second)]
    operations = {}
    for operation in Operation:
        one, other = (side.get(operation, set()) & common for side in used)
        if one or other:
            counts = (len(one & other), len(one - other), len(other - one))
            operations[operation.name.lower()] = counts
    return Agreement(
        both=len(common),
        only_first=reasons(first, second, common),
        only_second=reasons(second, first, common),
        operations=operations,
    )


def paths_by_operation(log: Bootlog) -> dict[Operation, set[bytes]]:
    """Return the paths that each operation was done to."""
    return {
        operation: {
            log.paths[index]
            for index in np.unique(log.events["path"][log.events["operation"] == operation])
        }
        for operation in Operation
    }


def reasons(log: Bootlog, other: Bootlog, common: set[bytes]) -> dict[str, list[bytes]]:
    """Sort the paths that are in one bootlog alone by why they are not in the other."""
    first_ns = first_times(log)
    began_ns, ended_ns = other.events["time_ns"].min(), other.events["time_ns"].max()
    found: dict[str, list[bytes]] = {}
    for index, path in enumerate(log.paths):
        if path in common:
            continue
        events = log.events[log.events["path"] == index]
        operations = {int(operation) for operation in events["operation"]}
        systems = {log.file_systems[system] for system in events["file_system"]}
        if first_ns[index] < began_ns:
            reason = BEFORE
        elif first_ns[index] > ended_ns:
            reason = AFTER
        elif systems & set(PSEUDO_FILE_SYSTEMS) or not path.startswith(b"/"):
            reason = PSEUDO
        elif operations == {Operation.CACHE}:
            reason = CACHE
        elif operations == {Operation.EXEC} and (events["inode"] == 0).all():
            reason = SCRIPT
        else:
            reason = OTHER
        found.setdefault(reason, []).append(path)
    return found


def first_times(log: Bootlog) -> npt.NDArray[np.int64]:
    """Return the time of the first event of each path in nanoseconds, by its position."""
    times_ns = np.full(len(log.paths), NO_EVENT)
    np.minimum.at(times_ns, log.events["path"], log.events["time_ns"])
    return times_ns
