# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""Lookup by offset on the image: extents sorted by offset, and their owners."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import ArrayLike, NDArray

from optimizer.spans import Spans, overlaps, reach_of

Extents = NDArray[np.void]
"""Rows of :data:`EXTENT`."""


class Role(IntEnum):
    """Roles of the parts of an image, for any format of its file system."""

    DATA = 0
    """Content of a file, or of several files that are equal in it."""
    PACKED = 1
    """Content of several files that can only be read together: a fragment block."""
    INODES = 2
    DIRECTORIES = 3
    PACKED_INDEX = 4
    """The places of the packed parts: the fragment table."""
    XATTRS = 5
    MOUNT = 6
    """The start of a file system, read at mount: the superblock and its options."""
    OTHER = 7
    """Other tables: owners, inodes by number."""


CONTENT = (Role.DATA, Role.PACKED)
"""Roles of the parts with contents of files; everything else is metadata."""


@dataclass(frozen=True)
class ExtentKind:
    """A kind of extent that a format has.

    Attributes:
        label: The format's name for it, "inode table" for instance.
        role: Its role.
    """

    label: str
    role: Role


EXTENT = np.dtype(
    [
        ("offset_bytes", "<i8"),
        ("length_bytes", "<i8"),
        ("role", "u1"),  # Role
        ("kind", "u1"),  # index in Layout.kinds
        ("index", "<i8"),  # which one of its kind, as the format counts; -1: index of a table
        ("stored", "?"),  # content without compression
    ]
)
"""One extent of the image. Blocks that several files share are one extent. A table is one extent
for each of its blocks, and one for the index behind them."""


@dataclass(frozen=True)
class ExtentMap:
    """All extents of an image.

    Attributes:
        extents: Rows of :data:`EXTENT`, ascending by offset.
        owners: Indices in ``Layout.inodes``; those of extent i are
            ``owners[first_owner[i]:first_owner[i + 1]]``. Tables have none.
        first_owner: One more than there are extents.
        reach: Largest end of this extent and all before it, in bytes: extents of a valid image
            do not overlap, but those of a strange one may.
    """

    extents: Extents
    owners: NDArray[np.int64]
    first_owner: NDArray[np.int64]
    reach: NDArray[np.int64]

    @classmethod
    def without_owners(cls, extents: Extents) -> ExtentMap:
        """Return the map of extents, ascending by offset, whose owners do not matter."""
        no_owners = np.zeros(extents.size + 1, np.int64)
        return cls(extents, no_owners[:0], no_owners, reach_of(extents))

    @classmethod
    def of(
        cls, extents: Extents, owned: NDArray[np.int64], owner: NDArray[np.int64]
    ) -> tuple[ExtentMap, NDArray[np.int64]]:
        """Sort extents.

        Args:
            extents: Rows of :data:`EXTENT` in any order.
            owned: Positions in ``extents``; a pair may occur more than once.
            owner: The inode that owns each of these.

        Returns:
            The map, and for each of ``extents`` its row there.
        """
        inodes = int(owner.max()) + 1 if owner.size else 1
        order = np.lexsort((extents["length_bytes"], extents["offset_bytes"]))
        rank = np.empty(order.size, np.int64)
        rank[order] = np.arange(order.size)
        owned, owner = np.divmod(np.unique(rank[owned] * inodes + owner), inodes)
        counts = np.bincount(owned, minlength=extents.size)
        extents = extents[order]
        first_owner = np.concatenate(([0], np.cumsum(counts)))
        return cls(extents, owner, first_owner, reach_of(extents)), rank

    def overlaps(self, offsets_bytes: ArrayLike, lengths_bytes: ArrayLike) -> Spans:
        """Map reads to the extents that they overlap.

        Args:
            offsets_bytes: Offset of each read on the image file.
            lengths_bytes: Length of each read.

        Returns:
            Rows of :data:`optimizer.spans.OVERLAP`, by read and then by offset. A read of nothing
            but padding, or of something outside the file system, has no row.
        """
        return overlaps(self.extents, self.reach, offsets_bytes, lengths_bytes)

    def owners_of(self, extents: ArrayLike) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the owners of extents, as (position in the argument, index in ``Layout.inodes``).

        A fragment block is owned by every file with a tail in it, a shared data block by
        every file with that content; a table by none, so that it has no row.
        """
        wanted = np.atleast_1d(np.asarray(extents, np.int64))
        first = self.first_owner[wanted]
        counts = self.first_owner[wanted + 1] - first
        position = np.repeat(np.arange(wanted.size), counts)
        place = np.arange(position.size) + np.repeat(first - (np.cumsum(counts) - counts), counts)
        return position, self.owners[place]
