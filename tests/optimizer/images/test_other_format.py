# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""A layout that is as unlike a squashfs as can be goes through everything that takes layouts.

Its metadata lies at the start, beside short contents; there is one extent of packed contents, and
nothing lies behind the content.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import numpy as np
import pytest
from numpy.typing import NDArray

from optimizer.analysis import analyze
from optimizer.attribution import Cause
from optimizer.blockmap import find_files, map_files
from optimizer.demand import demand_of
from optimizer.drives.models import DRIVES
from optimizer.formats.blocktrace import READ_DTYPE, Reads
from optimizer.formats.events import Bootlog, Event, Operation
from optimizer.images.describe import describe_file, describe_span
from optimizer.images.extents import EXTENT, ExtentKind, ExtentMap, Role
from optimizer.images.layout import ENTRY_FIELDS, FILE_EXTENT, INODE_FIELDS, Layout, Part, Rows
from optimizer.place import choose
from optimizer.readahead import plan, wanted_by_demand

DRIVE = DRIVES["cd-24x"]
KIB = 1024
# Offset, length, role, kind; the first is the superblock, the second holds /short too.
EXTENTS = (
    (0, 2 * KIB, Role.MOUNT, 0),
    (4 * KIB, 4 * KIB, Role.INODES, 1),
    (8 * KIB, 4 * KIB, Role.DIRECTORIES, 2),
    (12 * KIB, 8 * KIB, Role.DATA, 3),
    (20 * KIB, 8 * KIB, Role.DATA, 3),
    (28 * KIB, 4 * KIB, Role.PACKED, 4),
)
SUPERBLOCK, INODES, DIRECTORY, FIRST, SECOND, PACKED = range(6)
# Path, type, size in bytes; one inode each.
NAMES = (
    (b"/", 1, 0),
    (b"/long", 2, 32 * KIB),
    (b"/short", 2, 100),
    (b"/packed-1", 2, 6 * KIB),
    (b"/packed-2", 2, 10 * KIB),
    (b"/link", 3, 4),
)
# Inode, extent, offset in the file, bytes of the file, offset in the extent.
PIECES = (
    (1, FIRST, 0, 16 * KIB, 0),
    (1, SECOND, 16 * KIB, 16 * KIB, 0),
    (2, INODES, 0, 100, 500),
    (3, PACKED, 0, 6 * KIB, 0),
    (4, PACKED, 0, 10 * KIB, 6 * KIB),
)


@dataclass(frozen=True)
class OtherLayout(Layout):
    """The layout of a file system that does not exist."""

    format: ClassVar[str] = "other"
    kinds: ClassVar[Sequence[ExtentKind]] = (
        ExtentKind("superblock", Role.MOUNT),
        ExtentKind("inode block", Role.INODES),
        ExtentKind("directory block", Role.DIRECTORIES),
        ExtentKind("cluster", Role.DATA),
        ExtentKind("packed cluster", Role.PACKED),
    )

    @cached_property
    def extent_map(self) -> ExtentMap:
        extents = np.zeros(len(EXTENTS), EXTENT)
        for row, (offset, length, role, kind) in zip(extents, EXTENTS, strict=True):
            row["offset_bytes"], row["length_bytes"] = offset, length
            row["role"], row["kind"] = role, kind
        owned, owner = (np.array([piece[n] for piece in PIECES]) for n in (1, 0))
        return ExtentMap.of(extents, owned, owner)[0]

    @cached_property
    def file_extents(self) -> Rows:
        pieces = np.zeros(len(PIECES), FILE_EXTENT)
        names = ("inode", "extent", "file_offset_bytes", "file_bytes", "inner_offset_bytes")
        for row, values in zip(pieces, PIECES, strict=True):
            for name, value in zip(names, values, strict=True):
                row[name] = value
        for name in ("offset_bytes", "length_bytes", "role", "kind"):
            pieces[name] = self.extent_map.extents[name][pieces["extent"]]
        return pieces

    @property
    def parts(self) -> Sequence[Part]:
        return [Part("inode block", 4 * KIB, 4 * KIB, 1, None)]

    def symlink_target(self, inode: int) -> bytes:
        return b"long" if inode == 5 else b""

    def mount_extents(self) -> NDArray[np.int64]:
        return np.array([SUPERBLOCK])

    def lookup_extents(self, path: int) -> Sequence[int]:
        return (DIRECTORY, INODES) if path else (INODES,)

    def inode_extents(self, inode: int) -> Sequence[int]:
        return (INODES,)

    def listing_extents(self, inode: int) -> Sequence[int]:
        return () if inode else (DIRECTORY,)

    def mapping_extents(self, inode: int) -> Sequence[int]:
        return ()

    def xattr_extents(self, inode: int) -> Sequence[int]:
        return ()


