# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""Writing ext4 file systems from a folder, the same bytes each time.

mke2fs takes the inodes' change and access times from those of the build host's files, which no
program can set. They are overwritten afterwards.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from bootprof.process import run

# Inodes that are no file's, but the root folder's: 2.
ROOT_INODE, FIRST_INODE = 2, 11
FREE_INODES = re.compile(rb"^  Free inodes: (.*)$", re.M)
INODE_COUNT = re.compile(rb"^Inode count: +(\d+)$", re.M)


def write(
    tree: Path,
    target: Path,
    size: str,
    options: Sequence[str],
    *,
    extended: Sequence[str],
    uuid: str,
    seed: str,
    fields: Mapping[str, str],
    epoch: int,
    log_file: Path | None = None,
) -> None:
    """Write an ext4 file system with the content of a folder.

    Args:
        tree: The folder.
        target: Image to write.
        size: Its size, as mke2fs takes it.
        options: Further arguments of mke2fs.
        extended: Further extended options (``-E``) of mke2fs.
        uuid: Identifier of the file system.
        seed: Identifier from which the hashes of names in folders are made.
        fields: What is set in each inode, by the names of debugfs.
        epoch: Time of the file system itself (seconds since 1970).
        log_file: Where the output of the programs goes.
    """
    fixed = {"E2FSPROGS_FAKE_TIME": str(epoch), "SOURCE_DATE_EPOCH": str(epoch), "TZ": "UTC"}
    settings = (f"hash_seed={seed}", "lazy_itable_init=0", "root_owner=0:0", *extended)
    command: list[str | Path] = [
        *("mke2fs", "-q", "-F", "-t", "ext4", "-m", "0", "-U", uuid, *options),
        *("-E", ",".join(settings), "-d", tree, target, size),
    ]
    run(command, env=fixed, log_file=log_file)
    script = "".join(
        f"set_inode_field <{inode}> {field} {value}\n"
        for inode in inodes_in_use(run(["dumpe2fs", target]))
        for field, value in fields.items()
    )
    run(["debugfs", "-w", "-f", "-", target], stdin=script.encode(), env=fixed, log_file=log_file)


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
