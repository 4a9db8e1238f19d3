"""From an offset on the image to what lies there: extents sorted by offset, and their owners."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from optimizer.images.squashfs.format import Kind, Rows, Table

# One extent of the image. Blocks that several files share are one extent. A table is one extent
# for each of its metadata blocks, and one for the index behind them.
EXTENT = np.dtype(
    [
        ("offset_bytes", "<i8"),
        ("length_bytes", "<i8"),
        ("kind", "u1"),  # Kind
        # BLOCK: first row of Layout.blocks that is this block; FRAGMENT: row of
        # Layout.fragments; a table: its metadata block, -1 for the index of the table.
        ("index", "<i8"),
    ]
)

# Part of an extent that one read covers.
OVERLAP = np.dtype([("read", "<i8"), ("extent", "<i8"), ("length_bytes", "<i8")])


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

    extents: Rows
    owners: NDArray[np.int64]
    first_owner: NDArray[np.int64]
    reach: NDArray[np.int64]

    def overlaps(self, offsets_bytes: ArrayLike, lengths_bytes: ArrayLike) -> Rows:
        """Map reads to the extents that they overlap.

        Args:
            offsets_bytes: Offset of each read on the image file.
            lengths_bytes: Length of each read.

        Returns:
            Rows of :data:`OVERLAP`, by read and then by offset. A read of nothing but padding, or
            of something outside the squashfs, has no row.
        """
        begin = np.atleast_1d(np.asarray(offsets_bytes, np.int64))
        end = begin + np.atleast_1d(np.asarray(lengths_bytes, np.int64))
        starts = self.extents["offset_bytes"]
        first = np.searchsorted(self.reach, begin, side="right")
        last = np.searchsorted(starts, end, side="left")
        counts = np.where(end > begin, np.maximum(last - first, 0), 0)
        read = np.repeat(np.arange(begin.size), counts)
        extent = np.arange(read.size) + np.repeat(first - (np.cumsum(counts) - counts), counts)
        covered = np.minimum(end[read], starts[extent] + self.extents["length_bytes"][extent])
        covered = covered - np.maximum(begin[read], starts[extent])
        touched = covered > 0
        rows = np.empty(int(touched.sum()), OVERLAP)
        rows["read"] = read[touched]
        rows["extent"] = extent[touched]
        rows["length_bytes"] = covered[touched]
        return rows

    def owners_of(self, extents: ArrayLike) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return who owns extents, as (position in the argument, index in ``Layout.inodes``).

        A fragment block is owned by every file whose tail stands in it, a shared data block by
        every file with that content; a table by none, so that it has no row.
        """
        wanted = np.atleast_1d(np.asarray(extents, np.int64))
        first = self.first_owner[wanted]
        counts = self.first_owner[wanted + 1] - first
        position = np.repeat(np.arange(wanted.size), counts)
        place = np.arange(position.size) + np.repeat(first - (np.cumsum(counts) - counts), counts)
        return position, self.owners[place]


def build_extent_map(
    tables: Sequence[Table], blocks: Rows, fragments: Rows, inodes: Rows
) -> ExtentMap:
    """Sort all extents of an image and find the owners of each one."""
    filled = np.flatnonzero(blocks["length_bytes"] > 0)
    # Offset and length decide which blocks are the same; both in one number sort much faster.
    keys = blocks["offset_bytes"][filled] << np.int64(21) | blocks["length_bytes"][filled]
    _, first, shared = np.unique(keys, return_index=True, return_inverse=True)
    data = np.empty(first.size, EXTENT)
    data["index"] = filled[first]
    data["offset_bytes"] = blocks["offset_bytes"][data["index"]]
    data["length_bytes"] = blocks["length_bytes"][data["index"]]
    data["kind"] = Kind.BLOCK
    tails = np.empty(fragments.size, EXTENT)
    tails["index"] = np.arange(fragments.size)
    tails["offset_bytes"] = fragments["offset_bytes"]
    tails["length_bytes"] = fragments["length_bytes"]
    tails["kind"] = Kind.FRAGMENT
    extents = np.concatenate([data, tails, *(_table_extents(table) for table in tables)])

    in_fragment = np.flatnonzero(inodes["fragment_bytes"] > 0)
    owned = np.concatenate([shared, data.size + inodes["fragment"][in_fragment]])
    owner = np.concatenate([blocks["inode"][filled], in_fragment])
    pairs = np.unique(owned * max(1, inodes.size) + owner)
    owned, owner = np.divmod(pairs, max(1, inodes.size))

    order = np.lexsort((extents["length_bytes"], extents["offset_bytes"]))
    rank = np.empty(order.size, np.int64)
    rank[order] = np.arange(order.size)
    owned = rank[owned]
    by_extent = np.argsort(owned, kind="stable")
    counts = np.bincount(owned, minlength=extents.size)
    extents = extents[order]
    ends = extents["offset_bytes"] + extents["length_bytes"]
    return ExtentMap(
        extents=extents,
        owners=owner[by_extent],
        first_owner=np.concatenate(([0], np.cumsum(counts))),
        reach=np.maximum.accumulate(ends),
    )


def _table_extents(table: Table) -> Rows:
    count = table.blocks.size
    extents = np.empty(count + 1, EXTENT)
    extents["kind"] = table.kind
    extents["index"][:count] = np.arange(count)
    extents["offset_bytes"][:count] = table.blocks["offset_bytes"]
    extents["length_bytes"][:count] = table.blocks["length_bytes"]
    blocks_end = table.offset_bytes
    if count:
        blocks_end = int(table.blocks["offset_bytes"][-1] + table.blocks["length_bytes"][-1])
    extents["index"][count] = -1
    extents["offset_bytes"][count] = blocks_end
    extents["length_bytes"][count] = table.offset_bytes + table.length_bytes - blocks_end
    return extents[extents["length_bytes"] > 0]
