# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""Extents of a squashfs: its blocks, fragment blocks and metadata blocks, and their owners."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from optimizer.images.extents import EXTENT, ExtentKind, ExtentMap, Extents, Role
from optimizer.images.layout import FILE_EXTENT, Rows
from optimizer.images.squashfs.format import Kind, Table

ROLES = {
    Kind.SUPERBLOCK: Role.MOUNT,
    Kind.COMPRESSION_OPTIONS: Role.MOUNT,
    Kind.INODE_TABLE: Role.INODES,
    Kind.DIRECTORY_TABLE: Role.DIRECTORIES,
    Kind.FRAGMENT_TABLE: Role.PACKED_INDEX,
    Kind.EXPORT_TABLE: Role.OTHER,
    Kind.ID_TABLE: Role.OTHER,
    Kind.XATTR_TABLE: Role.XATTRS,
    Kind.BLOCK: Role.DATA,
    Kind.FRAGMENT: Role.PACKED,
}
KINDS = tuple(ExtentKind(kind.label, ROLES[kind]) for kind in Kind)


@dataclass(frozen=True)
class Extended:
    """The extents of a squashfs, and their contents.

    Attributes:
        map: All of them.
        of_block: Row of the map for each row of ``SquashfsLayout.blocks``; -1 for a hole.
        of_fragment: Row of the map for each of ``SquashfsLayout.fragments``.
        of_metadata: For each table the row of the map for each of its metadata blocks.
    """

    map: ExtentMap
    of_block: NDArray[np.int64]
    of_fragment: NDArray[np.int64]
    of_metadata: dict[Kind, NDArray[np.int64]]


def find_extents(tables: Sequence[Table], blocks: Rows, fragments: Rows, inodes: Rows) -> Extended:
    """Sort all extents of an image and find the owners of each one."""
    filled = np.flatnonzero(blocks["length_bytes"] > 0)
    # Offset and length decide which blocks are the same; both in one number sort much faster.
    keys = blocks["offset_bytes"][filled] << np.int64(21) | blocks["length_bytes"][filled]
    _, first, shared = np.unique(keys, return_index=True, return_inverse=True)
    data = _extents(Kind.BLOCK, blocks[filled[first]])
    data["index"] = filled[first]
    tails = _extents(Kind.FRAGMENT, fragments)
    parts = [_table_extents(table) for table in tables]

    in_fragment = np.flatnonzero(inodes["fragment_bytes"] > 0)
    owned = np.concatenate([shared, data.size + inodes["fragment"][in_fragment]])
    owner = np.concatenate([blocks["inode"][filled], in_fragment])
    found, rows = ExtentMap.of(np.concatenate([data, tails, *parts]), owned, owner)

    of_block = np.full(blocks.size, -1, np.int64)
    of_block[filled] = rows[shared]
    of_metadata, begin = {}, data.size + tails.size
    for table, part in zip(tables, parts, strict=True):
        of_metadata[table.kind] = rows[begin : begin + table.blocks.size]
        begin += part.size
    of_fragment = rows[data.size : data.size + tails.size]
    return Extended(found, of_block, of_fragment, of_metadata)


def _extents(kind: Kind, rows: Rows) -> Extents:
    """Return rows with an offset, a length and a mark of storage as extents of a kind."""
    extents = np.empty(rows.size, EXTENT)
    extents["offset_bytes"] = rows["offset_bytes"]
    extents["length_bytes"] = rows["length_bytes"]
    extents["stored"] = rows["stored"]
    extents["index"] = np.arange(rows.size)
    extents["kind"] = kind
    extents["role"] = ROLES[kind]
    return extents


def _table_extents(table: Table) -> Extents:
    """Return a table's metadata blocks, and behind them its index if it has one."""
    extents = _extents(table.kind, table.blocks)
    blocks_end = table.offset_bytes
    if extents.size:
        blocks_end = int(extents["offset_bytes"][-1] + extents["length_bytes"][-1])
    index = np.zeros(1, EXTENT)
    index["kind"], index["role"], index["index"] = table.kind, ROLES[table.kind], -1
    index["offset_bytes"] = blocks_end
    index["length_bytes"] = table.offset_bytes + table.length_bytes - blocks_end
    return np.concatenate([extents, index[index["length_bytes"] > 0]])


def file_extents(
    extended: Extended, block_size_bytes: int, blocks: Rows, fragments: Rows, inodes: Rows
) -> Rows:
    """Return the pieces of all files, rows of :data:`FILE_EXTENT`."""
    with_tail = np.flatnonzero(inodes["fragment_bytes"] > 0)
    pieces = np.zeros(blocks.size + with_tail.size, FILE_EXTENT)
    full = pieces[: blocks.size]
    owner = blocks["inode"]
    full["inode"] = owner
    full["extent"] = extended.of_block
    full["role"], full["kind"] = Role.DATA, Kind.BLOCK
    full["index"] = np.arange(blocks.size)
    full["length_bytes"] = blocks["length_bytes"]
    full["offset_bytes"] = np.where(blocks["length_bytes"] > 0, blocks["offset_bytes"], 0)
    full["stored"] = blocks["stored"]
    full["file_offset_bytes"] = (full["index"] - inodes["first_block"][owner]) * block_size_bytes
    full["file_bytes"] = np.minimum(
        block_size_bytes, inodes["size_bytes"][owner] - full["file_offset_bytes"]
    )
    tails = pieces[blocks.size :]
    tailed = inodes[with_tail]
    tails["inode"] = with_tail
    tails["extent"] = extended.of_fragment[tailed["fragment"]]
    tails["role"], tails["kind"] = Role.PACKED, Kind.FRAGMENT
    tails["index"] = tailed["fragment"]
    for name in ("offset_bytes", "length_bytes", "stored"):
        tails[name] = fragments[name][tailed["fragment"]]
    tails["file_offset_bytes"] = tailed["block_count"] * block_size_bytes
    tails["file_bytes"] = tailed["fragment_bytes"]
    tails["inner_offset_bytes"] = tailed["fragment_offset_bytes"]
    # Blocks and tails are each by inode: a stable sort puts every tail behind its file's blocks.
    return pieces[np.argsort(pieces["inode"], kind="stable")]
