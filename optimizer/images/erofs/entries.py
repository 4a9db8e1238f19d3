# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""The tree of an EROFS with a farm, entry by entry, for a program that packs it again.

The farm (:mod:`optimizer.images.erofs.farm`) has the needed files, one after the other, under names
that sort first. Where the tree has them, they are hard links. A tar archive would do without
unpacking, but ``mkfs.erofs --tar`` of 1.8.6 mixes contents up with ``-Eall-fragments``.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from typing import BinaryIO

import numpy as np

from optimizer.images.erofs.contents import Reader
from optimizer.images.erofs.farm import FARM, farm_name
from optimizer.images.erofs.layout import ErofsLayout
from optimizer.images.layout import FileType
from optimizer.images.reorder import TreeEntry

# By the number that stands for them.
XATTR_PREFIXES = {
    1: "user.",
    2: "system.posix_acl_access",
    3: "system.posix_acl_default",
    4: "trusted.",
    6: "security.",
}
TYPES = {
    FileType.DIRECTORY: stat.S_IFDIR,
    FileType.FILE: stat.S_IFREG,
    FileType.SYMLINK: stat.S_IFLNK,
    FileType.BLOCK_DEVICE: stat.S_IFBLK,
    FileType.CHARACTER_DEVICE: stat.S_IFCHR,
    FileType.FIFO: stat.S_IFIFO,
    FileType.SOCKET: stat.S_IFSOCK,
}
DEVICES = (FileType.BLOCK_DEVICE, FileType.CHARACTER_DEVICE)


def tree_entries(layout: ErofsLayout, file: BinaryIO, needed: Sequence[int]) -> Iterator[TreeEntry]:
    """Yield the entries of an image, a folder before what is in it.

    Args:
        layout: Of the image.
        file: The image; it has to stay open.
        needed: Rows of the inodes that come first, in their order; only regular files count.

    Raises:
        FormatError: A cluster or an extended attribute is damaged, or of an unknown kind.
    """
    reader = Reader(layout, file)
    inodes, entries = layout.inodes, layout.entries
    first: dict[int, bytes] = {}
    root = int(entries["inode"][0])
    yield _entry(reader, root, b"")
    yield _entry(reader, root, FARM, xattrs=False)
    files = [inode for inode in needed if inodes["type"][inode] == FileType.FILE]
    for rank, inode in enumerate(files):
        first[inode] = FARM + b"/" + farm_name(rank)
        yield _entry(reader, inode, first[inode])
    # Neighbours together: in the image, they are often in the same cluster.
    for row in np.argsort(np.array(layout.paths, object), kind="stable").tolist():
        inode, path = int(entries["inode"][row]), layout.paths[row].strip(b"/")
        if inode != root:
            yield _entry(reader, inode, path, same_as=first.get(inode, b""))
            if inodes["type"][inode] != FileType.DIRECTORY:
                first.setdefault(inode, path)


def _entry(
    reader: Reader, inode: int, path: bytes, *, same_as: bytes = b"", xattrs: bool = True
) -> TreeEntry:
    layout, row = reader.layout, reader.layout.inodes[inode]
    # The kernel's encoding of device numbers (new_encode_dev).
    number = int(row["rdev"]) if row["type"] in DEVICES else 0
    found = []
    for prefix, rest, value in reader.xattrs(inode) if xattrs and not same_as else ():
        if prefix not in XATTR_PREFIXES:
            reader.content.source.fail(f"an extended attribute with the prefix number {prefix}")
        found.append((XATTR_PREFIXES[prefix] + os.fsdecode(rest), value))
    return TreeEntry(
        path=path,
        mode=TYPES[FileType(int(row["type"]))] | stat.S_IMODE(int(row["mode"])),
        owner=(int(row["uid"]), int(row["gid"])),
        mtime_ns=int(row["mtime"]) * 10**9 + int(row["mtime_nanoseconds"]),
        device=(number >> 8 & 0xFFF, number & 0xFF | number >> 12 & 0xFFF00),
        link=layout.symlink_target(inode),
        same_as=same_as,
        xattrs=tuple(found),
        content=reader.pieces(inode) if row["type"] == FileType.FILE else iter(()),
    )
