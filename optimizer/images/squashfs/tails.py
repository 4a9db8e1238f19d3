# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""Tails: ends of files that share fragment blocks, and the packing of new fragment blocks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from threading import Lock
from typing import BinaryIO

from optimizer.images.squashfs.compress import Compress
from optimizer.images.squashfs.decompress import Decompress, damaged, decompressor
from optimizer.images.squashfs.format import FLAG_STORED_FRAGMENTS
from optimizer.images.squashfs.layout import SquashfsLayout

WORKERS = 2
# Blocks between two looks at how much is saved.
BATCH = 16


@dataclass(frozen=True)
class Tail:
    """The end of a file in a fragment block.

    Attributes:
        fragment: Number of the fragment block.
        offset: Its place there, decompressed.
        size: Its size.
    """

    fragment: int
    offset: int
    size: int


@dataclass
class Group:
    """Tails that are packed into one new fragment block.

    Attributes:
        tails: In their order.
        size: Of all of them.
    """

    tails: list[Tail] = field(default_factory=list)
    size: int = 0


Packed = dict[int, tuple[bytes, bool]]
"""New fragment blocks, by the identity of their group: the block, and whether it is stored."""


def tail_of(layout: SquashfsLayout, inode: int) -> Tail | None:
    """Return the tail of a file, or None."""
    row = layout.inodes[inode]
    if row["fragment_bytes"] <= 0:
        return None
    return Tail(int(row["fragment"]), int(row["fragment_offset_bytes"]), int(row["fragment_bytes"]))


def grouped(tails: Sequence[Tail], block_size_bytes: int) -> list[Group]:
    """Fill fragment blocks with tails, in their order."""
    groups: list[Group] = []
    for tail in tails:
        if not groups or groups[-1].size + tail.size > block_size_bytes:
            groups.append(Group())
        groups[-1].tails.append(tail)
        groups[-1].size += tail.size
    return groups


def pack_groups(
    layout: SquashfsLayout, source: BinaryIO, groups: Sequence[Group], compress: Compress
) -> Packed:
    """Compress new fragment blocks.

    Returns:
        For each group, by its identity, the block, and whether it is stored as it is.
    """
    stored = bool(layout.superblock.flags & FLAG_STORED_FRAGMENTS)

    def packed(data: bytes) -> tuple[bytes, bool]:
        if not stored:
            smaller = compress(data)
            if len(smaller) < len(data):
                return smaller, False
        return data, True

    contents = group_contents(layout, source, groups)
    with ThreadPoolExecutor(WORKERS) as pool:
        blocks = list(pool.map(packed, contents))
    return {id(group): block for group, block in zip(groups, blocks, strict=True)}


def group_contents(
    layout: SquashfsLayout, source: BinaryIO, groups: Sequence[Group]
) -> Iterator[bytes]:
    """Return the decompressed content of new fragment blocks."""
    decompress = decompressor(layout.superblock.compressor)
    wanted: dict[int, list[Tail]] = {}
    for group in groups:
        for tail in group.tails:
            wanted.setdefault(tail.fragment, []).append(tail)
    contents: dict[Tail, bytes] = {}
    for fragment, tails in sorted(wanted.items()):
        data = read_fragment(layout, source, fragment, decompress)
        for tail in tails:
            contents[tail] = data[tail.offset : tail.offset + tail.size]
    for group in groups:
        yield b"".join(contents.pop(tail) for tail in group.tails)


def read_fragment(
    layout: SquashfsLayout, source: BinaryIO, number: int, decompress: Decompress
) -> bytes:
    """Return the decompressed content of a fragment block.

    Raises:
        FormatError: It is damaged.
    """
    block = layout.fragments[number]
    offset = int(block["offset_bytes"])
    source.seek(offset)
    data = source.read(int(block["length_bytes"]))
    if block["stored"]:
        return data
    with damaged(layout.name, f"fragment block {number} at {offset:#x}"):
        return decompress(data, layout.block_size_bytes)


def shrink(
    layout: SquashfsLayout,
    source: BinaryIO,
    fragments: Sequence[int],
    compress: Compress,
    wanted_bytes: int,
) -> dict[int, bytes]:
    """Compress fragment blocks again, until enough is saved.

    Args:
        layout: Of the image.
        source: The image.
        fragments: Numbers of the blocks, in the order of trying.
        compress: A stronger compressor than theirs.
        wanted_bytes: How much to save.

    Returns:
        Those that got smaller, by their old offset.
    """
    decompress = decompressor(layout.superblock.compressor)
    found: dict[int, bytes] = {}

    def packed(number: int) -> tuple[int, bytes, int]:
        block = layout.fragments[number]
        return int(block["offset_bytes"]), compress(read(number)), int(block["length_bytes"])

    def read(number: int) -> bytes:
        # Threads cannot share a decompressor.
        with lock:
            return read_fragment(layout, source, number, decompress)

    lock = Lock()
    with ThreadPoolExecutor(WORKERS) as pool:
        for first in range(0, len(fragments), BATCH):
            if wanted_bytes <= 0:
                break
            for offset, data, length in pool.map(packed, fragments[first : first + BATCH]):
                if len(data) < length:
                    found[offset] = data
                    wanted_bytes -= length - len(data)
    return found
