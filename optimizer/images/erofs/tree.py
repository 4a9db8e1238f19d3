# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""The directory tree of an EROFS: names and inode numbers, one level of it after the other."""

from __future__ import annotations

from array import array
from dataclasses import dataclass
from typing import NoReturn

import numpy as np
from numpy.typing import NDArray

from optimizer.formats.text import printable
from optimizer.images.erofs.format import Content, Storage, Superblock
from optimizer.images.erofs.inodes import read_inodes
from optimizer.images.layout import FileType, Rows
from optimizer.images.source import FREE_PATH_BYTES, LARGEST_MEAN_PATH_BYTES, MEMORY_HINT

ENTRY = np.dtype([("number", "<i8"), ("name", "<u2"), ("type", "u1"), ("reserved", "u1")])
"""An entry of a directory's block: number of its inode, offset of its name in the block, type."""
NAME_LIMIT_BYTES = 255

# Types of a directory entry, as in the kernel's fs_types.h.
_TYPES = np.zeros(256, np.uint8)
_TYPES[1:8] = [
    FileType.FILE,
    FileType.DIRECTORY,
    FileType.CHARACTER_DEVICE,
    FileType.BLOCK_DEVICE,
    FileType.FIFO,
    FileType.SOCKET,
    FileType.SYMLINK,
]


@dataclass(frozen=True)
class Tree:
    """Every directory entry, the root first, a directory before its entries.

    Attributes:
        paths: Absolute paths; entry i of all fields belongs to path i.
        parents: Index of the directory's own path; the root is its own parent.
        types: :class:`FileType` as the directory entry has it.
        numbers: Number of the inode.
        blocks: Block of the directory's content that the entry is in; -1 for the root.
    """

    paths: list[bytes]
    parents: NDArray[np.int64]
    types: NDArray[np.uint8]
    numbers: NDArray[np.int64]
    blocks: NDArray[np.int64]


def walk(content: Content, superblock: Superblock) -> Tree:
    """Walk all directories from the root.

    Raises:
        FormatError: An entry is dangling, a directory has two parents or contains itself, or
            the names make no sense.
    """
    return _Walk(content, superblock).run()


def content_spans(superblock: Superblock, inode: Rows) -> list[tuple[int, int]]:
    """Return where the blocks of an uncompressed directory or link lie: offset and length."""
    block_bytes = superblock.block_bytes
    size, start = int(inode["size_bytes"]), int(inode["start"]) * block_bytes
    full = size
    if inode["storage"] == Storage.INLINE:
        full = size // block_bytes * block_bytes
    spans = [
        (start + offset, min(block_bytes, full - offset)) for offset in range(0, full, block_bytes)
    ]
    if size > full:
        spans.append((int(inode["body_bytes"]), size - full))
    return spans


class _Walk:
    def __init__(self, content: Content, superblock: Superblock) -> None:
        self.content = content
        self.superblock = superblock
        self.paths: list[bytes] = [b"/"]
        self.parents = array("q", [0])
        self.types = array("B", [FileType.DIRECTORY])
        self.numbers = array("q", [superblock.root])
        self.blocks = array("q", [-1])
        self.path_bytes = 0
        self.listed_bytes = 0
        self.visited: set[int] = set()
        self.last_name = b""

    def run(self) -> Tree:
        waiting = [0]
        while waiting:
            numbers = np.array([self.numbers[index] for index in waiting], np.int64)
            inodes = read_inodes(self.content, self.superblock, numbers)
            first_child = len(self.paths)
            for index, inode in zip(waiting, inodes, strict=True):
                self.list_directory(index, inode)
            children = enumerate(self.types[first_child:], first_child)
            waiting = [index for index, kind in children if kind == FileType.DIRECTORY]
        return Tree(
            self.paths,
            np.array(self.parents, np.int64),
            np.array(self.types, np.uint8),
            np.array(self.numbers, np.int64),
            np.array(self.blocks, np.int64),
        )

    def fail(self, directory: int, message: str, hint: str = "") -> NoReturn:
        """Raise FormatError about a directory."""
        number = self.numbers[directory]
        path = printable(self.paths[directory])
        self.content.source.fail(f"inode {number}, directory {path}: {message}", hint)

    def list_directory(self, directory: int, inode: Rows) -> None:
        """Append the entries of one directory."""
        number = self.numbers[directory]
        if number in self.visited:
            self.fail(directory, "stands in two places of the tree")
        self.visited.add(number)
        if inode["type"] != FileType.DIRECTORY:
            self.fail(directory, "its directory entry says directory, its inode does not")
        if inode["storage"] not in (Storage.PLAIN, Storage.INLINE):
            self.fail(
                directory,
                "is compressed or in chunks, which bootprof does not read",
                "build the image again without compression of directories",
            )
        # Listings share nothing, so all of them together are no longer than the image.
        self.listed_bytes += int(inode["size_bytes"])
        if self.listed_bytes > self.content.size_bytes:
            self.fail(directory, f"lists {int(inode['size_bytes'])} bytes, more than the image has")
        self.last_name = b""
        for block, (offset, length) in enumerate(content_spans(self.superblock, inode)):
            self.list_block(directory, block, offset, length)

    def list_block(self, directory: int, block: int, offset: int, length: int) -> None:
        """Append the entries of one block of a directory."""
        data = self.content.span(offset, length, f"directory {printable(self.paths[directory])}")
        head = int.from_bytes(data[8:10], "little")
        if head % ENTRY.itemsize or not ENTRY.itemsize <= head < length:
            self.fail(directory, f"block at {offset:#x}: names begin at {head}")
        entries = np.frombuffer(data[:head], ENTRY)
        starts = entries["name"].tolist()
        ends = [*starts[1:], length]
        names = [data[one:end] for one, end in zip(starts, ends, strict=True)]
        names[-1] = names[-1].split(b"\0", 1)[0]
        kinds = _TYPES[entries["type"]]
        if starts != sorted(starts) or not all(0 < len(name) <= NAME_LIMIT_BYTES for name in names):
            self.fail(directory, f"block at {offset:#x}: lengths of names make no sense")
        joined = b"/".join(names)
        if b"\0" in joined or joined.count(b"/") != len(names) - 1:
            self.fail(directory, f"block at {offset:#x}: a name holds a slash or NUL")
        if not kinds.all():
            self.fail(directory, f"block at {offset:#x}: an entry of an unknown type")
        if sorted(set(names)) != names or names[0] <= self.last_name:
            self.fail(directory, f"block at {offset:#x}: names are not in order")
        self.last_name = names[-1]
        prefix = self.paths[directory].rstrip(b"/") + b"/"
        chosen = [place for place, name in enumerate(names) if name not in (b".", b"..")]
        if not chosen:
            return
        self.paths += [prefix + names[place] for place in chosen]
        self.numbers.extend(entries["number"][chosen].tolist())
        self.types.extend(kinds[chosen].tolist())
        self.parents.extend([directory] * len(chosen))
        self.blocks.extend([block] * len(chosen))
        self.path_bytes += len(chosen) * len(prefix)
        limit = FREE_PATH_BYTES + LARGEST_MEAN_PATH_BYTES * len(self.paths)
        if self.path_bytes > limit:
            self.fail(directory, f"the paths take more than {limit} bytes", MEMORY_HINT)
