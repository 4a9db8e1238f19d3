# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""With which options of mkfs.erofs an image was made, as its superblock and its inodes show it."""

from __future__ import annotations

import uuid
import zlib
from collections.abc import Callable
from typing import BinaryIO

import numpy as np

from optimizer.errors import InputError
from optimizer.images.erofs.clusters import Place
from optimizer.images.erofs.contents import Reader
from optimizer.images.erofs.format import COMPRESSORS, SUPERBLOCK, Storage
from optimizer.images.erofs.layout import ErofsLayout
from optimizer.images.layout import FileType, Rows

TAIL_PACKING = 0x10
# Of the bytes of files larger than a cluster: more are packed only if all files are.
ALL_FRAGMENTS_SHARE = 0.8
# Clusters by which the level is estimated: the largest ones.
SAMPLES = 12
LZ4 = 0


def options_of(layout: ErofsLayout, file: BinaryIO) -> list[str]:
    """Return the options, without those for order and tree.

    Raises:
        InputError: The image has a form that mkfs.erofs cannot be told to make.
    """
    superblock, runs = layout.superblock, layout.runs.rows
    fields = SUPERBLOCK.unpack(layout.superblock_bytes)
    identifier, volume = fields[12], fields[13].rstrip(b"\0")
    algorithms = np.unique(runs["algorithm"][runs["algorithm"] >= 0]).tolist()
    reasons = {
        "several compressors": len(algorithms) != 1,
        "long prefixes of extended attributes": bool(superblock.prefixes),
        "chunks": bool((layout.inodes["storage"] == Storage.CHUNKS).any()),
    }
    for reason, holds in reasons.items():
        if holds:
            raise InputError(
                f"{layout.name}: an EROFS with {reason} cannot be packed again",
                hint="build the image again with the files of the boot first (docs/formats.md)",
            )
    algorithm = int(algorithms[0])
    options = [
        *("-b", str(superblock.block_bytes), "-U", str(uuid.UUID(bytes=identifier))),
        # Of inodes of 32 bytes, this is the time.
        *("-T", str(superblock.made_seconds), "--mkfs-time"),
        f"-C{cluster_bytes(layout)}",
        f"-z{_compressor(layout, file, algorithm)}",
    ]
    if volume:
        options += ["-L", volume.decode(errors="surrogateescape")]
    features = _features(layout)
    if features:
        options.append(f"-E{','.join(features)}")
    return options


def cluster_bytes(layout: ErofsLayout) -> int:
    """Return the size of the largest compressed cluster: a power of two of bytes."""
    runs = layout.runs.rows
    compressed = runs["length_bytes"][(runs["algorithm"] >= 0) & (runs["place"] == Place.BLOCKS)]
    return 1 << (int(compressed.max(initial=layout.superblock.block_bytes)) - 1).bit_length()


def _features(layout: ErofsLayout) -> list[str]:
    runs, found = layout.runs.rows, []
    if layout.packed >= 0:
        large = np.zeros(layout.every_inode.size, bool)
        large[: layout.inodes.size] = (layout.inodes["type"] == FileType.FILE) & (
            layout.inodes["size_bytes"] > cluster_bytes(layout)
        )
        mine = runs[large[runs["inode"]]]
        packed = int(mine["file_bytes"][mine["place"] == Place.PACKED].sum())
        # Files that fit into one cluster are whole fragments with either option.
        share = packed / int(mine["file_bytes"].sum()) if mine.size else 1
        found.append("all-fragments" if share > ALL_FRAGMENTS_SHARE else "fragments")
    blocks = runs[(runs["place"] == Place.BLOCKS) & (runs["algorithm"] >= 0)]
    if _shared_by_different_files(layout, blocks):
        found.append("dedupe")
    if layout.superblock.features & TAIL_PACKING:
        found.append("ztailpacking")
    # mkfs.erofs gives some inodes with fragments a full index in any case.
    if not (layout.every_inode["storage"][blocks["inode"]] == Storage.COMPACT_INDEX).any():
        found.append("legacy-compress")
    return found


def _shared_by_different_files(layout: ErofsLayout, blocks: Rows) -> bool:
    """Return whether files of different sizes share clusters: equal ones do without dedupe, too."""
    order = np.argsort(blocks["offset_bytes"], kind="stable")
    place = blocks["offset_bytes"][order]
    size = layout.every_inode["size_bytes"][blocks["inode"][order]]
    return bool(((place[1:] == place[:-1]) & (size[1:] != size[:-1])).any())


def _compressor(layout: ErofsLayout, file: BinaryIO, algorithm: int) -> str:
    """Return compressor and level; a level leaves its trace only in how small clusters are."""
    if algorithm == LZ4:
        return "lz4hc"
    name = COMPRESSORS[algorithm]
    if name == "zstd":
        return f"{name},{_level(layout, file, _zstd, range(1, 20))}"
    if name == "deflate":
        return f"{name},{_level(layout, file, _deflate, range(1, 10))}"
    return name


def _level(
    layout: ErofsLayout,
    file: BinaryIO,
    compress: Callable[[bytes, int], bytes],
    levels: range,
) -> int:
    """Return the level at which the largest clusters are nearest to the size that they have."""
    reader, runs = Reader(layout, file), layout.runs.rows
    rows = np.flatnonzero((runs["algorithm"] >= 0) & (runs["place"] == Place.BLOCKS))
    largest = rows[np.argsort(-runs["file_bytes"][rows], kind="stable")][:SAMPLES]
    samples = [reader.cluster(runs[row]) for row in largest.tolist()]

    def distance(level: int) -> int:
        return abs(sum(len(compress(data, level)) - stored for data, stored in samples))

    return min(levels, key=distance)


def _zstd(data: bytes, level: int) -> bytes:
    import zstandard

    return zstandard.ZstdCompressor(level=level, write_checksum=False).compress(data)


def _deflate(data: bytes, level: int) -> bytes:
    stream = zlib.compressobj(level, zlib.DEFLATED, -zlib.MAX_WBITS)
    return stream.compress(data) + stream.flush()
