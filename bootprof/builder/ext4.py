# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""Packing a root tree as an ext4 file system, without a mount or a loop device.

The same tree gives the same bytes: identifiers come from a digest, and the times that mke2fs takes
from the build host's own inodes are overwritten.
"""

from __future__ import annotations

import re
import stat
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path

from bootprof.builder.root import limit_times
from bootprof.builder.roottree import RootTree, open_tree
from bootprof.files import remove
from bootprof.process import run

BLOCK_BYTES = 4096
INODE_BYTES = 256
# A link with a shorter target is stored in its inode (linux/ext4.h, EXT4_N_BLOCKS).
INLINE_LINK_BYTES = 60
# Not counted below: group descriptors, bitmaps, extent blocks, lost+found.
MARGIN_BYTES = 8 << 20
MARGIN_SHARE = 0.02
# Inodes that are no file's, but the root folder's: 2.
ROOT_INODE, FIRST_INODE = 2, 11
FREE_INODES = re.compile(rb"^  Free inodes: (.*)$", re.M)
INODE_COUNT = re.compile(rb"^Inode count: +(\d+)$", re.M)


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
        for pattern in exclude:
            for path in tree.glob(pattern):
                tree.remove(path)
        # The removal has changed the times of folders.
        limit_times(tree, epoch)
        size_bytes, inodes = measure(tree)
    blocks = int(size_bytes * (1 + MARGIN_SHARE) + MARGIN_BYTES) // BLOCK_BYTES
    identifier, seed = (
        uuid.uuid5(uuid.NAMESPACE_OID, f"{digest} {name}") for name in ("fs", "seed")
    )
    fixed = {"E2FSPROGS_FAKE_TIME": str(epoch), "SOURCE_DATE_EPOCH": str(epoch), "TZ": "UTC"}
    options = f"hash_seed={seed},lazy_itable_init=0,root_owner=0:0,nodiscard"
    command: list[str | Path] = [
        *("mke2fs", "-q", "-F", "-t", "ext4", "-b", str(BLOCK_BYTES), "-I", str(INODE_BYTES)),
        *("-O", "^has_journal,^resize_inode", "-m", "0", "-N", str(inodes + FIRST_INODE + 16)),
        *("-U", str(identifier), "-E", options, "-d", copy, target, str(blocks)),
    ]
    run(command, env=fixed, log_file=log_file)
    remove(copy)
    lines = [
        f"set_inode_field <{inode}> {field} @{epoch}\n"
        for inode in inodes_in_use(run(["dumpe2fs", target]))
        for field in ("atime", "ctime")
    ]
    script = target.with_name(f"{target.name}-times")
    script.write_text("".join(lines))
    run(["debugfs", "-w", "-f", script, target], env=fixed, log_file=log_file)
    script.unlink()


def measure(tree: RootTree) -> tuple[int, int]:
    """Return the bytes that a tree takes in an ext4 file system, and its number of inodes."""
    size_bytes, inodes = 0, 0
    for _, found in tree.walk():
        inodes += 1
        size_bytes += INODE_BYTES
        if stat.S_ISDIR(found.st_mode):
            size_bytes += max(found.st_size, BLOCK_BYTES) + BLOCK_BYTES
        elif stat.S_ISREG(found.st_mode) or (
            stat.S_ISLNK(found.st_mode) and found.st_size >= INLINE_LINK_BYTES
        ):
            size_bytes += -(-found.st_size // BLOCK_BYTES) * BLOCK_BYTES
    return size_bytes, inodes


def inodes_in_use(described: bytes) -> Iterator[int]:
    """Yield the inodes that files, folders and links have, from the output of dumpe2fs."""
    count = INODE_COUNT.search(described)
    assert count is not None
    free: set[int] = set()
    for line in FREE_INODES.findall(described):
        for part in line.split(b", "):
            first, _, last = part.partition(b"-")
            if first:
                free.update(range(int(first), int(last or first) + 1))
    yield ROOT_INODE
    yield from (inode for inode in range(FIRST_INODE, int(count[1]) + 1) if inode not in free)
