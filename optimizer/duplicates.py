# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""Files of a root that have the same content.

mksquashfs stores equal files once, where the first of them is written. With the hot files at the
end of the image, a duplicate that no boot reads is written long before, among the cold files, and
the boot has to seek there: so duplicates must get the priority of the hot file.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path


def find_duplicates(root: Path, paths: Iterable[bytes]) -> dict[bytes, list[bytes]]:
    """Find the files that have the content of some others.

    Only files of the size of a wanted one are read. Hard links are the same file for an image
    tool, so they are no duplicates; neither are empty files, which have no place on an image.

    Args:
        root: Root directory; the devices mounted below it are not entered.
        paths: Paths of regular files below the root, relative to it. Others are ignored.

    Returns:
        Wanted path → its duplicates that are not wanted themselves, sorted; a path without
        duplicates has no entry.
    """
    top = os.fsencode(root)
    wanted = dict.fromkeys(paths)
    sizes: dict[int, list[bytes]] = defaultdict(list)
    inodes = set()
    for path in wanted:
        try:
            status = os.lstat(os.path.join(top, path))  # noqa: PTH118 - paths are bytes
        except OSError:
            continue
        if stat.S_ISREG(status.st_mode) and status.st_size:
            sizes[status.st_size].append(path)
            inodes.add((status.st_dev, status.st_ino))
    strangers: dict[int, list[bytes]] = defaultdict(list)
    device = os.lstat(top).st_dev
    for folder, folders, names in os.walk(top):
        folders[:] = [
            name
            for name in folders
            if os.lstat(os.path.join(folder, name)).st_dev == device  # noqa: PTH118
        ]
        for name in names:
            full = os.path.join(folder, name)  # noqa: PTH118
            status = os.lstat(full)
            known = status.st_size in sizes and stat.S_ISREG(status.st_mode)
            if known and (status.st_dev, status.st_ino) not in inodes:
                strangers[status.st_size].append(os.path.relpath(full, top))
    duplicates: dict[bytes, list[bytes]] = {}
    for size_bytes, others in strangers.items():
        of_content = defaultdict(list)
        for path in others:
            of_content[content_digest(top, path)].append(path)
        for path in sizes[size_bytes]:
            if found := of_content.pop(content_digest(top, path), None):
                duplicates[path] = sorted(found)
    return duplicates


def content_digest(top: bytes, path: bytes) -> bytes:
    """Return a digest of a file's content."""
    with open(os.path.join(top, path), "rb") as stream:  # noqa: PTH118, PTH123
        return hashlib.file_digest(stream, "blake2b").digest()
