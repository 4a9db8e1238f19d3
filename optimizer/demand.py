# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""Demand: the blocks and tables of an image that hold the files of a bootlog.

Needed are

* the extents with touched bytes of a file; the whole file if the bootlog has no ranges;
* the metadata needed to look up these files, to list the directories in the bootlog, and to find
  the places of the files;
* what the kernel reads at mount.

The layout of a format defines these parts (:class:`optimizer.images.layout.Layout`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from optimizer.formats import EVENTS_MAGIC
from optimizer.formats.bootlog import distinct_paths, read_bootlog
from optimizer.formats.events import ASKED_FOR, SERVED
from optimizer.images.extents import Role
from optimizer.images.layout import FileType, Layout
from optimizer.order import DEFAULT_EXCLUDES, PSEUDO_FILE_SYSTEMS, compile_excludes

Ranges = list[tuple[int, int]]
"""(offset, length) in bytes in a file; empty: the whole file."""


@dataclass(frozen=True, eq=False)
class Demand:
    """What a boot needs of an image.

    Attributes:
        needed: For each row of ``layout.extent_map.extents`` whether it must be read.
        hot_share: For each of these rows, which share of its decompressed bytes was touched.
        files: Number of distinct regular files that were touched.
        missing: Paths that the image does not have.
    """

    needed: NDArray[np.bool_]
    hot_share: NDArray[np.float64]
    files: int
    missing: tuple[bytes, ...]


def demand_of(layout: Layout, touched: Mapping[bytes, Ranges]) -> Demand:
    """Work out what of an image a boot needs.

    Args:
        layout: The image.
        touched: Paths of files and directories, and the ranges that were touched of each.
    """
    looked_up: set[int] = {0}
    ranges: dict[int, Ranges] = {}
    listed: set[int] = set()
    missing: list[bytes] = []
    for path, touched_ranges in touched.items():
        looked_at = layout.resolve(path)
        if looked_at is None:
            missing.append(path)
            continue
        looked_up.update(looked_at)
        inode = int(layout.entries["inode"][looked_at[-1]])
        kind = layout.inodes["type"][inode]
        if kind == FileType.DIRECTORY:
            listed.add(inode)
        elif kind == FileType.FILE:
            known = ranges.get(inode)
            whole = not touched_ranges or known == []
            ranges[inode] = [] if whole else [*(known or ()), *touched_ranges]
    extents = layout.extent_map.extents
    needed = np.zeros(extents.size, bool)
    share = np.ones(extents.size)
    _demand_metadata(layout, looked_up, listed, ranges, needed)
    _demand_content(layout, ranges, needed, share)
    return Demand(needed, share, len(ranges), tuple(missing))


def _demand_metadata(
    layout: Layout,
    looked_up: Iterable[int],
    listed: Iterable[int],
    files: Iterable[int],
    needed: NDArray[np.bool_],
) -> None:
    read: set[int] = set()
    for path in looked_up:
        read.update(layout.lookup_extents(path))
        read.update(layout.xattr_extents(int(layout.entries["inode"][path])))
    for directory in listed:
        read.update(layout.listing_extents(directory))
    for file in files:
        read.update(layout.mapping_extents(file))
    needed[layout.mount_extents()] = True
    needed[list(read)] = True


def _demand_content(
    layout: Layout,
    ranges: Mapping[int, Ranges],
    needed: NDArray[np.bool_],
    share: NDArray[np.float64],
) -> None:
    hot_bytes: dict[int, int] = {}
    held_bytes: dict[int, int] = {}
    tails: set[tuple[int, int]] = set()
    fields = ["extent", "role", "file_offset_bytes", "file_bytes", "inner_offset_bytes"]
    for inode, touched in ranges.items():
        for piece in layout.extents_of_inode(inode)[fields].tolist():
            extent, role, file_offset, file_bytes, inner = piece
            hot = _covered(touched, file_offset, file_bytes) if touched else file_bytes
            if extent < 0 or not hot:
                continue
            if role == Role.PACKED:
                # Files with the same content share a tail.
                hot = 0 if (extent, inner) in tails else hot
                tails.add((extent, inner))
                hot_bytes[extent] = hot_bytes.get(extent, 0) + hot
            else:
                hot_bytes[extent] = max(hot_bytes.get(extent, 0), hot)
                held_bytes[extent] = max(held_bytes.get(extent, 0), file_bytes)
    packed = layout.file_extents[layout.file_extents["role"] == Role.PACKED]
    distinct = np.unique(packed[["extent", "inner_offset_bytes", "file_bytes"]])
    in_packed = np.bincount(distinct["extent"], distinct["file_bytes"], needed.size)
    for extent, hot in hot_bytes.items():
        needed[extent] = True
        share[extent] = min(1.0, hot / float(held_bytes.get(extent) or in_packed[extent]))


def _covered(ranges: Ranges, start: int, length: int) -> int:
    """Return how many bytes of start..start + length the ranges cover."""
    covered, reach = 0, start
    for offset, size in sorted(ranges):
        begin, end = max(offset, reach), min(offset + size, start + length)
        if begin < end:
            covered += end - begin
            reach = end
    return covered


def touched_by(path: Path, widen: Callable[[Ranges], Ranges] | None = None) -> dict[bytes, Ranges]:
    """Return the files that a bootlog touched, and which ranges of them, if it has ranges.

    Args:
        path: A bootlog of either format.
        widen: Function applied to the ranges that processes requested; the ranges that the medium
            served have been widened by the kernel already, and are kept.

    Returns:
        For each path its ranges as (offset, length) in bytes; none for a file taken as a whole.

    Raises:
        FormatError: It is no bootlog.
    """
    with path.open("rb") as stream:
        has_events = stream.read(len(EVENTS_MAGIC)) == EVENTS_MAGIC
        stream.seek(0)
        if not has_events:
            excluded = compile_excludes(DEFAULT_EXCLUDES)
            paths = distinct_paths(stream, str(path))
            return {name: [] for name in paths if name.startswith(b"/") and not excluded(name)}
        bootlog = read_bootlog(stream, str(path))
    asked_for: dict[bytes, Ranges] = {}
    served: dict[bytes, Ranges] = {}
    pseudo = {
        number for number, kind in enumerate(bootlog.file_systems) if kind in PSEUDO_FILE_SYSTEMS
    }
    fields = ["path", "operation", "offset_bytes", "length_bytes", "file_system"]
    for number, operation, offset, length, file_system in bootlog.events[fields].tolist():
        name = bootlog.paths[number]
        if file_system in pseudo or not name.startswith(b"/"):
            continue
        ranges = asked_for.setdefault(name, [])
        if length and operation in ASKED_FOR:
            ranges.append((offset, length))
        elif length and operation in SERVED:
            served.setdefault(name, []).append((offset, length))
    if widen is not None:
        asked_for = {name: widen(ranges) for name, ranges in asked_for.items()}
    return {name: ranges or served.get(name, []) for name, ranges in asked_for.items()}
