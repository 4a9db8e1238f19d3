# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""Comparison of the trees of two file systems, of any format: names, hard links, metadata."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from optimizer.formats.text import printable
from optimizer.images.layout import FileType, Layout


def title_of(layout: Layout, inode: int) -> str:
    """Return the first path of an inode, for a message."""
    return printable(layout.paths_of(inode)[0])


def tree_difference(
    one: Layout, other: Layout, same_fields: Sequence[str]
) -> tuple[NDArray[np.int64], str | None]:
    """Compare all but contents and extended attributes; sizes of directories do not count.

    Args:
        one: A file system.
        other: Another one of the same format.
        same_fields: Fields of ``inodes`` that have to be equal.

    Returns:
        The inodes that belong together, shape (inodes, 2); and what differs first, for a person,
        or None if nothing does.
    """
    none = np.zeros((0, 2), np.int64)
    if one.paths != other.paths:
        if sorted(one.paths) != sorted(other.paths):
            return none, "the names differ"
        place = other.path_index
        order = np.array([place[path] for path in one.paths], np.int64)
    else:
        order = np.arange(len(one.paths))
    pairs = np.stack([one.entries["inode"], other.entries["inode"][order]], 1)
    pairs = np.unique(pairs, axis=0)
    if len(pairs) != one.inodes.size or len(pairs) != other.inodes.size:
        return none, "the hard links differ"
    first, second = one.inodes[pairs[:, 0]], other.inodes[pairs[:, 1]]

    def name(row: int) -> str:
        return title_of(one, int(pairs[row, 0]))

    for field in same_fields:
        wrong = np.flatnonzero(first[field] != second[field])
        if wrong.size:
            return pairs, f"{name(int(wrong[0]))}: {field} differs"
    sized = first["type"] != FileType.DIRECTORY
    wrong = np.flatnonzero(sized & (first["size_bytes"] != second["size_bytes"]))
    if wrong.size:
        return pairs, f"{name(int(wrong[0]))}: the size differs"
    for row in np.flatnonzero(first["type"] == FileType.SYMLINK).tolist():
        if one.symlink_target(int(pairs[row, 0])) != other.symlink_target(int(pairs[row, 1])):
            return pairs, f"{name(row)}: the link differs"
    return pairs, None
