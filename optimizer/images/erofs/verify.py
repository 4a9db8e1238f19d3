# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""Comparison of two EROFS images: the same tree, whatever the order and the compressor."""

from __future__ import annotations

import hashlib
from typing import BinaryIO

from optimizer.images.compare import title_of, tree_difference
from optimizer.images.erofs.contents import Reader
from optimizer.images.erofs.layout import ErofsLayout
from optimizer.images.layout import FileType

SAME_FIELDS = ("type", "mode", "uid", "gid", "mtime", "mtime_nanoseconds", "nlink", "rdev")


def first_difference(
    one: ErofsLayout, one_file: BinaryIO, other: ErofsLayout, other_file: BinaryIO
) -> str | None:
    """Compare all that a reader of two images can see, but for inode numbers and directory sizes.

    Compared are names, hard links, owners, modes, times, links, devices, extended attributes, and
    the content of every file: as it is stored, and decompressed where that differs.

    Args:
        one: Layout of an image.
        one_file: The image.
        other: Layout of the other one.
        other_file: It.

    Returns:
        What differs first, for a person; None if nothing does.

    Raises:
        FormatError: A cluster cannot be decompressed.
    """
    pairs, different = tree_difference(one, other, SAME_FIELDS)
    if different is not None:
        return different
    first, second = Reader(one, one_file), Reader(other, other_file)
    # Fragments are places in the packed inode, so that these can be compared if it is the same.
    packed = _same_packed(one, first, other, second)
    for left, right in pairs.tolist():
        if first.xattrs(left) != second.xattrs(right):
            return f"{title_of(one, left)}: the extended attributes differ"
        if one.inodes["type"][left] != FileType.FILE:
            continue
        if packed and _stored(first, left) == _stored(second, right):
            continue
        if _digest(first, left) != _digest(second, right):
            return f"{title_of(one, left)}: the content differs"
    return None


def _same_packed(one: ErofsLayout, first: Reader, other: ErofsLayout, second: Reader) -> bool:
    if min(one.packed, other.packed) < 0:
        return one.packed == other.packed
    return _stored(first, one.packed) == _stored(second, other.packed)


def _stored(reader: Reader, inode: int) -> bytes:
    """Return a digest of the runs of a file and of their bytes on the image."""
    state = hashlib.sha256()
    for described, data in reader.raw(inode):
        state.update(described)
        state.update(data)
    return state.digest()


def _digest(reader: Reader, inode: int) -> bytes:
    state = hashlib.sha256()
    for piece in reader.pieces(inode):
        state.update(piece)
    return state.digest()
