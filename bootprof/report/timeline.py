# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""Timeline of accesses: the events of a bootlog by process and by folder."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from optimizer.formats.events import Bootlog
from optimizer.formats.text import printable
from optimizer.order import PSEUDO_FILE_SYSTEMS

BINS = 300
ROWS = 20
FOLDER_DEPTH = 3
EXAMPLES = 4


@dataclass(frozen=True, eq=False)
class Row:
    """One process, or one folder.

    Attributes:
        title: Its name.
        events: Number of its accesses in each bin of time, shape (:data:`BINS`,).
        first_ns: Time of its first access.
        last_ns: Time of its last access.
        files: Number of distinct files.
        new_files: Number of files that it was the first to touch.
        new_bytes: Size of these; None if it is not known.
        examples: Some of its files: those first touched, new ones before others.
    """

    title: str
    events: NDArray[np.int64]
    first_ns: int
    last_ns: int
    files: int
    new_files: int
    new_bytes: int | None
    examples: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Timeline:
    """The accesses of a boot to files of the image.

    Attributes:
        end_ns: Where the last bin ends; time counts from the start of the kernel.
        events: Number of accesses.
        lost: Number of accesses that the recorder could not keep.
        processes: By the time of their first access; the last row gathers all small ones.
        folders: The same by where the files are.
    """

    end_ns: int
    events: int
    lost: int
    processes: tuple[Row, ...]
    folders: tuple[Row, ...]


def make_timeline(bootlog: Bootlog, sizes_bytes: Mapping[bytes, int] | None) -> Timeline | None:
    """Gather the events of a bootlog; those of file systems that no image holds are left out.

    Args:
        bootlog: The events.
        sizes_bytes: Sizes of files by path; None if they are not known.

    Returns:
        None if there is no event.
    """
    pseudo = [
        number for number, name in enumerate(bootlog.file_systems) if name in PSEUDO_FILE_SYSTEMS
    ]
    events = bootlog.events[~np.isin(bootlog.events["file_system"], pseudo)]
    has_path = np.array([path.startswith(b"/") for path in bootlog.paths], bool)
    events = events[has_path[events["path"]]] if len(events) else events
    if not len(events):
        return None
    events = events[np.argsort(events["time_ns"], kind="stable")]
    sizes = None
    if sizes_bytes is not None:
        sizes = np.array([sizes_bytes.get(path, 0) for path in bootlog.paths], np.int64)
    folders: dict[bytes, int] = {}
    folder_of_path = np.array(
        [folders.setdefault(folder(path), len(folders)) for path in bootlog.paths], np.int64
    )
    folder_names = [printable(name) for name in folders]
    callers = events[["pid", "command"]]
    distinct, caller = np.unique(callers, return_inverse=True)
    caller_names = [
        process_title(bootlog.commands[command], pid) for pid, command in distinct.tolist()
    ]
    gathering = _Gathering(
        events=events, paths=bootlog.paths, sizes=sizes, end_ns=int(events["time_ns"][-1]) + 1
    )
    return Timeline(
        end_ns=gathering.end_ns,
        events=len(events),
        lost=bootlog.lost,
        processes=gathering.rows(caller, caller_names, "processes"),
        folders=gathering.rows(folder_of_path[events["path"]], folder_names, "folders"),
    )


def process_title(command: bytes, pid: int) -> str:
    """Return how a process is called; recorders that see blocks only know neither."""
    return f"{printable(command)} [{pid}]" if command or pid else "process not recorded"


def folder(path: bytes) -> bytes:
    """Return the folder that a path is counted to: at most :data:`FOLDER_DEPTH` levels deep."""
    parts = path.split(b"/")[1:-1][:FOLDER_DEPTH]
    return b"/" + b"/".join(parts)


@dataclass(frozen=True, eq=False)
class _Gathering:
    events: NDArray[np.void]
    paths: list[bytes]
    sizes: NDArray[np.int64] | None
    end_ns: int

    def rows(self, groups: NDArray[np.int64], names: list[str], others: str) -> tuple[Row, ...]:
        """Return a row for each of the largest groups, and one for all others together."""
        counts = np.bincount(groups, minlength=len(names))
        present = int(np.count_nonzero(counts))
        largest = np.argsort(-counts, kind="stable")[: min(present, ROWS)]
        row_of_group = np.full(len(names), ROWS)
        row_of_group[largest] = np.arange(len(largest))
        row_of_event = row_of_group[groups]
        new = np.zeros(len(self.events), bool)
        new[np.unique(self.events["path"], return_index=True)[1]] = True
        rows = [
            self._row(names[group], np.flatnonzero(row_of_event == place), new)
            for place, group in enumerate(largest.tolist())
        ]
        rows.sort(key=lambda row: row.first_ns)
        if present > ROWS:
            title = f"{present - ROWS:,} other {others}"
            rows.append(self._row(title, np.flatnonzero(row_of_event == ROWS), new))
        return tuple(rows)

    def _row(self, title: str, members: NDArray[np.int64], new: NDArray[np.bool_]) -> Row:
        events = self.events[members]
        times = events["time_ns"]
        fresh = events["path"][new[members]]
        # A dictionary keeps the order, and each path once.
        shown = dict.fromkeys([*fresh[:EXAMPLES].tolist(), *events["path"][:50].tolist()])
        return Row(
            title=title,
            events=np.bincount((times * BINS) // self.end_ns, minlength=BINS),
            first_ns=int(times[0]),
            last_ns=int(times[-1]),
            files=len(np.unique(events["path"])),
            new_files=len(fresh),
            new_bytes=None if self.sizes is None else int(self.sizes[fresh].sum()),
            examples=tuple(printable(self.paths[path]) for path in list(shown)[:EXAMPLES]),
        )
