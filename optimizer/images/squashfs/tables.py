# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""Places of the tables of a squashfs, and the contents of those that are read whole.

mksquashfs writes the data, then inode, directory, fragment, export, id and xattr table. All but
the first two begin with metadata blocks and end with an index of their positions, to which the
superblock points; so each table ends where the next one begins.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from optimizer.images.layout import Rows
from optimizer.images.source import Source
from optimizer.images.squashfs.decompress import Decompress
from optimizer.images.squashfs.format import (
    BLOCK_LENGTH_MASK,
    BLOCK_STORED,
    FLAG_COMPRESSION_OPTIONS,
    FRAGMENT_ENTRY,
    METADATA_BLOCK,
    METADATA_BYTES,
    METADATA_STORED,
    NO_TABLE,
    POINTER,
    SUPERBLOCK,
    XATTR_ID_HEADER,
    Kind,
    Superblock,
    Table,
    inflate_table,
    metadata_blocks,
)

# One fragment block: offset on the image and compressed length.
FRAGMENT = np.dtype([("offset_bytes", "<i8"), ("length_bytes", "<i4"), ("stored", "?")])


@dataclass(frozen=True)
class Tables:
    """All tables of an image, in their order on it."""

    tables: tuple[Table, ...]
    fragments: Rows
    ids: np.ndarray[tuple[int], np.dtype[np.uint32]]

    def table(self, kind: Kind) -> Table | None:
        """Return a table, or None if the image has none of this kind."""
        return next((table for table in self.tables if table.kind == kind), None)


def read_tables(source: Source, superblock: Superblock, decompress: Decompress) -> Tables:
    """Find all tables from the last to the first, and read those that layouts need.

    Raises:
        FormatError: A table lies outside the image, overlaps the next one or is corrupt.
    """
    end = superblock.size_bytes
    found: list[Table] = []
    if superblock.xattr_table != NO_TABLE:
        found.append(_xattr_table(source, superblock.xattr_table, end))
        end = found[-1].offset_bytes - source.offset_bytes
    ids = _indexed(
        source,
        Kind.ID_TABLE,
        superblock.id_table,
        superblock.id_count * 4,
        end,
        decompress,
    )
    found.append(ids)
    end = ids.offset_bytes - source.offset_bytes
    if superblock.export_table != NO_TABLE:
        size = superblock.inode_count * 8
        found.append(_indexed(source, Kind.EXPORT_TABLE, superblock.export_table, size, end))
        end = found[-1].offset_bytes - source.offset_bytes
    fragments = np.empty(0, FRAGMENT)
    # Without fragments the position has no meaning, and the kernel ignores it too.
    if superblock.fragment_count and superblock.fragment_table == NO_TABLE:
        source.fail(f"superblock: {superblock.fragment_count} fragments, but no fragment table")
    if superblock.fragment_count:
        size = superblock.fragment_count * FRAGMENT_ENTRY.itemsize
        start = superblock.fragment_table
        table = _indexed(source, Kind.FRAGMENT_TABLE, start, size, end, decompress)
        found.append(table)
        end = table.offset_bytes - source.offset_bytes
        fragments = _fragments(source, superblock, table)
    for kind, start in (
        (Kind.DIRECTORY_TABLE, superblock.directory_table),
        (Kind.INODE_TABLE, superblock.inode_table),
    ):
        if start > end:
            source.fail(f"{kind.label} at {start:#x}: overlaps the table at {end:#x}")
        found.append(_contiguous(source, kind, start, end, end, decompress))
        end = start
    if superblock.flags & FLAG_COMPRESSION_OPTIONS:
        found.append(_compression_options(source))
    found.append(
        Table(
            Kind.SUPERBLOCK,
            source.offset_bytes,
            SUPERBLOCK.size,
            np.empty(0, METADATA_BLOCK),
        )
    )
    id_numbers = np.frombuffer(ids.inflated, "<u4", superblock.id_count)
    return Tables(tuple(reversed(found)), fragments, id_numbers)


def _contiguous(
    source: Source, kind: Kind, start: int, blocks_end: int, end: int, decompress: Decompress | None
) -> Table:
    """Read a table whose metadata blocks fill start..blocks_end."""
    what = kind.label
    data = source.read(start, blocks_end - start, what)
    blocks = metadata_blocks(source, start, blocks_end, what, data)
    inflated = b""
    if decompress is not None:
        inflated = inflate_table(source, start, blocks, data, what, decompress)
    return Table(kind, source.offset_bytes + start, end - start, blocks, inflated)


