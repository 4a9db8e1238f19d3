# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""Inodes of an EROFS, decoded in bulk."""

from __future__ import annotations

import stat

import numpy as np
from numpy.typing import NDArray

from optimizer.images.erofs.format import SLOT_BYTES, Content, Storage, Superblock
from optimizer.images.layout import INODE_FIELDS, FileType, Rows

INODE = np.dtype(
    [
        *INODE_FIELDS,
        ("position_bytes", "<i8"),  # from the start of the file system
        ("body_bytes", "<i8"),  # position of what follows inode and xattrs
        ("storage", "u1"),  # Storage
        ("extended", "?"),  # 64 bytes instead of 32
        ("mtime_nanoseconds", "<u4"),
        ("xattr_bytes", "<i8"),  # of inline xattrs, with their header
        ("start", "<u4"),  # i_u: start block, number of compressed blocks, or format of chunks
    ]
)

_SHORT = np.dtype(
    [
        ("format", "<u2"),
        ("xattrs", "<u2"),
        ("mode", "<u2"),
        ("nlink", "<u2"),
        ("size", "<u4"),
        ("reserved", "<u4"),
        ("start", "<u4"),
        ("serial", "<u4"),
        ("uid", "<u2"),
        ("gid", "<u2"),
        ("reserved2", "<u4"),
    ]
)
_LONG = np.dtype(
    [
        ("format", "<u2"),
        ("xattrs", "<u2"),
        ("mode", "<u2"),
        ("reserved", "<u2"),
        ("size", "<u8"),
        ("start", "<u4"),
        ("serial", "<u4"),
        ("uid", "<u4"),
        ("gid", "<u4"),
        ("mtime", "<u8"),
        ("mtime_nanoseconds", "<u4"),
        ("nlink", "<u4"),
        ("reserved2", "V16"),
    ]
)
EXTENDED = 1
START_OFFSET_BYTES = 16
"""Of i_u in an inode of either size."""
LARGEST_SIZE_BYTES = 1 << 62
XATTR_HEADER_BYTES, XATTR_UNIT_BYTES = 12, 4

_TYPES = np.zeros(16, np.uint8)
for _mode, _type in {
    stat.S_IFDIR: FileType.DIRECTORY,
    stat.S_IFREG: FileType.FILE,
    stat.S_IFLNK: FileType.SYMLINK,
    stat.S_IFBLK: FileType.BLOCK_DEVICE,
    stat.S_IFCHR: FileType.CHARACTER_DEVICE,
    stat.S_IFIFO: FileType.FIFO,
    stat.S_IFSOCK: FileType.SOCKET,
}.items():
    _TYPES[_mode >> 12] = _type


def read_inodes(content: Content, superblock: Superblock, numbers: NDArray[np.int64]) -> Rows:
    """Decode inodes.

    Args:
        content: The file system.
        superblock: Its superblock.
        numbers: Their numbers.

    Returns:
        Rows of :data:`INODE` in the order of the numbers.

    Raises:
        FormatError: One is not within the file system, or makes no sense.
    """
    # Inodes may be in front of the metadata's start, so that the 16 bits of the root's number
    # suffice (mkfs.erofs --tar): their numbers are so large that this sum has more than 64 bits.
    positions = superblock.metadata_bytes + numbers * SLOT_BYTES
    wrong = np.flatnonzero((positions < 0) | (positions >= content.size_bytes))
    if wrong.size:
        content.source.fail(f"inode {int(numbers[wrong[0]])}: outside of the file system")
    found = np.zeros(numbers.size, INODE)
    short = content.records(positions, _SHORT, "inode")
    extended = short["format"] & EXTENDED != 0
    long = content.records(positions[extended], _LONG, "inode")
    found["number"], found["position_bytes"] = numbers, positions
    found["extended"], found["storage"] = extended, short["format"] >> 1 & 7
    found["type"], found["mode"] = _TYPES[short["mode"] >> 12], short["mode"] & 0o7777
    for name in ("uid", "gid", "nlink", "start"):
        found[name] = short[name]
        found[name][extended] = long[name]
    found["size_bytes"] = short["size"]
    found["size_bytes"][extended] = np.minimum(long["size"], np.uint64(LARGEST_SIZE_BYTES))
    found["mtime"] = np.int64(min(superblock.made_seconds, LARGEST_SIZE_BYTES))
    found["mtime"][extended] = long["mtime"].view("<i8")
    found["mtime_nanoseconds"] = superblock.made_nanoseconds
    found["mtime_nanoseconds"][extended] = long["mtime_nanoseconds"]
    count = short["xattrs"].astype(np.int64)
    found["xattr_bytes"] = np.where(
        count > 0, XATTR_HEADER_BYTES + XATTR_UNIT_BYTES * (count - 1), 0
    )
    header_bytes = np.where(extended, _LONG.itemsize, _SHORT.itemsize)
    found["body_bytes"] = positions + header_bytes + found["xattr_bytes"]
    _check(content, found)
    special = np.isin(found["type"], (FileType.BLOCK_DEVICE, FileType.CHARACTER_DEVICE))
    found["rdev"] = np.where(special, found["start"], 0)
    no_content = ~np.isin(found["type"], (FileType.DIRECTORY, FileType.FILE, FileType.SYMLINK))
    found["size_bytes"][no_content] = 0
    return found


def _check(content: Content, found: Rows) -> None:
    for wrong, what in (
        (found["type"] == 0, "its type is not known"),
        (found["storage"] > max(Storage), "its storage is not known"),
        (found["size_bytes"] >= LARGEST_SIZE_BYTES, "its size makes no sense"),
        (found["body_bytes"] > content.size_bytes, "it ends outside of the file system"),
    ):
        if wrong.any():
            row = found[np.argmax(wrong)]
            content.source.fail(
                f"inode {int(row['number'])} at {int(row['position_bytes']):#x}: {what}"
            )
