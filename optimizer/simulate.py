# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""Simulation of a boot from an image with another order of files, without building it.

From an image and a profile of its boot comes a :class:`Workload`: the hot files with the sizes of
their compressed blocks, and the sequence in which the boot first needs each block, each tail and
each block of the tables. An order of the files and a place on the image give every one of these a
position; the sequence of positions is a block trace, and has a cost on a drive.

What is modelled:

- mksquashfs writes the data blocks of a file when its turn comes, and a fragment block when the
  tails gathered so far fill one; a tail shrinks as its old fragment block did.
- A block is read when its first byte is needed, whole, in units of 4 KiB, and then stays in memory.
- The tables keep their size and their places at the end.

What is not: kernel readahead, which brings neighbours early; blocks that are shared by files of
the same content; reads of several processes at the same time.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from optimizer.drives.models import Drive
from optimizer.drives.seek import Totals, modelled_seconds, totals_of
from optimizer.errors import InputError
from optimizer.formats.blocktrace import READ_DTYPE, Reads
from optimizer.formats.events import ASKED_FOR, SERVED, Bootlog
from optimizer.formats.sortfile import Place
from optimizer.images.extents import CONTENT, Role
from optimizer.images.layout import FileType, Layout
from optimizer.kernel import PAGE_BYTES
from optimizer.order import PSEUDO_FILE_SYSTEMS
from optimizer.spans import merge

# Operations that record which part of a file was needed, and when.
RANGED = (*ASKED_FOR, *SERVED)

Order = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Workload:
    """The demand of a boot, in the order of need.

    Attributes:
        paths: Hot files with data, in the order of first access.
        inodes: Their indices in ``Layout.inodes``, shape (files,).
        data_bytes: Compressed size of all data blocks of each file, shape (files,).
        tail_bytes: Compressed size of each file's tail, 0 without one, shape (files,).
        tail_plain_bytes: Its size before compression, shape (files,).
        file: For each step the file whose data is needed, or -1 for a table, shape (steps,).
        is_tail: Whether it is the file's tail, shape (steps,).
        begin_bytes: Of a data block: where it begins behind the file's first one. Of a table:
            where its block lies, counted back from the end of the image. Shape (steps,).
        length_bytes: Compressed size of the block, shape (steps,).
        block_size_bytes: Of the image.
        image_bytes: Size of the squashfs.
        tables_bytes: Size of its tables, at its end.
        offset_bytes: Where the squashfs begins in the image file.
        content_bytes: First offset in the squashfs at which data can be.
    """

    paths: tuple[bytes, ...]
    inodes: NDArray[np.int64]
    data_bytes: NDArray[np.int64]
    tail_bytes: NDArray[np.int64]
    tail_plain_bytes: NDArray[np.int64]
    file: NDArray[np.int64]
    is_tail: NDArray[np.bool_]
    begin_bytes: NDArray[np.int64]
    length_bytes: NDArray[np.int64]
    block_size_bytes: int
    image_bytes: int
    tables_bytes: int
    offset_bytes: int
    content_bytes: int


@dataclass(frozen=True)
class Cost:
    """Cost of an order on a drive.

    Attributes:
        totals: Seek distance and reads of the simulated boot, from the superblock on.
        seconds: Its modelled time.
        bound_seconds: Modelled time of one ascending pass over the same bytes, at the places that
            this order gives them.
    """

    totals: Totals
    seconds: float
    bound_seconds: float


def make_workload(layout: Layout, bootlog: Bootlog) -> Workload:
    """Determine the demand of a boot, step by step.

    Args:
        layout: An image of the same root file system; the order of its files does not matter.
        bootlog: Events of the boot. Files without a range in a read, fault, cache or block event
            count as read whole when they are opened.

    Raises:
        InputError: The bootlog names no file of the image that has data.
    """
    steps = _Steps(layout)
    for need in needs(layout, bootlog):
        steps.look_up(need.paths)
        if need.inode >= 0:
            steps.touch(need.inode, need.start, need.end)
    return steps.workload()


@dataclass(frozen=True)
class Need:
    """One need of a boot.

    Attributes:
        paths: Rows of ``Layout.paths`` that are looked up, one after the other.
        inode: The regular file of which bytes are needed, or -1.
        start: The first byte that is needed.
        end: Behind the last one.
    """

    paths: Sequence[int]
    inode: int = -1
    start: int = 0
    end: int = 0


