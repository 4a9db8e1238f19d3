# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""The directory tree of a squashfs: names, and the place of each inode.

The walk follows references from the root, as the kernel does, and does as little as it can for
each entry; the inodes themselves are decoded in bulk by :mod:`optimizer.images.squashfs.inodes`.
"""

from __future__ import annotations

import operator
import struct
from array import array
from dataclasses import dataclass
from itertools import islice, pairwise

import numpy as np
from numpy.typing import NDArray

from optimizer.formats.text import printable
from optimizer.images.source import FREE_PATH_BYTES, LARGEST_MEAN_PATH_BYTES, MEMORY_HINT, Source
from optimizer.images.squashfs.format import (
    FREE_PATHS,
    METADATA_BYTES,
    PATHS_A_PACKED_BYTE,
    Superblock,
    Table,
)

DIRECTORY_HEADER = struct.Struct("<III")
DIRECTORY_ENTRY = struct.Struct("<HhHH")
ENTRIES_OF_A_HEADER = 256
INODE_TYPE = struct.Struct("<H")
# Fields start, size, offset behind the 16 bytes that all inodes begin with.
BASIC_DIRECTORY = struct.Struct("<16xI4xHH4x")
EXTENDED_DIRECTORY = struct.Struct("<16x4xII4x2xH4x")
# The size in a directory's inode counts "." and ".." as this many bytes.
SIZE_OF_DOTS = 3


@dataclass(frozen=True)
class Tree:
    """Every directory entry, the root first, then directory by directory.

    Attributes:
        paths: Absolute paths; entry i of all fields belongs to path i.
        parents: Index of the directory's own path; the root is its own parent.
        types: Basic type of the inode as the directory entry has it.
        inode_offsets: Place of the inode in the decompressed inode table.
        entry_offsets: Place of the entry in the decompressed directory table; -1 for the root.
    """

    paths: list[bytes]
    parents: NDArray[np.int64]
    types: NDArray[np.uint8]
    inode_offsets: NDArray[np.int64]
    entry_offsets: NDArray[np.int64]


class BlockMap:
    """From (position of a metadata block on the image, offset in it) to the decompressed table."""

    def __init__(self, source: Source, table: Table) -> None:
        self.source = source
        self.what = table.kind.label
        starts = (table.blocks["offset_bytes"] - table.offset_bytes).tolist()
        inflated = table.blocks["inflated_offset_bytes"].tolist()
        self.base = dict(zip(starts, inflated, strict=True))

    def block(self, start: int, who: str) -> int:
        """Return where the block at ``start`` (from the table's first byte) was inflated to."""
        base: int | None = self.base.get(start)
        if base is None:
            self.source.fail(
                f"{who} points to {self.what} + {start:#x}, where no metadata block begins"
            )
        return base


def walk(source: Source, superblock: Superblock, inodes: Table, directories: Table) -> Tree:
    """Walk all directories from the root.

    Raises:
        FormatError: An entry is dangling, a directory has two parents or contains itself, or
            the names make no sense.
    """
    return _Walk(source, inodes, directories).run(superblock.root_inode)


class _Walk:
    """State of one walk: the lists that become a :class:`Tree`."""

    def __init__(self, source: Source, inodes: Table, directories: Table) -> None:
        self.source = source
        self.inode_map = BlockMap(source, inodes)
        self.directory_map = BlockMap(source, directories)
        self.inode_bytes = inodes.inflated
        self.listing_bytes = directories.inflated
        self.paths: list[bytes] = [b"/"]
        self.parents = array("q", [0])
        self.types = array("B", [1])
        self.inode_offsets = array("q")
        self.entry_offsets = array("q", [-1])
        packed_bytes = inodes.length_bytes + directories.length_bytes
        self.most_paths = FREE_PATHS + PATHS_A_PACKED_BYTE * packed_bytes
        self.path_bytes = 0
        self.listed_bytes = 0

    def run(self, root_reference: int) -> Tree:
        offset = root_reference & 0xFFFF
        if offset >= METADATA_BYTES:
            self.source.fail(f"superblock: offset {offset} of the root inode is out of its block")
        root = self.inode_map.block(root_reference >> 16, "superblock: root inode") + offset
        self.inode_offsets.append(root)
        visited: set[int] = set()
        waiting = [0]
        while waiting:
            index = waiting.pop()
            if self.inode_offsets[index] in visited:
                self.source.fail(f"directory {self.name(index)} stands in two places of the tree")
            visited.add(self.inode_offsets[index])
            first_child = len(self.paths)
            self.list_directory(index)
            types = self.types[first_child:]
            last = len(self.paths) - 1
            waiting += [last - index for index, kind in enumerate(reversed(types)) if kind == 1]
        return Tree(
            self.paths,
            np.array(self.parents, np.int64),
            np.array(self.types, np.uint8),
            np.array(self.inode_offsets, np.int64),
            np.array(self.entry_offsets, np.int64),
        )

    def name(self, index: int) -> str:
        """Return a path for a message, with nothing in it that a terminal acts on."""
        return printable(self.paths[index])

    def listing(self, index: int) -> tuple[int, int]:
        """Return where the listing of a directory begins and ends in the directory table."""
        position = self.inode_offsets[index]
        data = self.inode_bytes
        where = f"inode table + {position:#x} (decompressed): inode of {self.name(index)}"
        if position + EXTENDED_DIRECTORY.size > len(data):
            basic_fits = position + BASIC_DIRECTORY.size <= len(data)
            if not basic_fits or INODE_TYPE.unpack_from(data, position)[0] != 1:
                self.source.fail(f"{where} is cut off by the end of the table")
        inode_type = INODE_TYPE.unpack_from(data, position)[0]
        if inode_type == 1:
            start, size, offset = BASIC_DIRECTORY.unpack_from(data, position)
        elif inode_type == 8:
            size, start, offset = EXTENDED_DIRECTORY.unpack_from(data, position)
        else:
            self.source.fail(f"{where} has type {inode_type}, its directory entry says directory")
        if size <= SIZE_OF_DOTS:
            return 0, 0
        if offset >= METADATA_BYTES:
            self.source.fail(f"{where} has offset {offset}, out of its metadata block")
        begin = self.directory_map.block(start, where) + offset
        end = begin + size - SIZE_OF_DOTS
        # Listings share nothing, so all of them together are no longer than the table.
        self.listed_bytes += end - begin
        if end > len(self.listing_bytes) or self.listed_bytes > len(self.listing_bytes):
            self.source.fail(f"{where} lists {size} bytes, more than the directory table has")
        return begin, end

    def list_directory(self, directory: int) -> None:
        """Append the entries of one directory."""
        position, end = self.listing(directory)
        data = self.listing_bytes
        prefix = self.paths[directory]
        if prefix != b"/":
            prefix += b"/"
        unpack = DIRECTORY_ENTRY.unpack_from
        add_path = self.paths.append
        add_type = self.types.append
        add_inode = self.inode_offsets.append
        add_entry = self.entry_offsets.append
        before = len(self.paths)
        names: list[bytes] = []
        while position < end:
            if position + DIRECTORY_HEADER.size > end:
                self.fail_at(position, directory, "half a header")
            count, start, _ = DIRECTORY_HEADER.unpack_from(data, position)
            if count >= ENTRIES_OF_A_HEADER:
                self.fail_at(position, directory, f"header of {count + 1} entries")
            position += DIRECTORY_HEADER.size
            self.count_paths(count + 1, len(prefix))
            base = self.inode_map.base.get(start)
            if base is None:
                who = f"directory table + {position:#x} (decompressed)"
                base = self.inode_map.block(start, who)
            for _ in range(count + 1):
                if position + 9 > end:
                    self.fail_at(position, directory, "half an entry")
                offset, _, kind, name_bytes = unpack(data, position)
                if name_bytes > 255 or not 1 <= kind <= 7 or offset >= METADATA_BYTES:
                    self.fail_at(
                        position,
                        directory,
                        f"entry of type {kind} with a name of {name_bytes + 1} bytes and its "
                        f"inode at offset {offset}",
                    )
                add_entry(position)
                position += 9 + name_bytes
                name = data[position - name_bytes - 1 : position]
                names.append(name)
                add_path(prefix + name)
                add_type(kind)
                add_inode(base + offset)
            if position > end:
                self.fail_at(position, directory, "name behind the end of the listing")
        self.parents.extend([directory] * (len(self.paths) - before))
        self.check_names(names, directory)

    def count_paths(self, more: int, prefix_bytes: int) -> None:
        """Refuse a tree before its paths, or the directory parts of them, fill the memory."""
        if len(self.paths) + more > self.most_paths:
            self.source.fail(
                f"directory table: more than {self.most_paths} paths, which no table of this size "
                "holds",
                MEMORY_HINT,
            )
        self.path_bytes += more * prefix_bytes
        limit_bytes = FREE_PATH_BYTES + LARGEST_MEAN_PATH_BYTES * len(self.paths)
        if self.path_bytes > limit_bytes:
            self.source.fail(
                f"directory table: {len(self.paths)} paths take more than {limit_bytes} bytes",
                MEMORY_HINT,
            )

    def check_names(self, names: list[bytes], directory: int) -> None:
        """Refuse names that no file system allows, twice the same name, and names out of order.

        The kernel searches a listing in order, and unsquashfs refuses such an image too.
        """
        joined = b"/".join(names)
        if b"\0" in joined or joined.count(b"/") != max(0, len(names) - 1):
            self.source.fail(f"directory {self.name(directory)}: a name holds a slash or NUL")
        if b"." in names or b".." in names:
            self.source.fail(f"directory {self.name(directory)}: holds an entry '.' or '..'")
        if any(map(operator.ge, names, islice(names, 1, None))):
            wrong = next(one for one, other in pairwise(names) if one >= other)
            self.source.fail(
                f"directory {self.name(directory)}: the entry behind {printable(wrong)} has the "
                "same name, or is not in order"
            )

    def fail_at(self, position: int, directory: int, message: str) -> None:
        self.source.fail(
            f"directory table + {position:#x} (decompressed), directory {self.name(directory)}: "
            f"{message}"
        )
