# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""What of an EROFS can be moved: units of blocks that have to stay together.

The blocks that one address in the metadata locates follow one another, and files of equal content
share them. An inode stays in one piece with its index, and so do the blocks that one crosses into;
shared extended attributes are numbered from their first block on.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from optimizer.images.erofs.clusters import Numbers, Place
from optimizer.images.erofs.format import SUPERBLOCK, SUPERBLOCK_OFFSET_BYTES
from optimizer.images.erofs.layout import ErofsLayout
from optimizer.images.source import Source

# Size of a slot behind the superblock. (That of an inode is another.)
EXTENSION_BYTES = 16
# Behind these slots, each compressor has two bytes of length and its options.
LARGEST_OPTIONS_BYTES = 128


@dataclass(frozen=True)
class Units:
    """All units of an image, ascending.

    Attributes:
        first_block: Where each begins.
        end_block: The block behind it.
        is_metadata: Whether it has inodes; else it is content, or the list of a directory.
    """

    first_block: Numbers
    end_block: Numbers
    is_metadata: np.ndarray[tuple[int], np.dtype[np.bool_]]

    def of_blocks(self, blocks: Numbers) -> Numbers:
        """Return the unit of each block, -1 for those of none."""
        unit = np.searchsorted(self.first_block, blocks, side="right") - 1
        inside = (unit >= 0) & (blocks < self.end_block[unit])
        return np.where(inside, unit, -1)


def find_units(layout: ErofsLayout, source: Source) -> Units:
    """Find the units of an image.

    Raises:
        FormatError: Contents overlap metadata.
    """
    bits = layout.superblock.block_bits
    first, end = address_spans(layout)
    used = end > first
    data = joined(first[used] >> bits, -(-end[used] >> bits))
    superblock = layout.superblock
    behind = SUPERBLOCK_OFFSET_BYTES + SUPERBLOCK.size + EXTENSION_BYTES * superblock.slots
    begins, ends = [0], [-(-(behind + LARGEST_OPTIONS_BYTES) >> bits)]
    if layout.xattr_blocks.size:
        begins.append(superblock.xattr_block)
        ends.append(int(layout.xattr_blocks.max()) + 1)
    inodes = layout.every_inode["position_bytes"]
    body_ends = np.maximum(layout.runs.body_end_bytes, layout.every_inode["body_bytes"])
    metadata = joined(
        np.concatenate([np.array(begins, np.int64), inodes >> bits]),
        np.concatenate([np.array(ends, np.int64), -(-body_ends >> bits)]),
    )
    kind = np.repeat([False, True], [data[0].size, metadata[0].size])
    begin, stop = (np.concatenate(each) for each in zip(data, metadata, strict=True))
    order = np.argsort(begin, kind="stable")
    begin, stop, kind = begin[order], stop[order], kind[order]
    overlapping = np.flatnonzero(begin[1:] < stop[:-1])
    if overlapping.size:
        source.fail(f"contents overlap metadata at block {int(begin[overlapping[0] + 1])}")
    return Units(begin, stop, kind)


def address_spans(layout: ErofsLayout) -> tuple[Numbers, Numbers]:
    """Return begin and end, in bytes, of the content that each address locates; both 0 if none."""
    addresses, rows = layout.runs.addresses, layout.runs.rows
    counts = addresses.end_run - addresses.first_run
    which = np.repeat(np.arange(counts.size), counts)
    inner = np.arange(which.size) - np.repeat(np.cumsum(counts) - counts, counts)
    found = rows[addresses.first_run[which] + inner]
    in_blocks = found["place"] == Place.BLOCKS
    which, found = which[in_blocks], found[in_blocks]
    begin = np.full(counts.size, np.iinfo(np.int64).max)
    end = np.zeros(counts.size, np.int64)
    np.minimum.at(begin, which, found["offset_bytes"])
    np.maximum.at(end, which, found["offset_bytes"] + found["length_bytes"])
    return np.where(end > 0, begin, 0), end


def joined(begin: Numbers, end: Numbers) -> tuple[Numbers, Numbers]:
    """Join intervals that share a block; return begins and ends, ascending."""
    if not begin.size:
        return begin, end
    order = np.argsort(begin, kind="stable")
    begin, end = begin[order], np.maximum.accumulate(end[order])
    new = np.concatenate(([True], begin[1:] >= end[:-1]))
    last = np.concatenate((new[1:], [True]))
    return begin[new], end[last]
