# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""Comparison of two squashfs images: the same tree, whatever the order."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import BinaryIO

import numpy as np

from optimizer.images.compare import title_of, tree_difference
from optimizer.images.layout import FileType, Rows
from optimizer.images.squashfs.decompress import CorruptBlockError, Decompress, decompressor
from optimizer.images.squashfs.format import Kind
from optimizer.images.squashfs.layout import SquashfsLayout

SAME_FIELDS = (
    "number", "type", "mode", "uid", "gid", "mtime", "nlink", "rdev", "xattr", "fragment_bytes",
    "block_count",
)  # fmt: skip
COPY_BYTES = 1 << 20


def first_difference(
    one: SquashfsLayout, one_file: BinaryIO, other: SquashfsLayout, other_file: BinaryIO
) -> str | None:
    """Compare all that a reader of two images can see, but for the sizes of directories.

    Compared are names, hard links, owners, modes, times, links, devices, extended attributes, and
    the content of every file: compressed blocks byte by byte, tails decompressed.

    Args:
        one: Layout of an image.
        one_file: The image.
        other: Layout of the other one.
        other_file: It.

    Returns:
        What differs first, for a person; None if nothing does.

    Raises:
        FormatError: A block cannot be decompressed.
    """
    pairs, different = tree_difference(one, other, SAME_FIELDS)
    if different is not None:
        return different
    if _xattrs(one, one_file) != _xattrs(other, other_file):
        return "the extended attributes differ"
    one_tails, other_tails = _tails(one, one_file), _tails(other, other_file)
    for left, right in pairs.tolist():
        if one.inodes["type"][left] == FileType.FILE:
            if _blocks(one, one_file, left) != _blocks(other, other_file, right):
                return f"{title_of(one, left)}: the content differs"
            if one_tails.get(left) != other_tails.get(right):
                return f"{title_of(one, left)}: the end of the content differs"
    return None


def _blocks(layout: SquashfsLayout, file: BinaryIO, inode: int) -> tuple[bytes, bytes]:
    """Return the lengths of a file's blocks as they are listed, and a digest of all of them."""
    row = layout.inodes[inode]
    first, count = int(row["first_block"]), int(row["block_count"])
    blocks = layout.blocks[first : first + count]
    state = hashlib.sha256()
    length = int(blocks["length_bytes"].sum())
    if length:
        file.seek(int(blocks["offset_bytes"][0]))
    while length:
        data = file.read(min(length, COPY_BYTES))
        state.update(data)
        length -= len(data)
        if not data:
            break
    return blocks["length_bytes"].tobytes() + blocks["stored"].tobytes(), state.digest()


def _tails(layout: SquashfsLayout, file: BinaryIO) -> dict[int, bytes]:
    """Return a digest of the tail of each file that has one, by its inode."""
    rows = np.flatnonzero(layout.inodes["fragment_bytes"] > 0)
    rows = rows[np.argsort(layout.inodes["fragment"][rows], kind="stable")]
    decompress = decompressor(layout.superblock.compressor)
    found: dict[int, bytes] = {}
    current, data = -1, b""
    for row in rows.tolist():
        inode = layout.inodes[row]
        if int(inode["fragment"]) != current:
            current = int(inode["fragment"])
            data = _fragment(layout, file, current, decompress)
        offset, size = int(inode["fragment_offset_bytes"]), int(inode["fragment_bytes"])
        found[row] = hashlib.sha256(data[offset : offset + size]).digest()
    return found


def _fragment(layout: SquashfsLayout, file: BinaryIO, number: int, decompress: Decompress) -> bytes:
    block = layout.fragments[number]
    file.seek(int(block["offset_bytes"]))
    data = file.read(int(block["length_bytes"]))
    if block["stored"]:
        return data
    try:
        return decompress(data, layout.block_size_bytes)
    except CorruptBlockError as error:
        return f"damaged: {error}".encode()


def _xattrs(layout: SquashfsLayout, file: BinaryIO) -> list[bytes]:
    """Return the metadata blocks of the table of extended attributes, which do not depend on it."""
    table = layout.table(Kind.XATTR_TABLE)
    return [] if table is None else list(_metadata(file, table.blocks))


def _metadata(file: BinaryIO, blocks: Rows) -> Iterator[bytes]:
    for offset, length in blocks[["offset_bytes", "length_bytes"]].tolist():
        file.seek(offset)
        yield file.read(length)