def _indexed(
    source: Source,
    kind: Kind,
    index_start: int,
    size_bytes: int,
    limit: int,
    decompress: Decompress | None = None,
) -> Table:
    """Read a table of ``size_bytes`` whose metadata blocks are listed by an index behind them.

    Args:
        source: The image.
        kind: Which table.
        index_start: Position of the index.
        size_bytes: Size of the decompressed table, from the counts of the superblock.
        limit: Position of the next table, which this one must not reach into.
        decompress: None if only the place of the table is of interest.
    """
    what = kind.label
    block_count = -(-size_bytes // METADATA_BYTES)
    index_end = index_start + block_count * POINTER.size
    if index_end > limit:
        source.fail(
            f"{what} at {index_start:#x}: index of {block_count} entries ends at {index_end:#x}, "
            f"behind {limit:#x}"
        )
    index = np.frombuffer(
        source.read(index_start, index_end - index_start, what), "<u8", block_count
    )
    start = int(index[0]) if block_count else index_start
    if not SUPERBLOCK.size <= start <= index_start:
        source.fail(f"{what} at {index_start:#x}: entry 0 points to {start:#x}, outside the table")
    table = _contiguous(source, kind, start, index_start, index_end, decompress)
    positions = table.blocks["offset_bytes"] - source.offset_bytes
    if positions.size != block_count or (positions != index).any():
        wrong = _first_difference(positions, index)
        source.fail(f"{what} at {index_start:#x}: entry {wrong} points to no metadata block")
    if decompress is not None and len(table.inflated) != size_bytes:
        source.fail(
            f"{what} at {start:#x}: holds {len(table.inflated)} bytes, the superblock says "
            f"{size_bytes}"
        )
    return table


def _first_difference(
    one: np.ndarray[tuple[int], np.dtype[np.int64]],
    other: np.ndarray[tuple[int], np.dtype[np.uint64]],
) -> int:
    common = min(one.size, other.size)
    different = np.flatnonzero(one[:common] != other[:common])
    return int(different[0]) if different.size else common


def _fragments(source: Source, superblock: Superblock, table: Table) -> Rows:
    entries = np.frombuffer(table.inflated, FRAGMENT_ENTRY, superblock.fragment_count)
    lengths = entries["length"] & BLOCK_LENGTH_MASK
    where = f"fragment table at {superblock.fragment_table:#x}"
    unknown_bits = entries["length"] & ~np.uint32(BLOCK_LENGTH_MASK | BLOCK_STORED)
    bad = (lengths > superblock.block_size_bytes) | (lengths == 0) | (unknown_bits != 0)
    if bad.any():
        entry = int(np.flatnonzero(bad)[0])
        source.fail(f"{where}: entry {entry} has length {int(entries['length'][entry]):#x}")
    # Lengths were checked to be small: subtraction cannot wrap, but adding a hostile offset could.
    outside = (entries["offset"] > superblock.size_bytes - lengths.astype("<u8")) | (
        entries["offset"] < SUPERBLOCK.size
    )
    if outside.any():
        entry = int(np.flatnonzero(outside)[0])
        source.fail(f"{where}: entry {entry} points past bytes_used {superblock.size_bytes:#x}")
    fragments = np.empty(entries.size, FRAGMENT)
    fragments["offset_bytes"] = entries["offset"].astype("<i8") + source.offset_bytes
    fragments["length_bytes"] = lengths
    fragments["stored"] = entries["length"] & BLOCK_STORED != 0
    return fragments


def _xattr_table(source: Source, header_start: int, limit: int) -> Table:
    """Find the xattr table: key-value blocks, id blocks, header, index of the id blocks."""
    what = Kind.XATTR_TABLE.label
    if header_start + XATTR_ID_HEADER.size > limit:
        source.fail(f"{what} at {header_start:#x}: lies behind bytes_used {limit:#x}")
    header = source.read(header_start, XATTR_ID_HEADER.size, what)
    start, id_count, _ = XATTR_ID_HEADER.unpack(header)
    block_count = -(-id_count * XATTR_ID_HEADER.size // METADATA_BYTES)
    index_end = header_start + XATTR_ID_HEADER.size + block_count * POINTER.size
    if index_end > limit:
        source.fail(f"{what} at {header_start:#x}: index of {block_count} entries ends too late")
    if not SUPERBLOCK.size <= start <= header_start:
        source.fail(f"{what} at {header_start:#x}: points to {start:#x}, outside the table")
    return _contiguous(source, Kind.XATTR_TABLE, start, header_start, index_end, None)


def _compression_options(source: Source) -> Table:
    kind = Kind.COMPRESSION_OPTIONS
    start = SUPERBLOCK.size
    header = int.from_bytes(source.read(start, 2, kind.label), "little")
    end = start + 2 + (header & ~METADATA_STORED)
    return _contiguous(source, kind, start, end, end, None)