@pytest.fixture
def layout() -> OtherLayout:
    inodes = np.zeros(len(NAMES), np.dtype([*INODE_FIELDS]))
    inodes["number"] = np.arange(len(NAMES)) + 100
    inodes["type"] = [kind for _, kind, _ in NAMES]
    inodes["size_bytes"] = [size for _, _, size in NAMES]
    entries = np.zeros(len(NAMES), np.dtype([*ENTRY_FIELDS]))
    entries["inode"] = np.arange(len(NAMES))
    return OtherLayout(
        name="other.img",
        offset_bytes=0,
        size_bytes=32 * KIB,
        block_size_bytes=16 * KIB,
        compressor="none",
        made_seconds=0,
        superblock_bytes=bytes(96),
        paths=[path for path, _, _ in NAMES],
        entries=entries,
        inodes=inodes,
    )


def trace(*extents: int) -> Reads:
    rows = [(number, *EXTENTS[extent][:2]) for number, extent in enumerate(extents)]
    return np.array(rows, READ_DTYPE)


def needed(layout: Layout, *paths: bytes) -> list[int]:
    found = demand_of(layout, {path: [] for path in paths})
    assert not found.missing
    return np.flatnonzero(found.needed).tolist()


def test_the_demand_of_each_file_is_what_its_layout_says(layout: OtherLayout) -> None:
    mounted = [SUPERBLOCK, INODES]
    assert needed(layout) == mounted
    assert needed(layout, b"/") == [*mounted, DIRECTORY]
    assert needed(layout, b"/short") == [*mounted, DIRECTORY]
    assert needed(layout, b"/link") == [*mounted, DIRECTORY, FIRST, SECOND]
    assert needed(layout, b"/packed-1") == [*mounted, DIRECTORY, PACKED]
    share = demand_of(layout, {b"/packed-1": []}).hot_share[PACKED]
    assert share == pytest.approx(6 / 16)


def test_every_byte_of_a_trace_has_a_cause(layout: OtherLayout) -> None:
    reads = trace(SUPERBLOCK, INODES, DIRECTORY, PACKED, FIRST)
    demand = demand_of(layout, {b"/packed-1": [], b"/short": []})
    found = analyze(reads, layout, None, demand, DRIVE)
    got = {cause: int(found.found.bytes_read[cause]) for cause in Cause}
    assert sum(got.values()) == reads["length_bytes"].sum()
    assert got[Cause.INODE_TABLE] == got[Cause.DIRECTORY_TABLE] == 4 * KIB
    assert got[Cause.NEEDED_DATA] == 4 * KIB * 6 // 16
    assert got[Cause.UNKNOWN_DATA] == 8 * KIB
    assert found.limit_seconds < found.modelled_seconds


def test_the_readahead_list_has_metadata_and_needed_content(layout: OtherLayout) -> None:
    demand = demand_of(layout, {b"/packed-1": []})
    planned = plan(layout, wanted_by_demand(layout, demand), DRIVES["nvme"])
    covered = {
        byte
        for offset, length, _ in planned.ranges.tolist()
        for byte in range(offset, offset + length)
    }
    for extent in (SUPERBLOCK, INODES, DIRECTORY, PACKED):
        offset, length = EXTENTS[extent][:2]
        assert {offset, offset + length - 1} <= covered
    assert planned.wanted_bytes == 4 * 4 * KIB


def test_files_are_found_by_their_blocks(layout: OtherLayout) -> None:
    files = map_files([layout])
    assert {item.path: item.file_system for item in files.files} == {
        path: b"other" for path, kind, _ in NAMES if kind == 2
    }
    found = find_files(files, trace(FIRST, SECOND), exact=True)
    assert [files.files[index].path for index in found.order()] == [b"/long"]
    assert found.findings["bytes_covered"].max() == 32 * KIB
    # What is in the metadata is read with it, and says as much.
    by_metadata = find_files(files, trace(INODES), exact=True)
    assert [files.files[index].path for index in by_metadata.order()] == [b"/short"]


def test_a_boot_is_simulated(layout: OtherLayout) -> None:
    paths = [b"/long", b"/short", b"/packed-1", b"/packed-2"]
    events = [
        Event(number, 1, b"init", Operation.READ, 0, 100, 0, 0, 1, b"other", path)
        for number, path in enumerate(paths)
    ]
    bootlog = Bootlog.of({}, events)
    chosen = choose(paths, bootlog, layout, place="start", drive=DRIVE, candidates=20)
    assert sorted(chosen.paths) == sorted(paths)
    assert chosen.found is not None
    # Superblock, metadata, one cluster of /long, and the packed one.
    assert chosen.found.cost.totals.unique_bytes == (4 + 4 + 4 + 8 + 4) * KIB


def test_files_and_places_are_described_in_the_words_of_the_format(layout: OtherLayout) -> None:
    file = describe_file(layout, b"/packed-2")
    assert [(piece.kind, piece.inner_offset_bytes) for piece in file.extents] == [
        ("packed cluster", 6 * KIB)
    ]
    assert describe_file(layout, b"/link").target == "long"
    (span,) = describe_span(layout, None, 29 * KIB, 1).squashfs
    assert (span.kind, span.files) == ("packed cluster", ["/packed-1", "/packed-2"])
    (span,) = describe_span(layout, None, 5 * KIB, 1).squashfs
    assert (span.kind, span.files) == ("inode block", ["/short"])
    (span,) = describe_span(layout, None, 9 * KIB, 1).squashfs
    assert (span.kind, span.files) == ("directory block", None)
