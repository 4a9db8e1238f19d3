# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""Truncated, corrupt and malicious images: a message that says where, soon and in little memory."""

from __future__ import annotations

import io
import os
import struct
import tracemalloc
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from optimizer.errors import FormatError
from optimizer.images.reorder import Wanted, reorder, unequal
from optimizer.images.squashfs.format import Kind
from optimizer.images.squashfs.layout import SquashfsLayout, read_layout

MakeImage = Callable[..., Path]

MEMORY_LIMIT_BYTES = 300 << 20

# Offsets of fields in the superblock.
INODES, FRAGMENTS, IDS, ROOT_INODE, BYTES_USED = 4, 16, 26, 32, 40
INODE_TABLE, DIRECTORY_TABLE, FRAGMENT_TABLE = 64, 72, 80


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("hostile")
    for number in range(40):
        directory = root / f"directory-{number % 4}" / "inner"
        directory.mkdir(parents=True, exist_ok=True)
        (directory / f"file-{number}").write_bytes(os.urandom(500 * number))
        (directory / f"link-{number}").symlink_to(f"file-{number}")
    return root


@pytest.fixture(scope="module")
def plain_image(make_image: MakeImage, tree: Path) -> bytes:
    """An image with uncompressed tables, in which a changed byte reaches the parser."""
    return make_image(tree, "-b", "4K", "-noI", "-noF", "-noId").read_bytes()


@pytest.fixture(scope="module")
def images(make_image: MakeImage, tree: Path, plain_image: bytes) -> list[bytes]:
    packed = [
        make_image(tree, "-b", "4K", "-comp", compressor).read_bytes()
        for compressor in ("gzip", "lzma", "lzo", "xz", "lz4", "zstd")
    ]
    return [plain_image, *packed]


def use_all_of(layout: SquashfsLayout) -> None:
    """Whatever came through the reader must be usable."""
    for inode in range(layout.inodes.size):
        layout.extents_of_inode(inode)
        layout.symlink_target(inode)
        layout.paths_of(inode)
    offsets = np.arange(0, layout.size_bytes, 4096)
    found = layout.overlaps(offsets, np.full(offsets.size, 8192))
    layout.extent_map.owners_of(found["extent"])


def message_of(data: bytes) -> str:
    """Return the error that an image gives; fail if it gives none or takes much memory."""
    tracemalloc.start()
    try:
        with pytest.raises(FormatError) as caught:
            use_all_of(read_layout(io.BytesIO(data)))
        assert tracemalloc.get_traced_memory()[1] < MEMORY_LIMIT_BYTES
    finally:
        tracemalloc.stop()
    assert "\n" not in caught.value.message
    return caught.value.message


def peak_bytes(data: bytes) -> int:
    """Return how much memory an image takes that is valid, all of it used."""
    tracemalloc.start()
    try:
        layout = read_layout(io.BytesIO(data))
        layout.overlaps([0], [layout.size_bytes])
        assert layout.file_extents.size == layout.blocks.size
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def number(data: bytes | bytearray, offset: int, code: str = "<Q") -> int:
    return int(struct.unpack_from(code, data, offset)[0])


def patched(data: bytes, offset: int, code: str, *values: int) -> bytes:
    changed = bytearray(data)
    struct.pack_into(code, changed, offset, *values)
    return bytes(changed)


def metadata(content: bytes) -> bytes:
    """Pack a table into compressed metadata blocks."""
    blocks = []
    for start in range(0, len(content), 8192):
        packed = zlib.compress(content[start : start + 8192])
        blocks.append(struct.pack("<H", len(packed)) + packed)
    return b"".join(blocks)


def stored_metadata(content: bytes) -> bytes:
    """Pack a table into metadata blocks that are not compressed: 8194 bytes each."""
    parts = [content[start : start + 8192] for start in range(0, len(content), 8192)]
    return b"".join(struct.pack("<H", 0x8000 | len(part)) + part for part in parts)


def build(inode_table: bytes, directory_table: bytes) -> bytes:
    """Make a gzip image of packed tables alone; the root is the first inode."""
    inode_start = 96
    directory_start = inode_start + len(inode_table)
    id_start = directory_start + len(directory_table)
    ids = metadata(bytes(4))
    id_index = id_start + len(ids)
    absent = 2**64 - 1
    superblock = struct.pack(
        "<IIIIIHHHHHHQQQQQQQQ",
        *(0x73717368, 1, 0, 4096, 0, 1, 12, 0, 1, 4, 0),
        *(0, id_index + 8, id_index, absent),
        *(inode_start, directory_start, absent, absent),
    )
    return superblock + inode_table + directory_table + ids + struct.pack("<Q", id_start)


def directory_inode(number: int, start: int, size: int, offset: int) -> bytes:
    return struct.pack("<HHHHII", 8, 0o755, 0, 0, 0, number) + struct.pack(
        "<IIIIHHI", 2, size, start, 0, 0, offset, 0xFFFF_FFFF
    )