def needs(layout: Layout, bootlog: Bootlog) -> Iterator[Need]:
    """Yield what a boot needs of an image, in the order of its events.

    Args:
        layout: The image.
        bootlog: Events of the boot, as for :func:`make_workload`.
    """
    fields = ["path", "operation", "offset_bytes", "length_bytes"]
    pseudo = [kind in PSEUDO_FILE_SYSTEMS for kind in bootlog.file_systems]
    on_image = bootlog.events[~np.array(pseudo, bool)[bootlog.events["file_system"]]]
    events = [
        event for event in on_image[fields].tolist() if bootlog.paths[event[0]].startswith(b"/")
    ]
    resolved = {number: layout.resolve(bootlog.paths[number]) for number, *_ in events}
    files = {number: _file_of(layout, looked_up) for number, looked_up in resolved.items()}
    precise = {
        files[number]
        for number, operation, _, length in events
        if length and operation in RANGED and files[number] >= 0
    }
    for number, operation, offset, length in events:
        looked_up, inode = resolved[number], files[number]
        if looked_up is None:
            continue
        if inode >= 0 and operation in RANGED and length:
            yield Need(looked_up, inode, offset, offset + length)
        elif inode >= 0 and inode not in precise:
            yield Need(looked_up, inode, 0, int(layout.inodes["size_bytes"][inode]))
        else:
            yield Need(looked_up)


def _file_of(layout: Layout, looked_up: Sequence[int] | None) -> int:
    """Return the inode of the regular file that a look-up ends at, or -1."""
    if looked_up is None:
        return -1
    inode = int(layout.entries["inode"][looked_up[-1]])
    return inode if layout.inodes["type"][inode] == FileType.FILE else -1


class _Steps:
    """Gathers the steps of a workload; each block counts once, when it is first needed."""

    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        self.end = layout.offset_bytes + layout.size_bytes
        self.files: dict[int, int] = {}
        self.sizes: list[tuple[int, int, int]] = []
        # First and last byte in the file, place or extent, length on the image, role.
        self.pieces: list[list[tuple[int, int, int, int, int]]] = []
        self.looked_up: set[int] = set()
        self.read_tables: set[int] = set()
        self.seen: set[tuple[int, int]] = set()
        self.rows: list[tuple[int, bool, int, int]] = []

    def look_up(self, paths: Sequence[int]) -> None:
        """Need the metadata that is read to look up some paths, one after the other."""
        for path in paths:
            if path in self.looked_up:
                continue
            self.looked_up.add(path)
            for extent in self.layout.lookup_extents(path):
                self.table(extent)

    def table(self, extent: int) -> None:
        """Need an extent that stays where it is."""
        if extent not in self.read_tables:
            self.read_tables.add(extent)
            row = self.layout.extent_map.extents[extent]
            behind = self.end - int(row["offset_bytes"])
            self.rows.append((-1, False, behind, int(row["length_bytes"])))

    def number(self, inode: int) -> int:
        """Return the number of a file, and take its sizes down when it comes up first."""
        known = self.files.get(inode)
        if known is not None:
            return known
        data, tail, plain, begin = 0, 0, 0, 0
        pieces: list[tuple[int, int, int, int, int]] = []
        fields = ["extent", "role", "length_bytes", "file_offset_bytes", "file_bytes"]
        for piece in self.layout.extents_of_inode(inode)[fields].tolist():
            extent, role, length, file_offset, file_bytes = piece
            if not length:
                continue
            if role == Role.PACKED:
                # A fragment block is nearly full, but for the last one.
                share = max(1, round(length * file_bytes / self.layout.block_size_bytes))
                tail += share
                plain += file_bytes
                pieces.append((file_offset, file_offset + file_bytes, 0, share, Role.PACKED))
            elif role not in CONTENT:
                pieces.append((file_offset, file_offset + file_bytes, extent, length, role))
            else:
                pieces.append((file_offset, file_offset + file_bytes, begin, length, Role.DATA))
                begin += length
                data += length
        self.files[inode] = len(self.files)
        self.sizes.append((data, tail, plain))
        self.pieces.append(pieces)
        return self.files[inode]

    def touch(self, inode: int, start: int, end: int) -> None:
        """Need the blocks that hold some bytes of a file."""
        file = self.number(inode)
        for index, (first, last, begin, length, role) in enumerate(self.pieces[file]):
            if not (first < end and start < last) or (file, index) in self.seen:
                continue
            self.seen.add((file, index))
            if role in CONTENT:
                self.rows.append((file, role == Role.PACKED, begin, length))
            else:
                self.table(begin)

    def workload(self) -> Workload:
        """Return what was gathered."""
        if not self.files:
            raise InputError(
                f"{self.layout.name}: contains none of the files of the bootlog",
                hint="give a profile of this system",
            )
        sizes = np.array(self.sizes, np.int64).reshape(-1, 3)
        # Files without data have no place.
        kept = sizes[:, 0] + sizes[:, 1] > 0
        new_number = np.cumsum(kept) - 1
        file = np.array([row[0] for row in self.rows], np.int64)
        inodes = np.array(list(self.files), np.int64)[kept]
        return Workload(
            paths=tuple(self.layout.paths_of(inode)[0] for inode in inodes.tolist()),
            inodes=inodes,
            data_bytes=sizes[kept, 0],
            tail_bytes=sizes[kept, 1],
            tail_plain_bytes=sizes[kept, 2],
            file=np.where(file >= 0, new_number[file], -1),
            is_tail=np.array([row[1] for row in self.rows], bool),
            begin_bytes=np.array([row[2] for row in self.rows], np.int64),
            length_bytes=np.array([row[3] for row in self.rows], np.int64),
            block_size_bytes=self.layout.block_size_bytes,
            image_bytes=self.layout.size_bytes,
            tables_bytes=self.end - self.layout.tables_offset_bytes,
            offset_bytes=self.layout.offset_bytes,
            content_bytes=self.layout.content_offset_bytes - self.layout.offset_bytes,
        )


