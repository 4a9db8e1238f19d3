# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""Extents of an EROFS: clusters, blocks and metadata blocks, their owners, and pieces of files."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from optimizer.images.erofs.clusters import (
    FREE_RUNS,
    RUN,
    RUNS_A_BLOCK,
    Numbers,
    Place,
    Runs,
    spread,
)
from optimizer.images.erofs.format import Content, Superblock
from optimizer.images.extents import EXTENT, ExtentKind, ExtentMap, Extents, Role
from optimizer.images.layout import FILE_EXTENT, FileType, Rows
from optimizer.images.source import MEMORY_HINT

SHARED_COUNT_OFFSET_BYTES, XATTR_HEADER_BYTES, XATTR_ENTRY_BYTES = 4, 12, 4


class Kind(IntEnum):
    """Kinds of extents."""

    SUPERBLOCK = 0
    INODES = 1
    DIRECTORIES = 2
    XATTRS = 3
    CLUSTER = 4
    PACKED = 5

    @property
    def label(self) -> str:
        """The readable name."""
        return _LABELS[self]


_LABELS = (
    "superblock",
    "inode block",
    "directory block",
    "shared xattr block",
    "cluster",
    "packed cluster",
)
ROLES = {
    Kind.SUPERBLOCK: Role.MOUNT,
    Kind.INODES: Role.INODES,
    Kind.DIRECTORIES: Role.DIRECTORIES,
    Kind.XATTRS: Role.XATTRS,
    Kind.CLUSTER: Role.DATA,
    Kind.PACKED: Role.PACKED,
}
KINDS = tuple(ExtentKind(kind.label, ROLES[kind]) for kind in Kind)


@dataclass(frozen=True)
class Extended:
    """The extents of an EROFS, and their contents.

    Attributes:
        map: All of them.
        of_run: Row of the map for each run in blocks or metadata; -1 for the others.
        metadata_blocks: Numbers of the metadata blocks, ascending.
        of_metadata: Row of the map for each of these.
    """

    map: ExtentMap
    of_run: Numbers
    metadata_blocks: Numbers
    of_metadata: Numbers

    def metadata_rows(self, offset_bytes: int, end_bytes: int, block_bits: int) -> list[int]:
        """Return the rows of the map for a span of metadata of the file system."""
        first = np.searchsorted(self.metadata_blocks, offset_bytes >> block_bits)
        last = np.searchsorted(self.metadata_blocks, max(offset_bytes, end_bytes - 1) >> block_bits)
        rows: list[int] = self.of_metadata[first : last + 1].tolist()
        return rows


def shared_xattr_blocks(
    content: Content, superblock: Superblock, inodes: Rows
) -> tuple[Numbers, Numbers]:
    """Return the blocks with shared extended attributes, and for each its inode's row.

    Raises:
        FormatError: One is not within the file system.
    """
    with_xattrs = np.flatnonzero(inodes["xattr_bytes"] > 0)
    at = (inodes["body_bytes"] - inodes["xattr_bytes"])[with_xattrs]
    count_type = np.dtype([("count", "u1")])
    counts = content.records(at + SHARED_COUNT_OFFSET_BYTES, count_type, "xattrs")["count"]
    counts = np.minimum(
        counts.astype(np.int64),
        (inodes["xattr_bytes"][with_xattrs] - XATTR_HEADER_BYTES) // 4,
    )
    group, place = spread(counts)
    number_type = np.dtype([("number", "<u4")])
    ids = content.records(at[group] + XATTR_HEADER_BYTES + 4 * place, number_type, "xattrs")
    begin = (superblock.xattr_block << superblock.block_bits) + 4 * ids["number"].astype(np.int64)
    entry = np.dtype([("name_bytes", "u1"), ("prefix", "u1"), ("value_bytes", "<u2")])
    entries = content.records(begin, entry, "shared xattr")
    end = begin + XATTR_ENTRY_BYTES + entries["name_bytes"] + entries["value_bytes"]
    first, last = begin >> superblock.block_bits, (end - 1) >> superblock.block_bits
    which, inner = spread(last - first + 1)
    return first[which] + inner, with_xattrs[group[which]]