def test_every_truncation_is_reported(images: list[bytes]) -> None:
    for data in images:
        used = number(data, BYTES_USED)
        for length in [*range(0, 120, 7), *range(120, used, used // 50), used - 1]:
            message_of(data[:length])


def test_truncated_tables_are_reported_where_the_superblock_was_mended(
    plain_image: bytes,
) -> None:
    start = number(plain_image, INODE_TABLE)
    for length in range(start + 1, number(plain_image, BYTES_USED), 97):
        message_of(patched(plain_image[:length], BYTES_USED, "<Q", length))


def test_fragment_behind_the_end_is_named_with_table_and_entry(plain_image: bytes) -> None:
    index = number(plain_image, FRAGMENT_TABLE)
    entry = number(plain_image, index) + 2 + 16 * 1
    message = message_of(patched(plain_image, entry, "<Q", 2**63))
    assert f"fragment table at {index:#x}: entry 1 points past bytes_used" in message
    message = message_of(patched(plain_image, entry, "<Q", 2**64 - 5))
    assert "entry 1 points past bytes_used" in message
    assert "entry 1 has length" in message_of(patched(plain_image, entry + 8, "<I", 5000))


@pytest.mark.parametrize(
    ("field", "code", "value", "expected"),
    [
        (INODES, "<I", 2**32 - 1, "export table"),
        (FRAGMENTS, "<I", 2**32 - 1, "fragment table"),
        (IDS, "<H", 65535, "id table"),
        (ROOT_INODE, "<Q", 2**64 - 1, "root inode"),
        (ROOT_INODE, "<Q", 0xFFFF, "root inode"),
        (BYTES_USED, "<Q", 2**63, "truncated"),
        (INODE_TABLE, "<Q", 2**63, "not in order"),
        (DIRECTORY_TABLE, "<Q", 10, "not in order"),
        (FRAGMENT_TABLE, "<Q", 2**63, "fragment table"),
        (12, "<I", 2**31, "block size"),
        (22, "<H", 63, "block size"),
        (20, "<H", 9, "compressor 9"),
    ],
)
def test_impossible_superblocks_are_reported(
    plain_image: bytes, field: int, code: str, value: int, expected: str
) -> None:
    assert expected in message_of(patched(plain_image, field, code, value))


def test_a_directory_in_itself_is_reported_and_not_followed_forever() -> None:
    entry = struct.pack("<III", 0, 0, 1) + struct.pack("<HhHH", 0, 0, 1, 3) + b"loop"
    image = build(metadata(directory_inode(1, 0, len(entry) + 3, 0)), metadata(entry))
    assert "directory /loop stands in two places" in message_of(image)


def test_listings_that_share_bytes_cannot_multiply() -> None:
    """A directory of 20,000 entries, each a directory of the same 20,000 entries, and so on."""
    names = [b"%05d" % number for number in range(256 * 80)]
    entries = [struct.pack("<HhHH", 40, 0, 1, 4) + name for name in names]
    parts = [b"".join(entries[first : first + 256]) for first in range(0, len(entries), 256)]
    listing = b"".join(struct.pack("<III", 255, 0, 1) + part for part in parts)
    size = len(listing) + 3
    inodes = directory_inode(1, 0, size, 0) + directory_inode(2, 0, size, 0)
    message = message_of(build(metadata(inodes), metadata(listing)))
    assert "more than the directory table has" in message


def test_deep_trees_cannot_fill_the_memory_with_paths() -> None:
    """A chain of directories makes paths whose total length grows with the square of its depth."""
    inodes_a_block = 8192 // 40
    depth = 12 * inodes_a_block
    listing_bytes = 12 + 8 + 256
    inodes, listings = b"", b""
    for link in range(depth):
        if link and link % inodes_a_block == 0:
            inodes += bytes(8192 - 40 * inodes_a_block)
        block, offset = divmod(link * listing_bytes, 8192)
        inodes += directory_inode(link + 1, block * 8194, listing_bytes + 3, offset)
        block, place = divmod(min(link + 1, depth - 1), inodes_a_block)
        listings += struct.pack("<III", 0, block * 8194, 1)
        listings += struct.pack("<HhHH", 40 * place, 0, 1, 255) + b"n" * 256
    image = build(stored_metadata(inodes), stored_metadata(listings))
    assert "paths take more than" in message_of(image)


def test_file_of_exabytes_is_reported_before_its_block_list_is_read() -> None:
    entry = struct.pack("<III", 0, 0, 1) + struct.pack("<HhHH", 40, 0, 2, 0) + b"f"
    header = struct.pack("<HHHHII", 9, 0o644, 0, 0, 0, 2)
    for size in (2**64 - 1, 2**63, 2**40):
        file = header + struct.pack("<QQQIIII", 96, size, 0, 1, 2**32 - 1, 0, 2**32 - 1)
        inodes = directory_inode(1, 0, len(entry) + 3, 0) + file
        message = message_of(build(metadata(inodes), metadata(entry)))
        assert "more blocks than the inode table" in message


def test_metadata_block_that_inflates_to_more_than_8_kib_is_refused() -> None:
    packed = zlib.compress(bytes(5 << 20))
    image = build(struct.pack("<H", len(packed)) + packed, metadata(bytes(100)))
    assert "inflates to more than 8192 bytes" in message_of(image)


def test_table_of_many_well_packed_blocks_is_refused() -> None:
    """A table of zeros shrinks to a four-hundredth, real ones to a tenth at best."""
    image = build(metadata(bytes(8192)) * 160_000, metadata(bytes(100)))
    assert "inflates to more than" in message_of(image)


def test_names_with_a_slash_or_nul_are_refused(plain_image: bytes) -> None:
    place = plain_image.rindex(b"file-39")
    for byte in (0, ord("/")):
        assert "slash or NUL" in message_of(patched(plain_image, place + 2, "<B", byte))


@pytest.mark.parametrize("names", ["aa", "ba", "aba", "abb"])
def test_names_that_are_there_twice_or_out_of_order_are_refused(names: str) -> None:
    """As unsquashfs does: the kernel finds one of two, and none that is out of order."""
    entries = [struct.pack("<HhHH", 40, 0, 7, 0) + name.encode() for name in names]
    listing = struct.pack("<III", len(names) - 1, 0, 1) + b"".join(entries)
    socket = struct.pack("<HHHHIII", 7, 0o600, 0, 0, 0, 2, 1)
    inodes = directory_inode(1, 0, len(listing) + 3, 0) + socket
    image = build(metadata(inodes), metadata(listing))
    assert "has the same name, or is not in order" in message_of(image)


def test_block_behind_the_end_is_named_with_inode_and_block(
    plain_image: bytes,
) -> None:
    layout = read_layout(io.BytesIO(plain_image))
    inode = layout.inode_of(b"/directory-3/inner/file-39")
    row = layout.inodes[inode]
    table = layout.table(Kind.INODE_TABLE)
    assert table is not None
    block = table.blocks[row["first_metadata_block"]]
    inner = int(row["inflated_offset_bytes"] - block["inflated_offset_bytes"])
    start_field = int(block["offset_bytes"]) + 2 + inner + 16
    message = message_of(patched(plain_image, start_field, "<I", layout.size_bytes - 1))
    assert f"inode {row['number']}: block 0 at" in message
    assert "ends past bytes_used" in message


@settings(max_examples=400)
@given(data=st.data())
def test_random_corruption_gives_a_format_error_or_a_layout(
    images: list[bytes], data: st.DataObject
) -> None:
    image = bytearray(data.draw(st.sampled_from(images)))
    tables = st.integers(number(image, INODE_TABLE), number(image, BYTES_USED) - 9)
    places = st.one_of(st.integers(0, 95), tables, tables, tables)
    for _ in range(data.draw(st.integers(1, 6))):
        place = data.draw(places)
        value = data.draw(
            st.one_of(st.binary(min_size=1, max_size=8), st.sampled_from([b"\xff" * 4, bytes(4)]))
        )
        image[place : place + len(value)] = value
    try:
        layout = read_layout(io.BytesIO(bytes(image)))
    except FormatError as error:
        assert "\n" not in error.message
        return
    use_all_of(layout)


@settings(max_examples=100)
@given(content=st.binary(max_size=600))
def test_random_bytes_behind_a_superblock_give_a_format_error(
    plain_image: bytes, content: bytes
) -> None:
    with pytest.raises(FormatError):
        read_layout(io.BytesIO(plain_image[:96] + content))


@settings(max_examples=60)
@given(data=st.data())
def test_random_corruption_gives_a_format_error_or_another_order(
    images: list[bytes], data: st.DataObject
) -> None:
    """Every file is wanted, and so every fragment is inflated."""
    image = bytearray(images[data.draw(st.integers(0, len(images) - 1))])
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.integers(0, 127) | st.integers(0, len(image) - 1))
        value = data.draw(st.binary(min_size=1, max_size=8))[: len(image) - place]
        image[place : place + len(value)] = value
    source, target = io.BytesIO(bytes(image)), io.BytesIO()
    try:
        layout = read_layout(source)
        reorder(layout, source, Wanted(layout.paths), target)
        again = read_layout(target)
    except FormatError as error:
        assert "\n" not in error.message
        return
    # What is damaged in the same way is the same.
    assert unequal(layout, source, again, target) is None


@pytest.mark.parametrize("options", [b"", b"\0" * 8, b"\xff" * 8])
def test_compression_options_that_make_no_sense_are_named(
    images: list[bytes], options: bytes
) -> None:
    image = images[4]
    head = bytearray(image[:96])
    # Of xz, with the flag that says so: a metadata block in front of the content.
    head[24] |= 1 << 2
    damaged = bytes(head) + struct.pack("<H", 0x8000 | len(options)) + options
    source = io.BytesIO(damaged + image[len(damaged) :])
    layout = read_layout(source)
    with pytest.raises(FormatError, match="compression options is corrupt"):
        reorder(layout, source, Wanted(layout.paths), io.BytesIO())
