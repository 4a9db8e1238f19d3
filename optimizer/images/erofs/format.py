# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""On-disk structures of EROFS: superblock, features, and bytes of metadata in bulk.

Field names and sizes follow fs/erofs/erofs_fs.h of the Linux kernel. Everything is little endian.
"""

from __future__ import annotations

import mmap
import struct
from dataclasses import dataclass
from enum import IntEnum, IntFlag

import numpy as np
from numpy.typing import NDArray

from optimizer.images.source import Source

MAGIC = b"\xe2\xe1\xf5\xe0"
SUPERBLOCK_OFFSET_BYTES = 1024
SUPERBLOCK = struct.Struct("<4sIIBBHQQIIII16s16sIHHHBBIq24x")
SLOT_BYTES = 32
"""Inodes begin on a multiple of this; their number (nid) counts it."""
INDEX_ENTRY_BYTES = 8
"""Of a full index, and the alignment of every index."""

COMPRESSORS = ("lz4", "lzma", "deflate", "zstd")
"""By their number in the format."""


class Feature(IntFlag):
    """Incompatible features that decide what is read; :data:`READ_FEATURES` has all bits."""

    LEADING_ZEROS = 0x1
    """Zeros fill up a cluster in front of its compressed bytes, not behind them."""
    DEVICES = 0x8
    FRAGMENTS = 0x20
    XATTR_PREFIXES = 0x40
    ADDRESSES_48BIT = 0x80
    METABOX = 0x100


READ_FEATURES = 0x7F
FEATURE_NAMES = {
    Feature.ADDRESSES_48BIT: "48-bit block addresses (mkfs.erofs -E48bit)",
    Feature.METABOX: "compressed metadata (mkfs.erofs -m)",
}
SMALLEST_BLOCK_BITS, LARGEST_BLOCK_BITS = 9, 16


class Storage(IntEnum):
    """How an inode's content is stored (i_format, bits 1 to 3)."""

    PLAIN = 0
    FULL_INDEX = 1
    INLINE = 2
    COMPACT_INDEX = 3
    CHUNKS = 4


COMPRESSED = (Storage.FULL_INDEX, Storage.COMPACT_INDEX)


@dataclass(frozen=True)
class Superblock:
    """The superblock; addresses count blocks from the start of the file system.

    Attributes:
        block_bits: Logarithm of the block size.
        root: Number of the root directory's inode.
        inode_count: Inodes of the file system.
        checksum: Of the first block from the superblock on, if ``compatible`` says so.
        compatible: Bit set of compatible features.
        made_seconds: Seconds since 1970; the time of all inodes of 32 bytes, too.
        made_nanoseconds: Nanoseconds of that time.
        block_count: Blocks of the file system.
        metadata_block: Block from which on inodes are numbered.
        xattr_block: Block from which on shared extended attributes are numbered.
        features: Bit set, :class:`Feature`.
        compressors: Bit set of the numbers of compressors.
        packed: Number of the inode that holds all fragments; 0 if there is none.
        prefixes: Long prefixes of names of extended attributes, which that inode holds.
        slots: Slots of 16 bytes behind the superblock.
    """

    block_bits: int
    root: int
    inode_count: int
    checksum: int
    compatible: int
    made_seconds: int
    made_nanoseconds: int
    block_count: int
    metadata_block: int
    xattr_block: int
    features: int
    compressors: int
    packed: int
    prefixes: int
    slots: int

    @property
    def block_bytes(self) -> int:
        """Size of a block."""
        return 1 << self.block_bits

    @property
    def size_bytes(self) -> int:
        """Bytes of the file system."""
        return self.block_count << self.block_bits

    @property
    def metadata_bytes(self) -> int:
        """Offset of the inode of number 0."""
        return self.metadata_block << self.block_bits


