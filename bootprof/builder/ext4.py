# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""Packing a root tree as an ext4 file system, without a mount or a loop device.

The same tree gives the same bytes: identifiers come from a digest, and times from the tree.
"""

from __future__ import annotations

import os
import stat
import uuid
from collections.abc import Sequence
from pathlib import Path

from bootprof.builder import mke2fs
from bootprof.builder.root import leave_out, limit_times
from bootprof.builder.roottree import RootTree, open_tree
from bootprof.files import remove
from bootprof.process import run

BLOCK_BYTES = 4096
INODE_BYTES = 256
# A link with a shorter target is stored in its inode (linux/ext4.h, EXT4_N_BLOCKS).
INLINE_LINK_BYTES = 60
# Of an entry of a folder, besides the name (linux/ext4.h, struct ext4_dir_entry_2).
ENTRY_BYTES = 8
# Not counted below: group descriptors, bitmaps, extent blocks, lost+found.
MARGIN_BYTES = 8 << 20
MARGIN_SHARE = 0.02


def make_ext4(
    root: Path, target: Path, exclude: Sequence[str], *, digest: str, epoch: int, log_file: Path
) -> None:
    """Pack a root tree.

    Args:
        root: Root tree.
        target: Image to write.
        exclude: Wildcards of what to leave out.
        digest: Hexadecimal digest of the tree, from which the identifiers are made.
        epoch: Time (seconds since 1970) of all that the tree has no time for.
        log_file: Where the output of the programs goes.
    """
    copy = target.with_name(f"{target.name}-tree")
    run(["cp", "--archive", "--reflink=auto", "--no-target-directory", root, copy])
    with open_tree(copy) as tree:
        leave_out(tree, exclude)
        # The removal has changed the times of folders.
        limit_times(tree, epoch)
        size_bytes, inodes = measure(tree)
    blocks = int(size_bytes * (1 + MARGIN_SHARE) + MARGIN_BYTES) // BLOCK_BYTES
    identifier, seed = (
        uuid.uuid5(uuid.NAMESPACE_OID, f"{digest} {name}") for name in ("fs", "seed")
    )
    mke2fs.write(
        copy,
        target,
        str(blocks),
        [
            *("-b", str(BLOCK_BYTES), "-I", str(INODE_BYTES)),
            *("-O", "^has_journal,^resize_inode"),
            *("-N", str(inodes + mke2fs.FIRST_INODE + 16)),
        ],
        extended=["nodiscard"],
        uuid=str(identifier),
        seed=str(seed),
        fields={"atime": f"@{epoch}", "ctime": f"@{epoch}"},
        epoch=epoch,
        log_file=log_file,
    )
    remove(copy)


def measure(tree: RootTree) -> tuple[int, int]:
    """Return the bytes that a tree takes in an ext4 file system, and its number of inodes.

    What the build host's file system says of the size of a folder does not count: it depends on
    that file system, and on what was in the folder before.
    """
    size_bytes, inodes = 0, 0
    listings = {"": 0}
    for path, found in tree.walk():
        inodes += 1
        size_bytes += INODE_BYTES
        above, _, name = path.rpartition("/")
        listings[above] += -(-(ENTRY_BYTES + len(os.fsencode(name))) // 4) * 4
        if stat.S_ISDIR(found.st_mode):
            listings[path] = 0
        elif stat.S_ISREG(found.st_mode) or (
            stat.S_ISLNK(found.st_mode) and found.st_size >= INLINE_LINK_BYTES
        ):
            size_bytes += blocks_of(found.st_size)
    # Entries and tails may leave much of a block empty, and a small folder takes one, too.
    size_bytes += sum(blocks_of(2 * each) + BLOCK_BYTES for each in listings.values())
    return size_bytes, inodes


def blocks_of(size_bytes: int) -> int:
    """Return the bytes of the blocks that some bytes take."""
    return -(-size_bytes // BLOCK_BYTES) * BLOCK_BYTES
