# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""Decoding of all inodes of a squashfs at once, by type, with numpy."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from optimizer.images.layout import FileType, Rows
from optimizer.images.source import MEMORY_HINT, Source
from optimizer.images.squashfs.format import (
    BLOCK_LENGTH_MASK,
    BLOCK_STORED,
    FREE_BLOCKS,
    IMAGE_BYTES_A_BLOCK,
    INODE_HEADER,
    INODE_LAYOUTS,
    NO_FRAGMENT,
    NO_XATTR,
    Kind,
    Superblock,
    Table,
)
from optimizer.images.squashfs.tables import Tables
from optimizer.images.squashfs.tree import SIZE_OF_DOTS

# One inode. Fields without meaning for a type are 0, or -1 if 0 has a meaning.
INODE = np.dtype(
    [
        ("number", "<u4"),  # as the kernel shows it (i_ino, st_ino)
        ("type", "u1"),  # FileType
        ("extended", "?"),
        ("mode", "<u2"),  # permission bits only
        ("uid", "<u4"),
        ("gid", "<u4"),
        ("mtime", "<u4"),  # seconds since 1970
        ("nlink", "<u4"),
        ("size_bytes", "<i8"),  # of a file, a symlink's target or a directory's listing
        ("rdev", "<u4"),
        ("xattr", "<i8"),  # index in the xattr table, -1: none
        ("first_block", "<i8"),  # in Layout.blocks
        ("block_count", "<i8"),
        ("fragment", "<i8"),  # in Layout.fragments, -1: none
        ("fragment_offset_bytes", "<i8"),  # in the decompressed fragment block
        ("fragment_bytes", "<i8"),  # decompressed bytes of the file in it
        ("inflated_offset_bytes", "<i8"),  # in the decompressed inode table
        ("inflated_bytes", "<i8"),  # size of the inode there, without a directory's index
        ("first_metadata_block", "<i8"),  # metadata blocks of the inode table that hold it
        ("last_metadata_block", "<i8"),
        ("first_listing_block", "<i8"),  # metadata blocks of the directory table, -1: empty
        ("last_listing_block", "<i8"),
    ]
)

# One data block of one file. Files with the same content share blocks on the image; each has its
# own rows. A hole has length 0.
BLOCK = np.dtype(
    [
        ("offset_bytes", "<i8"),
        ("length_bytes", "<i4"),
        ("stored", "?"),  # bit 24: not compressed
        ("inode", "<i8"),  # in Layout.inodes
    ]
)

RECORDS_AT_A_TIME = 1 << 16
EXTENDED = 7  # offset of an extended type from its basic type


def read_inodes(
    source: Source,
    superblock: Superblock,
    tables: Tables,
    positions: NDArray[np.int64],
    expected_types: NDArray[np.uint8],
) -> tuple[Rows, Rows]:
    """Decode the inodes at the given places of the decompressed inode table.

    Args:
        source: The image, for messages.
        superblock: Of the image.
        tables: Of the image.
        positions: Ascending, each once.
        expected_types: Basic types that the directory entries of these inodes have. Directories
            among them must have been walked already, which checks their listings.

    Returns:
        Rows of :data:`INODE` in the order of ``positions``, and rows of :data:`BLOCK`.

    Raises:
        FormatError: An inode is cut off, overlaps another one, or points outside the image.
    """
    return _Reader(source, superblock, tables, positions).run(expected_types)


