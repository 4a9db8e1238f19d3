# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""Small images that ask for much memory are refused, whatever they fill it with."""

from __future__ import annotations

import struct
import zlib

import pytest

from optimizer.images.squashfs import tree
from optimizer.images.squashfs.format import (
    FREE_BLOCKS,
    FREE_INFLATED_BYTES,
    METADATA_BYTES,
)
from tests.optimizer.images.squashfs.test_hostile import (
    build,
    directory_inode,
    message_of,
    metadata,
    peak_bytes,
)

INODE_BYTES = 40
INODES_A_BLOCK = METADATA_BYTES // INODE_BYTES
INODE_BLOCK_BYTES = 1000
# One-byte names that are allowed, in order.
LETTERS = [byte for byte in range(1, 256) if byte not in b"./"]
NO_FRAGMENT = 2**32 - 1


def packed(content: bytes, block_bytes: int = 0) -> tuple[bytes, list[int]]:
    """Return a table in compressed metadata blocks, and where each block begins.

    Blocks are filled up to ``block_bytes``: what stands behind the compressed data is not read.
    """
    blocks, starts = b"", []
    for start in range(0, len(content), METADATA_BYTES):
        block = zlib.compress(content[start : start + METADATA_BYTES]).ljust(block_bytes, b"\0")
        starts.append(len(blocks))
        blocks += struct.pack("<H", len(block)) + block
    return blocks, starts


def sparse_image(blocks: int) -> bytes:
    """Return an image of one file that is a hole of so many blocks of 4 KiB."""
    entry = struct.pack("<III", 0, 0, 1) + struct.pack("<HhHH", INODE_BYTES, 0, 2, 0) + b"f"
    header = struct.pack("<HHHHII", 9, 0o644, 0, 0, 0, 2)
    file = header + struct.pack("<QQQIIII", 96, blocks * 4096, 0, 1, NO_FRAGMENT, 0, NO_FRAGMENT)
    inodes = directory_inode(1, 0, len(entry) + 3, 0) + file + bytes(4 * blocks)
    return build(metadata(inodes), metadata(entry))


def dense_image(directories: int, links: int) -> bytes:
    """Return an image of many directories, each with so many hard links to one empty file."""

    def slot(number: int) -> tuple[int, int]:
        """Return position of the block, and offset in it, of an inode; the root is number 0."""
        block, place = divmod(number, INODES_A_BLOCK)
        return block * (INODE_BLOCK_BYTES + 2), INODE_BYTES * place

    block, offset = slot(directories + 1)
    listing = struct.pack("<III", links - 1, block, 1)
    for letter in LETTERS[:links]:
        listing += struct.pack("<HhHHB", offset, 0, 2, 0, letter)
    listings = bytearray(listing * directories)
    for number in range(1, directories + 1):
        block, offset = slot(number)
        listings += struct.pack("<III", 0, block, 1)
        listings += struct.pack("<HhHH", offset, 0, 1, 5) + b"%06d" % number
    directory_table, starts = packed(bytes(listings))

    inodes = bytearray()
    root = len(listing) * directories
    places = [(root, len(listings) - root)]
    places += [(number * len(listing), len(listing)) for number in range(directories)]
    for number, (begin, length) in enumerate(places):
        if number and number % INODES_A_BLOCK == 0:
            inodes += bytes(METADATA_BYTES - INODES_A_BLOCK * INODE_BYTES)
        index, inner = divmod(begin, METADATA_BYTES)
        inodes += directory_inode(1, starts[index], length + 3, inner)
    if (directories + 1) % INODES_A_BLOCK == 0:
        inodes += bytes(METADATA_BYTES - INODES_A_BLOCK * INODE_BYTES)
    inodes += struct.pack("<HHHHIIIIII", 2, 0o644, 0, 0, 0, 3, 0, NO_FRAGMENT, 0, 0)
    inode_table, _ = packed(bytes(inodes), INODE_BLOCK_BYTES)
    return build(inode_table, directory_table)


def test_a_sparse_file_within_the_bound_is_read_in_little_memory() -> None:
    assert peak_bytes(sparse_image(FREE_BLOCKS)) < 200 << 20


def test_a_sparse_file_cannot_fill_the_memory_with_blocks() -> None:
    assert "which no image of" in message_of(sparse_image(FREE_BLOCKS + 100_000))


def test_a_table_of_zeros_is_refused_before_it_is_inflated() -> None:
    image = sparse_image(FREE_INFLATED_BYTES)
    assert len(image) < 100_000
    assert "which no table of" in message_of(image)


def test_directories_of_hard_links_are_read_in_little_memory() -> None:
    image = dense_image(1500, 80)
    assert len(image) < 60_000
    assert peak_bytes(image) < 50 << 20


def test_directories_of_hard_links_cannot_fill_the_memory_with_paths(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With a small free portion, since reading a million paths would take this test too long."""
    monkeypatch.setattr(tree, "FREE_PATHS", 1000)
    image = dense_image(3000, 80)
    assert "paths, which no table of this size holds" in message_of(image)