def find_extents(
    content: Content,
    superblock: Superblock,
    inodes: Rows,
    packed: int,
    runs: Runs,
    xattr_blocks: Numbers,
    owner: NDArray[np.int64],
    owned: NDArray[np.int64],
) -> Extended:
    """Sort all extents of an image and find the owners of each one.

    Args:
        content: The file system.
        superblock: Its superblock.
        inodes: All inodes.
        packed: Row of the packed inode; -1 if there is none.
        runs: Of all inodes.
        xattr_blocks: Blocks with shared extended attributes.
        owner: Pairs of an inode and a run in the packed inode that it has content in.
        owned: The runs of the pairs.
    """
    bits, begin = superblock.block_bits, content.source.offset_bytes
    rows = runs.rows
    in_blocks = np.flatnonzero(rows["place"] == Place.BLOCKS)
    kind = np.full(in_blocks.size, Kind.CLUSTER, np.int64)
    of_run = rows["inode"][in_blocks]
    kind[inodes["type"][of_run] == FileType.DIRECTORY] = Kind.DIRECTORIES
    if packed >= 0:
        kind[of_run == packed] = Kind.PACKED
    keys = np.stack([rows["offset_bytes"][in_blocks], rows["length_bytes"][in_blocks]], axis=1)
    _, first, shared = np.unique(keys, axis=0, return_index=True, return_inverse=True)
    shared = shared.reshape(-1)
    data = np.zeros(first.size, EXTENT)
    chosen = rows[in_blocks[first]]
    data["offset_bytes"] = chosen["offset_bytes"] + begin
    data["length_bytes"] = chosen["length_bytes"]
    data["stored"] = chosen["algorithm"] < 0
    data["index"] = chosen["offset_bytes"] >> bits
    data["kind"] = kind[first]
    data["role"] = np.array([ROLES[one] for one in Kind], np.uint8)[kind[first]]

    metadata, meta_kind = _metadata_blocks(content, superblock, inodes, runs, xattr_blocks)
    meta = np.zeros(metadata.size, EXTENT)
    meta["offset_bytes"] = (metadata << bits) + begin
    meta["length_bytes"], meta["index"], meta["kind"] = superblock.block_bytes, metadata, meta_kind
    meta["role"] = np.array([ROLES[one] for one in Kind], np.uint8)[meta_kind]

    files = np.flatnonzero(kind == Kind.CLUSTER)
    row_of_run = np.full(rows.size, -1, np.int64)
    row_of_run[in_blocks] = shared
    pairs_owned = np.concatenate([shared[files], row_of_run[owned]])
    pairs_owner = np.concatenate([of_run[files], owner])
    found, rank = ExtentMap.of(np.concatenate([data, meta]), pairs_owned, pairs_owner)
    row_of_run[in_blocks] = rank[shared]
    of_metadata = rank[data.size :]
    in_metadata = np.flatnonzero(rows["place"] == Place.METADATA)
    block = rows["offset_bytes"][in_metadata] >> bits
    row_of_run[in_metadata] = of_metadata[np.searchsorted(metadata, block)]
    return Extended(found, row_of_run, metadata, of_metadata)


def _metadata_blocks(
    content: Content, superblock: Superblock, inodes: Rows, runs: Runs, xattr_blocks: Numbers
) -> tuple[Numbers, NDArray[np.uint8]]:
    """Return the numbers of all metadata blocks, ascending, and their kinds."""
    bits = superblock.block_bits
    first = inodes["position_bytes"] >> bits
    ends = runs.body_end_bytes
    content.check(inodes["position_bytes"], ends - inodes["position_bytes"], "inode")
    last = (ends - 1) >> bits
    # Each block once, even if an image claims that all inodes reach through all of it.
    edges = np.zeros(superblock.block_count + 1, np.int64)
    np.add.at(edges, first, 1)
    np.add.at(edges, last + 1, -1)
    kinds = np.full(superblock.block_count, 255, np.uint8)
    kinds[xattr_blocks[xattr_blocks < superblock.block_count]] = Kind.XATTRS
    kinds[np.cumsum(edges[:-1]) > 0] = Kind.INODES
    kinds[0] = Kind.SUPERBLOCK
    blocks = np.flatnonzero(kinds != 255)
    return blocks, kinds[blocks]