class _Reader:
    def __init__(
        self,
        source: Source,
        superblock: Superblock,
        tables: Tables,
        positions: NDArray[np.int64],
    ) -> None:
        self.source = source
        self.superblock = superblock
        self.tables = tables
        self.positions = positions
        self.inode_table = _required(tables, Kind.INODE_TABLE)
        self.data = np.frombuffer(self.inode_table.inflated, np.uint8)
        self.inodes = np.zeros(positions.size, INODE)
        self.inodes["inflated_offset_bytes"] = positions
        for field in ("xattr", "fragment", "first_listing_block", "last_listing_block"):
            self.inodes[field] = -1
        # Only of files: absolute start of the blocks.
        self.starts = np.zeros(positions.size, np.int64)

    def run(self, expected_types: NDArray[np.uint8]) -> tuple[Rows, Rows]:
        self.require(self.positions, INODE_HEADER.itemsize)
        types = self.gather(self.positions, INODE_HEADER)["type"]
        unknown = (types < 1) | (types > 2 * EXTENDED)
        self.refuse(unknown, lambda at: f"has type {types[at]}, which is not known")
        basic = np.where(types > EXTENDED, types - EXTENDED, types)
        self.refuse(
            basic != expected_types,
            lambda at: f"has type {basic[at]}, its directory entry says {expected_types[at]}",
        )
        for on_disk_type, layout in INODE_LAYOUTS.items():
            rows = np.flatnonzero(types == on_disk_type)
            if rows.size:
                self.decode(rows, on_disk_type, layout)
        ends = self.positions + self.inodes["inflated_bytes"]
        limits = np.append(self.positions[1:], self.data.size)
        self.refuse(ends > limits, lambda at: "reaches into the next inode or out of the table")
        self.inodes["first_metadata_block"] = self.block_of(self.inode_table, self.positions)
        self.inodes["last_metadata_block"] = self.block_of(self.inode_table, ends - 1)
        return self.inodes, self.read_blocks()

    def decode(self, rows: NDArray[np.int64], on_disk_type: int, layout: np.dtype[np.void]) -> None:
        positions = self.positions[rows]
        self.require(positions, layout.itemsize)
        raw = self.gather(positions, layout)
        names = layout.names or ()
        basic = on_disk_type - EXTENDED if on_disk_type > EXTENDED else on_disk_type
        inodes = self.inodes
        inodes["type"][rows] = basic
        inodes["extended"][rows] = on_disk_type > EXTENDED
        for field in ("number", "mode", "mtime"):
            inodes[field][rows] = raw[field]
        for field in ("uid", "gid"):
            wrong = raw[field] >= self.tables.ids.size
            self.refuse_rows(rows, wrong, f"{field} is not in the id table")
            inodes[field][rows] = self.tables.ids[raw[field]]
        inodes["nlink"][rows] = raw["nlink"] if "nlink" in names else 1
        if "rdev" in names:
            inodes["rdev"][rows] = raw["rdev"]
        if "xattr" in names:
            self.set_xattr(rows, raw["xattr"])
        inodes["inflated_bytes"][rows] = layout.itemsize
        if basic == FileType.DIRECTORY:
            self.decode_directories(rows, raw)
        elif basic == FileType.FILE:
            self.decode_files(rows, raw)
        elif basic == FileType.SYMLINK:
            sizes = raw["size"].astype(np.int64)
            inodes["size_bytes"][rows] = sizes
            inodes["inflated_bytes"][rows] += sizes
            if on_disk_type > EXTENDED:
                behind = positions + layout.itemsize + sizes
                inodes["inflated_bytes"][rows] += 4
                self.require(behind, 4)
                self.set_xattr(rows, self.gather(behind, np.dtype([("xattr", "<u4")]))["xattr"])

    def set_xattr(self, rows: NDArray[np.int64], xattr: NDArray[np.uint32]) -> None:
        self.inodes["xattr"][rows] = np.where(xattr == NO_XATTR, -1, xattr.astype(np.int64))

    def decode_directories(self, rows: NDArray[np.int64], raw: Rows) -> None:
        inodes = self.inodes
        sizes = np.maximum(raw["size"].astype(np.int64) - SIZE_OF_DOTS, 0)
        inodes["size_bytes"][rows] = sizes
        listed = sizes > 0
        rows, raw, sizes = rows[listed], raw[listed], sizes[listed]
        table = _required(self.tables, Kind.DIRECTORY_TABLE)
        starts = table.blocks["offset_bytes"] - table.offset_bytes
        # The walk has visited every directory: its block exists, and the listing fits.
        first = np.searchsorted(starts, raw["start"].astype(np.int64))
        begin = table.blocks["inflated_offset_bytes"][first] + raw["offset"]
        inodes["first_listing_block"][rows] = self.block_of(table, begin)
        inodes["last_listing_block"][rows] = self.block_of(table, begin + sizes - 1)

    def decode_files(self, rows: NDArray[np.int64], raw: Rows) -> None:
        block_size = self.superblock.block_size_bytes
        inodes = self.inodes
        sizes = raw["size"].astype(np.uint64)
        # A block list of 4 bytes a block must fit into the table; this also keeps all of the
        # arithmetic below far from the limits of 64 bits.
        too_large = sizes // np.uint64(block_size) > self.data.size // 4
        self.refuse_rows(rows, too_large, "size needs more blocks than the inode table can list")
        sizes_bytes = sizes.astype(np.int64)
        has_fragment = raw["fragment"] != NO_FRAGMENT
        tails = np.where(has_fragment, sizes_bytes % block_size, 0)
        counts = np.where(has_fragment, sizes_bytes // block_size, -(-sizes_bytes // block_size))
        wrong = has_fragment & (raw["fragment"] >= self.superblock.fragment_count)
        self.refuse_rows(rows, wrong, "fragment is not in the fragment table")
        offsets = raw["offset"].astype(np.int64)
        wrong = has_fragment & (offsets + tails > block_size)
        self.refuse_rows(rows, wrong, "tail reaches out of its fragment block")
        wrong = raw["start"] > self.superblock.size_bytes
        self.refuse_rows(rows, wrong, "blocks begin past bytes_used")
        inodes["size_bytes"][rows] = sizes_bytes
        inodes["block_count"][rows] = counts
        inodes["fragment"][rows] = np.where(has_fragment, raw["fragment"].astype(np.int64), -1)
        inodes["fragment_offset_bytes"][rows] = np.where(has_fragment, offsets, 0)
        inodes["fragment_bytes"][rows] = tails
        inodes["inflated_bytes"][rows] += 4 * counts
        self.starts[rows] = raw["start"].astype(np.int64) + self.source.offset_bytes

    def read_blocks(self) -> Rows:
        inodes = self.inodes
        counts = inodes["block_count"]
        ends = np.cumsum(counts)
        first = ends - counts
        inodes["first_block"] = first
        total = int(ends[-1]) if ends.size else 0
        most = FREE_BLOCKS + self.superblock.size_bytes // IMAGE_BYTES_A_BLOCK
        if total > most:
            self.source.fail(
                f"inode table: its files have {total} blocks, which no image of "
                f"{self.superblock.size_bytes} bytes has; at most {most} are read",
                MEMORY_HINT,
            )
        blocks = np.zeros(total, BLOCK)
        if not blocks.size:
            return blocks
        # Block lists are at the end of the inode, unaligned: gather them byte by byte.
        lists = self.positions + inodes["inflated_bytes"] - 4 * counts
        places = np.repeat(lists - 4 * first, counts)
        places += 4 * np.arange(blocks.size)
        raw = self.data[places].astype(np.uint32)
        for byte in (1, 2, 3):
            raw |= self.data[places + byte].astype(np.uint32) << np.uint32(8 * byte)
        lengths = (raw & BLOCK_LENGTH_MASK).astype(np.int64)
        blocks["length_bytes"] = lengths
        blocks["stored"] = raw & BLOCK_STORED != 0
        blocks["inode"] = np.repeat(np.arange(inodes.size), counts)
        before = np.cumsum(lengths) - lengths
        with_blocks = np.minimum(first, blocks.size - 1)
        blocks["offset_bytes"] = np.repeat(self.starts - before[with_blocks], counts) + before
        unknown_bits = raw & ~np.uint32(BLOCK_LENGTH_MASK | BLOCK_STORED)
        wrong = (lengths > self.superblock.block_size_bytes) | (unknown_bits != 0)
        self.refuse_blocks(blocks, wrong, "is longer than the block size")
        limit = self.source.offset_bytes + self.superblock.size_bytes
        wrong = (blocks["offset_bytes"] + lengths > limit) & (lengths > 0)
        self.refuse_blocks(blocks, wrong, "ends past bytes_used")
        return blocks

    def gather(self, positions: NDArray[np.int64], layout: np.dtype[np.void]) -> Rows:
        """Return one record for each position."""
        records = np.empty(positions.size, layout)
        fields = np.arange(layout.itemsize)
        # An index of eight bytes for each byte: not for all positions at once.
        for start in range(0, positions.size, RECORDS_AT_A_TIME):
            part = positions[start : start + RECORDS_AT_A_TIME]
            places = part[:, None] + fields
            records[start : start + part.size] = self.data[places].view(layout)[:, 0]
        return records

    def require(self, positions: NDArray[np.int64], size_bytes: int) -> None:
        """Refuse positions with fewer bytes than this before the end of the inode table."""
        wrong = positions > self.data.size - size_bytes
        if wrong.any():
            position = int(positions[wrong][0])
            self.source.fail(
                f"inode table + {position:#x} (decompressed): inode is cut off by the end of the "
                f"table at {self.data.size:#x}"
            )

    def block_of(self, table: Table, places: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the index of the metadata block that holds a place of a decompressed table."""
        starts = table.blocks["inflated_offset_bytes"]
        return np.searchsorted(starts, places, side="right").astype(np.int64) - 1

    def refuse(self, wrong: NDArray[np.bool_], message: Callable[[int], str]) -> None:
        if wrong.any():
            at = int(np.flatnonzero(wrong)[0])
            self.source.fail(
                f"inode table + {int(self.positions[at]):#x} (decompressed): inode {message(at)}"
            )

    def refuse_rows(self, rows: NDArray[np.int64], wrong: NDArray[np.bool_], message: str) -> None:
        if wrong.any():
            at = int(rows[np.flatnonzero(wrong)[0]])
            number = int(self.inodes["number"][at])
            self.source.fail(
                f"inode table + {int(self.positions[at]):#x} (decompressed): inode {number}: "
                f"{message}"
            )

    def refuse_blocks(self, blocks: Rows, wrong: NDArray[np.bool_], message: str) -> None:
        if wrong.any():
            at = int(np.flatnonzero(wrong)[0])
            inode = int(blocks["inode"][at])
            number = int(self.inodes["number"][inode])
            block = at - int(self.inodes["first_block"][inode])
            start = int(blocks["offset_bytes"][at]) - self.source.offset_bytes
            self.source.fail(f"inode {number}: block {block} at {start:#x} {message}")


def _required(tables: Tables, kind: Kind) -> Table:
    table = tables.table(kind)
    if table is None:
        raise LookupError(kind.label)
    return table
