# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""Writing the tables of a squashfs: streams of metadata blocks, inodes, and listings.

A reference to an inode or a listing names the compressed position of its metadata block, so what is
referred to is written first: the inodes of a directory's entries, its listing, its own inode. That
is the order in which mksquashfs writes, too.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from optimizer.images.layout import FileType, Rows
from optimizer.images.squashfs.compress import Compress
from optimizer.images.squashfs.format import (
    INODE_HEADER,
    INODE_LAYOUTS,
    METADATA_BYTES,
    METADATA_STORED,
    NO_FRAGMENT,
    NO_XATTR,
    POINTER,
)
from optimizer.images.squashfs.tree import (
    DIRECTORY_ENTRY,
    DIRECTORY_HEADER,
    ENTRIES_OF_A_HEADER,
    SIZE_OF_DOTS,
)

INDEX_ENTRY = struct.Struct("<III")
LARGEST_BASIC_LISTING = 0xFFFF
LARGEST_BASIC_START = 0xFFFF_FFFF
NUMBER_DISTANCE = 0x7FFF
BASIC_FILE, EXTENDED_FILE = 2, 9
BASIC_DIRECTORY, EXTENDED_DIRECTORY = 1, 8


class MetadataWriter:
    """A stream that becomes metadata blocks of 8 KiB.

    Attributes:
        packed: The blocks so far, with their headers.
        starts: Position of each block in ``packed``.
    """

    def __init__(self, compress: Compress | None) -> None:
        self.compress = compress
        self.packed = bytearray()
        self.starts: list[int] = []
        self.open = bytearray()

    def position(self) -> tuple[int, int]:
        """Return where the next byte goes: position of its block, and offset in it."""
        return len(self.packed), len(self.open)

    def write(self, data: bytes) -> None:
        """Append to the stream."""
        self.open += data
        while len(self.open) >= METADATA_BYTES:
            self._close(METADATA_BYTES)

    def finish(self) -> bytes:
        """Close the last block, and return all of them."""
        if self.open:
            self._close(len(self.open))
        return bytes(self.packed)

    def _close(self, size: int) -> None:
        data = bytes(self.open[:size])
        del self.open[:size]
        self.starts.append(len(self.packed))
        packed = self.compress(data) if self.compress is not None else data
        # Stored if it does not get smaller, as mksquashfs does.
        if self.compress is None or len(packed) >= len(data):
            self.packed += struct.pack("<H", METADATA_STORED | len(data)) + data
        else:
            self.packed += struct.pack("<H", len(packed)) + packed


def indexed_table(data: bytes, compress: Compress | None, position: int) -> tuple[bytes, int]:
    """Return a table with an index behind its blocks.

    Args:
        data: The decompressed table.
        compress: Of its blocks, or None to store them.
        position: Where the table is written, from the start of the squashfs.

    Returns:
        The table, and the position of its index.
    """
    writer = MetadataWriter(compress)
    writer.write(data)
    blocks = writer.finish()
    index = b"".join(POINTER.pack(position + start) for start in writer.starts)
    return blocks + index, position + len(blocks)


@dataclass(frozen=True)
class FilePlace:
    """Where the content of a file goes.

    Attributes:
        start: Position of its blocks, from the start of the squashfs.
        fragment: Number of the fragment block that has its tail, or None.
        offset: Place of the tail in that block, decompressed.
    """

    start: int
    fragment: int | None
    offset: int


def file_inode(raw: bytes, place: FilePlace) -> bytes:
    """Return the inode of a file, with its content in another place.

    It becomes an extended one if its blocks begin behind 4 GiB, where a basic one cannot point.

    Args:
        raw: The inode.
        place: The new place.
    """
    kind = int(np.frombuffer(raw, INODE_HEADER, 1)["type"][0])
    layout = INODE_LAYOUTS[kind]
    fields = np.frombuffer(raw, layout, 1).copy()
    blocks = raw[layout.itemsize :]
    if kind == BASIC_FILE and place.start > LARGEST_BASIC_START:
        basic = fields
        fields = np.zeros(1, INODE_LAYOUTS[EXTENDED_FILE])
        for name in basic.dtype.names or ():
            fields[name] = basic[name]
        fields["type"], fields["nlink"], fields["xattr"] = EXTENDED_FILE, 1, NO_XATTR
    fields["start"] = place.start
    fields["fragment"] = NO_FRAGMENT if place.fragment is None else place.fragment
    fields["offset"] = place.offset
    return fields.tobytes() + blocks


@dataclass(frozen=True)
class Listing:
    """A listing that was written.

    Attributes:
        block: Position of its first metadata block in the directory table.
        offset: Its place in that block.
        size: Its length in bytes.
        index: Entries of the index by name: (offset in the listing, position of the block, name).
    """

    block: int
    offset: int
    size: int
    index: tuple[tuple[int, int, bytes], ...]


