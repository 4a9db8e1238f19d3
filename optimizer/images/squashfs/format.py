# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""On-disk structures of squashfs 4.0: superblock, metadata blocks, dtypes of inodes.

Field names and sizes follow fs/squashfs/squashfs_fs.h of the Linux kernel. Everything is little
endian. Every count is compared with the bytes that could hold it before memory is taken for it.
"""

from __future__ import annotations

import struct
from array import array
from dataclasses import dataclass
from enum import IntEnum

import numpy as np

from optimizer.images.layout import Rows
from optimizer.images.source import MEMORY_HINT, Source
from optimizer.images.squashfs.decompress import COMPRESSORS, CorruptBlockError, Decompress

MAGIC = b"hsqs"
# Superblocks that are near to squashfs 4.0, and why they are not read.
FOREIGN_MAGICS = {
    b"sqsh": "a big-endian squashfs of before version 4",
    b"shsq": "a squashfs changed by a router's vendor",
    b"qshs": "a squashfs changed by a router's vendor",
}
SUPERBLOCK = struct.Struct("<IIIIIHHHHHHQQQQQQQQ")
METADATA_BYTES = 8192
METADATA_STORED = 0x8000
BLOCK_STORED = 1 << 24
BLOCK_LENGTH_MASK = BLOCK_STORED - 1
NO_TABLE = 0xFFFF_FFFF_FFFF_FFFF
NO_FRAGMENT = 0xFFFF_FFFF
NO_XATTR = 0xFFFF_FFFF
# Of the superblock: tables of inodes and directories, and fragment blocks, are not compressed.
FLAG_STORED_INODES = 1 << 0
FLAG_STORED_FRAGMENTS = 1 << 3
FLAG_COMPRESSION_OPTIONS = 1 << 10
POINTER = struct.Struct("<Q")
XATTR_ID_HEADER = struct.Struct("<QII")

# What an image may ask for beyond a first portion that is free, so that a small file cannot fill
# the memory. Measured with mksquashfs on trees that pack as densely as names can: metadata shrinks
# to a sixteenth at best (real images: a third to a tenth), a path takes 0.8 bytes of the packed
# inode and directory tables (real images: 5 and more).
FREE_INFLATED_BYTES = 4 << 20
LARGEST_INFLATION = 32
FREE_PATHS = 1 << 17
PATHS_A_PACKED_BYTE = 2
# Holes and duplicates take no room for their blocks, so an image can make the list of blocks
# long. A sparse file of a terabyte (8 million blocks of 128 KiB) needs an image of 128 MB.
FREE_BLOCKS = 1 << 20
IMAGE_BYTES_A_BLOCK = 16


class Kind(IntEnum):
    """Contents of an extent of the image."""

    SUPERBLOCK = 0
    COMPRESSION_OPTIONS = 1
    INODE_TABLE = 2
    DIRECTORY_TABLE = 3
    FRAGMENT_TABLE = 4
    EXPORT_TABLE = 5
    ID_TABLE = 6
    XATTR_TABLE = 7
    BLOCK = 8
    FRAGMENT = 9

    @property
    def label(self) -> str:
        """The readable name, for example "inode table"."""
        return self.name.lower().replace("_", " ")


# One metadata block. offset_bytes and length_bytes are on the image and include the two-byte
# header; inflated_offset_bytes is its place in the whole decompressed table.
METADATA_BLOCK = np.dtype(
    [
        ("offset_bytes", "<i8"),
        ("length_bytes", "<i4"),
        ("stored", "?"),
        ("inflated_offset_bytes", "<i8"),
        ("inflated_bytes", "<i4"),
    ]
)

_HEADER = [
    ("type", "<u2"),
    ("mode", "<u2"),
    ("uid", "<u2"),
    ("gid", "<u2"),
    ("mtime", "<u4"),
    ("number", "<u4"),
]
_DEVICE = [*_HEADER, ("nlink", "<u4"), ("rdev", "<u4")]
_IPC = [*_HEADER, ("nlink", "<u4")]
_SYMLINK = [*_HEADER, ("nlink", "<u4"), ("size", "<u4")]
_XATTR = [("xattr", "<u4")]
INODE_HEADER = np.dtype(_HEADER)
FRAGMENT_ENTRY = np.dtype([("offset", "<u8"), ("length", "<u4"), ("unused", "<u4")])
FRAGMENTS_PER_METADATA_BLOCK = METADATA_BYTES // FRAGMENT_ENTRY.itemsize
# Fixed part of an inode by its type; block lists and symlink targets follow it.
INODE_LAYOUTS: dict[int, np.dtype[np.void]] = {
    1: np.dtype(
        [
            *_HEADER,
            ("start", "<u4"),
            ("nlink", "<u4"),
            ("size", "<u2"),
            ("offset", "<u2"),
            ("parent", "<u4"),
        ]
    ),
    2: np.dtype(
        [*_HEADER, ("start", "<u4"), ("fragment", "<u4"), ("offset", "<u4"), ("size", "<u4")]
    ),
    3: np.dtype(_SYMLINK),
    4: np.dtype(_DEVICE),
    5: np.dtype(_DEVICE),
    6: np.dtype(_IPC),
    7: np.dtype(_IPC),
    8: np.dtype(
        [
            *_HEADER,
            ("nlink", "<u4"),
            ("size", "<u4"),
            ("start", "<u4"),
            ("parent", "<u4"),
            ("index_count", "<u2"),
            ("offset", "<u2"),
            ("xattr", "<u4"),
        ]
    ),
    9: np.dtype(
        [
            *_HEADER,
            ("start", "<u8"),
            ("size", "<u8"),
            ("sparse", "<u8"),
            ("nlink", "<u4"),
            ("fragment", "<u4"),
            ("offset", "<u4"),
            ("xattr", "<u4"),
        ]
    ),
    # The xattr index of an extended symlink follows its target.
    10: np.dtype(_SYMLINK),
    11: np.dtype([*_DEVICE, *_XATTR]),
    12: np.dtype([*_DEVICE, *_XATTR]),
    13: np.dtype([*_IPC, *_XATTR]),
    14: np.dtype([*_IPC, *_XATTR]),
}


@dataclass(frozen=True)
class Superblock:
    """The superblock of a squashfs 4.0; table positions count from its own first byte.

    Attributes:
        inode_count: Inodes of the file system.
        mkfs_time: Seconds since 1970 at which it was made.
        block_size_bytes: Largest number of a file's bytes in one block.
        fragment_count: Fragment blocks.
        compressor: Number of the compressor, see
            :data:`optimizer.images.squashfs.decompress.COMPRESSORS`.
        flags: Bit set, SQUASHFS_NOI and so on in the kernel's squashfs_fs.h.
        id_count: User and group identifiers.
        root_inode: Reference of the root directory's inode: block << 16 | offset.
        size_bytes: Bytes of the file system without padding (bytes_used).
        id_table: Position of the id table's index.
        xattr_table: Position of the xattr id table, or :data:`NO_TABLE`.
        inode_table: Position of the inode table.
        directory_table: Position of the directory table.
        fragment_table: Position of the fragment table's index, or :data:`NO_TABLE`.
        export_table: Position of the export table's index, or :data:`NO_TABLE`.
    """

    inode_count: int
    mkfs_time: int
    block_size_bytes: int
    fragment_count: int
    compressor: int
    flags: int
    id_count: int
    root_inode: int
    size_bytes: int
    id_table: int
    xattr_table: int
    inode_table: int
    directory_table: int
    fragment_table: int
    export_table: int

    @property
    def compressor_name(self) -> str:
        """Name of the compressor as mksquashfs takes it."""
        return COMPRESSORS[self.compressor]


def read_superblock(source: Source) -> Superblock:
    """Read and verify the superblock.

    Raises:
        FormatError: There is none here, it is of another version, or it contradicts itself.
    """
    if source.size_bytes < SUPERBLOCK.size:
        source.fail(f"too short for a squashfs: {source.size_bytes} bytes")
    data = source.read(0, SUPERBLOCK.size, "superblock")
    if data[:4] in FOREIGN_MAGICS:
        source.fail(
            f"{FOREIGN_MAGICS[data[:4]]}, which bootprof does not read",
            "only squashfs 4.0 is supported: build the image again with mksquashfs 4.0 or newer",
        )
    if data[:4] != MAGIC:
        source.fail(
            "no squashfs here: the magic number is missing",
            "name a squashfs, or the ISO or disk image that holds one",
        )
    (
        _,
        inode_count,
        mkfs_time,
        block_size,
        fragment_count,
        compressor,
        block_log,
        flags,
        id_count,
        major,
        minor,
        root_inode,
        size,
        id_table,
        xattr_table,
        inode_table,
        directory_table,
        fragment_table,
        export_table,
    ) = SUPERBLOCK.unpack(data)
    if (major, minor) != (4, 0):
        source.fail(
            f"squashfs version {major}.{minor}: only 4.0 is supported",
            "build the image again with mksquashfs 4.0 or newer",
        )
    if compressor not in COMPRESSORS:
        source.fail(f"superblock: compressor {compressor} is not known")
    if not 12 <= block_log <= 20 or block_size != 1 << block_log:
        source.fail(f"superblock: block size {block_size} does not match its logarithm {block_log}")
    if size > source.size_bytes:
        source.fail(
            f"truncated: the superblock says {size} bytes, the file has {source.size_bytes}"
        )
    # The kernel requires ascending order, too.
    if not SUPERBLOCK.size <= inode_table < directory_table <= size:
        source.fail(
            f"superblock: inode table at {inode_table:#x} and directory table at "
            f"{directory_table:#x} are not in order below {size:#x}"
        )
    return Superblock(
        inode_count,
        mkfs_time,
        block_size,
        fragment_count,
        compressor,
        flags,
        id_count,
        root_inode,
        size,
        id_table,
        xattr_table,
        inode_table,
        directory_table,
        fragment_table,
        export_table,
    )


@dataclass(frozen=True)
class Table:
    """One table of the image.

    Attributes:
        kind: Which table.
        offset_bytes: Start, counted from the start of the image file.
        length_bytes: Length on the image, index included.
        blocks: Its metadata blocks, dtype :data:`METADATA_BLOCK`; without the index, and in the
            xattr table without what only lists other blocks.
        inflated: The decompressed table; empty where nothing reads it.
    """

    kind: Kind
    offset_bytes: int
    length_bytes: int
    blocks: Rows
    inflated: bytes = b""


def metadata_blocks(source: Source, start: int, end: int, what: str, data: bytes) -> Rows:
    """Find the metadata blocks that fill a region.

    Args:
        source: The image, for messages.
        start: First byte of the region, from the start of the squashfs.
        end: The byte behind it.
        what: Name of the table, for messages.
        data: The bytes of the region.

    Returns:
        Rows of :data:`METADATA_BLOCK` with absolute offsets; sizes after decompression are not
        known yet and 0.
    """
    headers = array("q")
    positions = array("q")
    position = 0
    length = end - start
    while position < length:
        if position + 2 > length:
            source.fail(f"{what} at {start + position:#x}: half a metadata header")
        header = data[position] | data[position + 1] << 8
        # The kernel reads a length of 0 as 32768, which no writer makes.
        stored_bytes = header & ~METADATA_STORED
        if not 0 < stored_bytes <= METADATA_BYTES:
            source.fail(f"{what} at {start + position:#x}: metadata block of {stored_bytes} bytes")
        if position + 2 + stored_bytes > length:
            source.fail(f"{what} at {start + position:#x}: metadata block ends behind the table")
        headers.append(header)
        positions.append(position)
        position += 2 + stored_bytes
    blocks = np.zeros(len(headers), METADATA_BLOCK)
    found = np.array(headers, np.int64)
    blocks["offset_bytes"] = np.array(positions, np.int64) + source.offset_bytes + start
    blocks["length_bytes"] = (found & ~METADATA_STORED) + 2
    blocks["stored"] = found & METADATA_STORED != 0
    return blocks


def inflate_table(
    source: Source, start: int, blocks: Rows, data: bytes, what: str, decompress: Decompress
) -> bytes:
    """Decompress all metadata blocks of a table into one buffer and note where each one went.

    Args:
        source: The image, for messages.
        start: First byte of the table, from the start of the squashfs.
        blocks: Rows of :data:`METADATA_BLOCK`; the fields of the decompressed size are filled in.
        data: The bytes of the table on the image.
        what: Name of the table, for messages.
        decompress: Of the image's compressor.

    Raises:
        FormatError: A block does not decompress, or all of them to more than a table can hold.
    """
    parts: list[bytes] = []
    total_bytes = 0
    limit_bytes = FREE_INFLATED_BYTES + LARGEST_INFLATION * len(data)
    first = source.offset_bytes + start
    offsets = (blocks["offset_bytes"] - first).tolist()
    lengths = blocks["length_bytes"].tolist()
    for offset, length, stored in zip(offsets, lengths, blocks["stored"].tolist(), strict=True):
        part = data[offset + 2 : offset + length]
        if not stored:
            try:
                part = decompress(part, METADATA_BYTES)
            except CorruptBlockError as error:
                source.fail(f"{what} at {start + offset:#x}: metadata block is corrupt ({error})")
        parts.append(part)
        total_bytes += len(part)
        if total_bytes > limit_bytes:
            source.fail(
                f"{what} at {start:#x}: inflates to more than {limit_bytes} bytes, which no table "
                f"of {len(data)} bytes does",
                MEMORY_HINT,
            )
    sizes = np.fromiter(map(len, parts), "<i4", len(parts))
    blocks["inflated_bytes"] = sizes
    blocks["inflated_offset_bytes"] = np.cumsum(sizes, dtype="<i8") - sizes
    return b"".join(parts)
