# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""The files of a root tree spread over several images, each below a limit (4 GB for FAT32).

Every image has all folders; live-boot joins them with overlayfs, in which folders add up.
"""

from __future__ import annotations

import re
import stat
from collections.abc import Sequence

from bootprof.builder.roottree import RootTree

# Parts are packed to this share of the limit on average: files compress differently well.
FILLED = 0.8
WILDCARD = re.compile(r"([*?\[\]\\!+@()|])")


def count_for(size_bytes: int, limit_bytes: int) -> int:
    """Return how many parts an image of a size needs."""
    return 1 if size_bytes <= limit_bytes else -int(-size_bytes // (limit_bytes * FILLED))


def spread(tree: RootTree, count: int, first: Sequence[str] = ()) -> list[list[str]]:
    """Spread the files of a tree over parts that are about equally large.

    Args:
        tree: Root tree.
        count: Number of parts.
        first: Paths of files that go to the first parts, for example those that a boot reads.

    Returns:
        The files of each part. All names of a file are in one part; folders are in none.
    """
    sizes: dict[tuple[int, int], int] = {}
    names: dict[tuple[int, int], list[str]] = {}
    places: dict[str, tuple[int, int]] = {}
    for path, found in tree.walk():
        if not stat.S_ISDIR(found.st_mode):
            file = (found.st_dev, found.st_ino)
            sizes[file] = found.st_size if stat.S_ISREG(found.st_mode) else 0
            names.setdefault(file, []).append(path)
            places[path] = file
    order = dict.fromkeys([places[path] for path in first if path in places])
    order.update(dict.fromkeys(places[path] for path in sorted(places)))
    whole = sum(sizes.values()) or 1
    parts: list[list[str]] = [[] for _ in range(count)]
    done = 0
    for file in order:
        parts[min(done * count // whole, count - 1)] += names[file]
        done += sizes[file]
    return parts


def patterns(paths: Sequence[str]) -> tuple[str, ...]:
    """Return wildcards of mksquashfs, one a line of a file, that match these paths only.

    A name with a line break cannot be in such a file: it stays in every part.
    """
    return tuple(WILDCARD.sub(r"\\\1", path) for path in paths if "\n" not in path)