@dataclass(frozen=True)
class Child:
    """An entry of a listing: name, basic type and number of the inode, and where it was written."""

    name: bytes
    type: int
    number: int
    block: int
    offset: int


def write_listing(children: Sequence[Child], table: MetadataWriter) -> Listing:
    """Write the listing of a directory.

    Entries share a header as long as their inodes are in one metadata block, their numbers are near
    each other, and the listing does not reach another metadata block. For each further block there
    is an entry in the index.

    Args:
        children: The entries, by name.
        table: The directory table.
    """
    block, offset = table.position()
    size, first, indexed = 0, 0, 0
    index = []
    while first < len(children):
        head = children[first]
        entries: list[bytes] = []
        length = DIRECTORY_HEADER.size
        crossed = (offset + size) // METADATA_BYTES
        for child in children[first : first + ENTRIES_OF_A_HEADER]:
            distance = child.number - head.number
            near = -NUMBER_DISTANCE - 1 <= distance <= NUMBER_DISTANCE
            here = (offset + size + length) // METADATA_BYTES
            if child.block != head.block or not near or (entries and here > crossed):
                break
            entry = DIRECTORY_ENTRY.pack(child.offset, distance, child.type, len(child.name) - 1)
            entries.append(entry + child.name)
            length += len(entries[-1])
        if crossed > indexed:
            indexed = crossed
            index.append((size, table.position()[0], head.name))
        header = DIRECTORY_HEADER.pack(len(entries) - 1, head.block, head.number)
        table.write(header + b"".join(entries))
        size += length
        first += len(entries)
    return Listing(block, offset, size, tuple(index))


def directory_inode(raw: bytes, listing: Listing) -> bytes:
    """Return the inode of a directory, with its listing in another place.

    Args:
        raw: The inode, without its index.
        listing: The listing.
    """
    kind = int(np.frombuffer(raw, INODE_HEADER, 1)["type"][0])
    fields = np.frombuffer(raw, INODE_LAYOUTS[kind], 1).copy()
    size = listing.size + SIZE_OF_DOTS
    if kind == BASIC_DIRECTORY and (size > LARGEST_BASIC_LISTING or listing.index):
        basic = fields
        kind = EXTENDED_DIRECTORY
        fields = np.zeros(1, INODE_LAYOUTS[kind])
        for name in basic.dtype.names or ():
            fields[name] = basic[name]
        fields["type"], fields["xattr"] = kind, NO_XATTR
    fields["start"], fields["offset"], fields["size"] = listing.block, listing.offset, size
    if kind == BASIC_DIRECTORY:
        return fields.tobytes()
    fields["index_count"] = len(listing.index)
    return fields.tobytes() + b"".join(
        INDEX_ENTRY.pack(offset, block, len(name) - 1) + name
        for offset, block, name in listing.index
    )


@dataclass(frozen=True)
class WrittenInodes:
    """The inode and directory tables that were written.

    Attributes:
        inodes: The inode table.
        directories: The directory table.
        references: Where each inode was written: block << 16 | offset; by its row.
    """

    inodes: bytes
    directories: bytes
    references: Mapping[int, int]


def write_inodes(
    order: Sequence[int],
    rows: Rows,
    raw: Mapping[int, bytes],
    places: Mapping[int, FilePlace],
    children: Mapping[int, Sequence[tuple[bytes, int]]],
    compress: Compress | None,
) -> WrittenInodes:
    """Write inode and directory table.

    Args:
        order: Rows of all inodes; the entries of a directory before it.
        rows: Rows of :data:`~optimizer.images.squashfs.inodes.INODE`.
        raw: Each inode as it was, without a directory's index.
        places: Where the content of files goes.
        children: Entries of each directory, by name: name and row of the inode.
        compress: Of the tables, or None to store them.
    """
    inodes, directories = MetadataWriter(compress), MetadataWriter(compress)
    references: dict[int, int] = {}
    types, numbers = rows["type"].tolist(), rows["number"].tolist()
    for row in order:
        data = raw[row]
        if types[row] == FileType.DIRECTORY:
            entries = [
                Child(name, types[each], numbers[each], references[each] >> 16,
                      references[each] & 0xFFFF)
                for name, each in children.get(row, ())
            ]  # fmt: skip
            data = directory_inode(data, write_listing(entries, directories))
        elif row in places:
            data = file_inode(data, places[row])
        block, offset = inodes.position()
        references[row] = block << 16 | offset
        inodes.write(data)
    return WrittenInodes(inodes.finish(), directories.finish(), references)