def reads_of(workload: Workload, order: Order, place: Place) -> Reads:
    """Return the reads of the simulated boot.

    Args:
        workload: The demand of the boot.
        order: Numbers of all files of the workload in the order in which they are written.
        place: Where the hot files lie: behind the superblock, or before the tables.

    Returns:
        Rows of :data:`~optimizer.formats.blocktrace.READ_DTYPE` at time 0, offsets in the image
        file.
    """
    starts, lengths = _positions(workload, order, place)
    # A fragment block that was read for one tail is in memory for the others.
    kept = np.sort(np.unique(starts, return_index=True)[1])
    starts, lengths = starts[kept], lengths[kept]
    # Whole pages are read; those that the step before has brought are not read again.
    first = starts // PAGE_BYTES * PAGE_BYTES
    last = -(-(starts + lengths) // PAGE_BYTES) * PAGE_BYTES
    shared = np.zeros(len(first), bool)
    shared[1:] = (first[1:] < last[:-1]) & (first[1:] >= last[:-1] - PAGE_BYTES)
    first = np.where(shared, first + PAGE_BYTES, first)
    reads = np.zeros(int((last > first).sum()), READ_DTYPE)
    reads["offset_bytes"] = first[last > first]
    reads["length_bytes"] = (last - first)[last > first]
    return reads


def _positions(
    workload: Workload, order: Order, place: Place
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return where each step's block lies in the image file, and how long it is."""
    data, tail = workload.data_bytes[order], workload.tail_bytes[order]
    group = np.cumsum(workload.tail_plain_bytes[order]) // workload.block_size_bytes
    fragment_bytes = np.bincount(group, weights=tail).astype(np.int64)
    # A group's fragment block is written behind the last file of the group.
    before = np.cumsum(fragment_bytes) - fragment_bytes
    ends = np.cumsum(data) + before[group]
    total = int(data.sum() + tail.sum())
    base = workload.offset_bytes + workload.content_bytes
    if place == "end":
        base = workload.offset_bytes + workload.image_bytes - workload.tables_bytes - total
    rank = np.empty(len(order), np.int64)
    rank[order] = np.arange(len(order))
    last_of_group = np.searchsorted(group, group, side="right") - 1
    file_rank = rank[workload.file]
    data_start = base + (ends - data)[file_rank] + workload.begin_bytes
    tail_start = base + ends[last_of_group][file_rank]
    end_of_image = workload.offset_bytes + workload.image_bytes
    starts = np.where(workload.is_tail, tail_start, data_start)
    starts = np.where(workload.file < 0, end_of_image - workload.begin_bytes, starts)
    lengths = np.where(workload.is_tail, fragment_bytes[group[file_rank]], workload.length_bytes)
    return starts, lengths


def cost_of(workload: Workload, order: Order, place: Place, drive: Drive) -> Cost:
    """Simulate a boot, and return what it costs on a drive."""
    reads = reads_of(workload, order, place)
    # The boot comes from the superblock.
    superblock = np.zeros(1, READ_DTYPE)
    superblock["offset_bytes"] = workload.offset_bytes // PAGE_BYTES * PAGE_BYTES
    superblock["length_bytes"] = PAGE_BYTES
    trace = np.concatenate((superblock, reads))
    found = totals_of(trace)
    # The seek to the superblock is the boot loader's.
    first_seek = int(trace["offset_bytes"][0])
    found = Totals(
        found.reads,
        found.bytes,
        found.unique_bytes,
        found.noncontiguous_reads - (first_seek > 0),
        found.seek_distance_bytes - first_seek,
    )
    return Cost(found, modelled_seconds(trace, drive), modelled_seconds(merge(trace), drive))


def first_access_order(workload: Workload) -> Order:
    """Return the order of first access: where every search begins."""
    return np.arange(len(workload.paths))
