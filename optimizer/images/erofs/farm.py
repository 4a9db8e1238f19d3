# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""A farm of hard links, by which a stock mkfs.erofs writes files in a wanted order.

mkfs.erofs writes contents, fragments and inodes at the first name of a file that it meets. So the
tree that it packs gets a directory that sorts first, with one hard link after the other to the
wanted files. Here this directory is taken out of the image again: its entry in the root, and one
link of each of its files. Its own inode and list stay unused; a reordering drops their blocks.
"""

from __future__ import annotations

import struct
from typing import BinaryIO

import numpy as np

from optimizer.images.erofs.format import SUPERBLOCK_OFFSET_BYTES, Content
from optimizer.images.erofs.layout import ErofsLayout
from optimizer.images.erofs.reorder import renew_checksum
from optimizer.images.erofs.tree import ENTRY, content_spans
from optimizer.images.layout import FileType, Rows
from optimizer.images.source import Source

FARM = b"!bootprof"
SIZE_OFFSET_BYTES, SHORT_LINKS_OFFSET_BYTES, LONG_LINKS_OFFSET_BYTES = 8, 6, 44
INODES_OFFSET_BYTES = SUPERBLOCK_OFFSET_BYTES + 16


def farm_name(rank: int) -> bytes:
    """Return the name of the link to the file of a rank, from 0."""
    return b"%07d" % rank


def remove_farm(layout: ErofsLayout, file: BinaryIO) -> int:
    """Remove the farm from an image, in place.

    Args:
        layout: Of the image, which begins at its first byte.
        file: The image, open for reading and writing.

    Returns:
        How many links the farm had.

    Raises:
        InputError: The image has no farm.
        FormatError: The root directory has several blocks.
    """
    superblock = layout.superblock
    content = Content(Source(file, layout.name, 0), superblock.size_bytes)
    farm = layout.index_of(b"/" + FARM)
    links = np.flatnonzero(layout.entries["parent"] == farm)
    removed = np.bincount(layout.entries["inode"][links], minlength=layout.inodes.size)
    writes = [
        _fewer_links(layout.inodes[inode], int(removed[inode]))
        for inode in np.flatnonzero(removed).tolist()
    ]
    root = layout.inodes[int(layout.entries["inode"][0])]
    writes.append(_fewer_links(root, 1))
    spans = content_spans(superblock, root)
    if len(spans) != 1 or root["type"] != FileType.DIRECTORY:
        content.source.fail("the root directory has several blocks")
    offset, length = spans[0]
    listing = without_entry(content.span(offset, length, "root directory"), FARM)
    writes.append((offset, listing.ljust(length, b"\0")))
    size_format = "<Q" if root["extended"] else "<I"
    writes.append(
        (int(root["position_bytes"]) + SIZE_OFFSET_BYTES, struct.pack(size_format, len(listing)))
    )
    writes.append((INODES_OFFSET_BYTES, struct.pack("<Q", superblock.inode_count - 1)))
    for place, data in writes:
        file.seek(place)
        file.write(data)
    renew_checksum(superblock, file)
    return int(links.size)


def _fewer_links(inode: Rows, fewer: int) -> tuple[int, bytes]:
    """Return the write that lowers the number of an inode's links."""
    extended = bool(inode["extended"])
    offset = LONG_LINKS_OFFSET_BYTES if extended else SHORT_LINKS_OFFSET_BYTES
    data = struct.pack("<I" if extended else "<H", int(inode["nlink"]) - fewer)
    return int(inode["position_bytes"]) + offset, data


def without_entry(listing: bytes, name: bytes) -> bytes:
    """Return one block of a directory without an entry."""
    count = int.from_bytes(listing[8:10], "little") // ENTRY.itemsize
    entries = np.frombuffer(listing, ENTRY, count)
    ends = [*entries["name"][1:].tolist(), len(listing)]
    names = [
        listing[begin:end].split(b"\0", 1)[0]
        for begin, end in zip(entries["name"].tolist(), ends, strict=True)
    ]
    kept = [place for place, each in enumerate(names) if each != name]
    found = entries[kept].copy()
    sizes = np.array([len(names[place]) for place in kept], np.int64)
    found["name"] = found.size * ENTRY.itemsize + np.cumsum(sizes) - sizes
    return found.tobytes() + b"".join(names[place] for place in kept)