def read_superblock(source: Source) -> Superblock:
    """Read and verify the superblock.

    Raises:
        FormatError: There is none here, it needs an unsupported feature, or it contradicts itself.
    """
    data = source.read(SUPERBLOCK_OFFSET_BYTES, SUPERBLOCK.size, "superblock of EROFS")
    (
        magic, checksum, compatible, block_bits, slots, root, inodes, made, nanoseconds, blocks,
        metadata_block, xattr_block, _uuid, _volume, features, compressors, devices, _device_slot,
        directory_bits, prefixes, _prefix_start, packed,
    ) = SUPERBLOCK.unpack(data)  # fmt: skip
    if magic != MAGIC:
        source.fail("no EROFS here: the magic number is missing")
    unread = [name for feature, name in FEATURE_NAMES.items() if features & feature]
    if unread:
        source.fail(
            f"EROFS with {' and '.join(unread)}, which bootprof does not read", _hint_of_features()
        )
    if features & ~READ_FEATURES:
        unknown = features & ~READ_FEATURES
        source.fail(f"EROFS with unknown features {unknown:#x}", _hint_of_features())
    if not SMALLEST_BLOCK_BITS <= block_bits <= LARGEST_BLOCK_BITS:
        source.fail(f"superblock: block size of 2^{block_bits} bytes")
    if directory_bits:
        source.fail(f"superblock: directory blocks of 2^{block_bits + directory_bits} bytes")
    if devices and features & Feature.DEVICES:
        source.fail(
            f"EROFS whose data is on {devices} other devices, which bootprof does not read",
            "copy all data into one image",
        )
    if blocks << block_bits > source.size_bytes:
        source.fail(
            f"truncated: the superblock says {blocks << block_bits} bytes, the file has "
            f"{source.size_bytes}"
        )
    if not blocks or metadata_block >= blocks:
        source.fail(f"superblock: metadata at block {metadata_block} of {blocks}")
    return Superblock(
        block_bits, root, inodes, checksum, compatible, made, nanoseconds, blocks, metadata_block,
        xattr_block, features, compressors, packed if features & Feature.FRAGMENTS else 0,
        prefixes if features & Feature.XATTR_PREFIXES else 0, slots,
    )  # fmt: skip


def _hint_of_features() -> str:
    return "build the image again without this feature"


class Content:
    """The bytes of a file system, for reading many places at once.

    Attributes:
        source: The image, for messages.
        size_bytes: Of the file system.
    """

    def __init__(self, source: Source, size_bytes: int) -> None:
        self.source = source
        self.size_bytes = size_bytes
        self._bytes = self._map(source, size_bytes)

    @staticmethod
    def _map(source: Source, size_bytes: int) -> NDArray[np.uint8]:
        try:
            number = source.file.fileno()
            mapped = mmap.mmap(number, source.offset_bytes + size_bytes, access=mmap.ACCESS_READ)
        except (OSError, ValueError):
            return np.frombuffer(source.read(0, size_bytes, "EROFS"), np.uint8)
        whole = np.frombuffer(mapped, np.uint8)
        return whole[source.offset_bytes : source.offset_bytes + size_bytes]

    def span(self, offset_bytes: int, length_bytes: int, what: str) -> bytes:
        """Return some bytes.

        Raises:
            FormatError: They are not all within the file system.
        """
        if offset_bytes < 0 or offset_bytes + length_bytes > self.size_bytes:
            self.source.fail(f"{what} at {offset_bytes:#x} is outside of the file system")
        return self._bytes[offset_bytes : offset_bytes + length_bytes].tobytes()

    def records(
        self, offsets_bytes: NDArray[np.int64], dtype: np.dtype[np.void], what: str
    ) -> NDArray[np.void]:
        """Return one record at each offset.

        Raises:
            FormatError: One is not within the file system.
        """
        size = dtype.itemsize
        self.check(offsets_bytes, np.int64(size), what)
        found = np.empty(offsets_bytes.size, dtype)
        flat = found.view(np.uint8).reshape(-1, size) if found.size else None
        if flat is not None:
            for byte in range(size):
                flat[:, byte] = self._bytes[offsets_bytes + byte]
        return found

    def check(
        self,
        offsets_bytes: NDArray[np.int64],
        lengths_bytes: NDArray[np.int64] | np.int64,
        what: str,
    ) -> None:
        """Make sure that all spans are within the file system.

        Raises:
            FormatError: One is not.
        """
        outside = (offsets_bytes < 0) | (offsets_bytes > self.size_bytes - lengths_bytes)
        if outside.any():
            offset = int(offsets_bytes[np.argmax(outside)])
            self.source.fail(f"{what} at {offset:#x} is outside of the file system")