def resolve_packed(
    content: Content, superblock: Superblock, runs: Runs, packed: int
) -> tuple[Rows, Numbers, Numbers]:
    """Replace runs in the packed inode by runs in the clusters of that inode.

    Returns:
        Rows of :data:`RUN` of all inodes but the packed one; for each the row of ``runs`` that
        its extent belongs to; and where in the decompressed extent it begins.

    Raises:
        FormatError: A run is not within the packed inode.
    """
    rows = runs.rows
    own = np.flatnonzero(rows["inode"] == packed) if packed >= 0 else np.zeros(0, np.int64)
    others = np.flatnonzero(rows["inode"] != packed)
    in_packed = others[rows["place"][others] == Place.PACKED]
    begins = rows["file_offset_bytes"][own]
    size = int(begins[-1] + rows["file_bytes"][own][-1]) if own.size else 0
    offset, length = rows["offset_bytes"][in_packed], rows["file_bytes"][in_packed]
    outside = (offset < 0) | (offset + length > size) | (length <= 0)
    if outside.any() or (rows["place"][own] == Place.PACKED).any():
        content.source.fail("a fragment is outside of the packed inode")
    first = np.searchsorted(begins, offset, side="right") - 1
    last = np.searchsorted(begins, offset + length, side="left") - 1
    counts = last - first + 1
    most = FREE_RUNS + RUNS_A_BLOCK * superblock.block_count
    if float(counts.astype(np.float64).sum()) > most:
        content.source.fail("fragments have more clusters than the image", MEMORY_HINT)
    group, inner = spread(counts)
    source = own[first[group] + inner] if own.size else group
    pieces = np.zeros(group.size, RUN)
    start = np.maximum(offset[group], rows["file_offset_bytes"][source])
    stop = np.minimum(
        (offset + length)[group], rows["file_offset_bytes"][source] + rows["file_bytes"][source]
    )
    for name in ("offset_bytes", "length_bytes", "place", "algorithm"):
        pieces[name] = rows[name][source]
    pieces["inode"] = rows["inode"][in_packed][group]
    pieces["file_offset_bytes"] = (
        rows["file_offset_bytes"][in_packed][group] + start - offset[group]
    )
    pieces["file_bytes"] = stop - start
    direct = others[rows["place"][others] != Place.PACKED]
    every = np.concatenate([rows[direct], pieces])
    run = np.concatenate([direct, source])
    inside = np.concatenate(
        [np.zeros(direct.size, np.int64), start - rows["file_offset_bytes"][source]]
    )
    order = np.lexsort((every["file_offset_bytes"], every["inode"]))
    return every[order], run[order], inside[order]


def file_extents(
    extended: Extended, pieces: Rows, run: Numbers, inside: Numbers, begin_bytes: int
) -> Rows:
    """Return the pieces of all files, rows of :data:`FILE_EXTENT`.

    Args:
        extended: The extents.
        pieces: Runs as :func:`resolve_packed` returns them, of regular files only.
        run: The row of each in all runs.
        inside: Where each begins in its decompressed extent.
        begin_bytes: Where the file system begins on the image.
    """
    found = np.zeros(pieces.size, FILE_EXTENT)
    extents: Extents = extended.map.extents
    row = extended.of_run[run]
    found["inode"], found["extent"] = pieces["inode"], row
    filled = row >= 0
    found["role"], found["kind"] = Role.DATA, Kind.CLUSTER
    for name in ("role", "kind", "index"):
        found[name][filled] = extents[name][row[filled]]
    found["offset_bytes"] = np.where(filled, pieces["offset_bytes"] + begin_bytes, 0)
    found["length_bytes"] = np.where(filled, pieces["length_bytes"], 0)
    found["stored"] = pieces["algorithm"] < 0
    for name in ("file_offset_bytes", "file_bytes"):
        found[name] = pieces[name]
    found["inner_offset_bytes"] = inside
    return found
