# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""Reordering of a finished file system: the same content in another order, without recompressing.

A format that can be reordered has a function for it in its
:class:`~optimizer.images.layout.Format`. It writes the new file system to a file; nobody but the
caller replaces anything.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import BinaryIO, Literal

import numpy as np

from optimizer.errors import InputError
from optimizer.images.layout import FileType, Format, Layout
from optimizer.spans import Spans, make_spans

Place = Literal["start", "end"]


@dataclass(frozen=True, eq=False)
class Wanted:
    """The wanted order.

    Attributes:
        paths: Paths in the file system, in the order in which they are needed; symbolic links are
            followed, and what they lead through is needed, too.
        spans: Ranges of the image file in the order in which they are needed. They decide about
            content that no path names.
        place: Where the wanted content goes: in front of all other content, or behind it, next to
            the tables.
        room_bytes: How large the result may be; None for any size. If it gets larger, what has to
            be compressed again, and as much of the packed tails of other files as it takes, gets
            the highest level of the compressor, if that is higher than its own.
        even_if_slower: Also reorder what no order makes faster, as far as the format can tell.
        for_layout: Returns this order for another layout of the same tree, whose ranges are others;
            None if only the paths apply there.
    """

    paths: Sequence[bytes] = ()
    spans: Spans = field(default_factory=lambda: make_spans((), ()))
    place: Place = "end"
    room_bytes: int | None = None
    even_if_slower: bool = False
    for_layout: Callable[[Layout], Wanted] | None = None

    def of(self, layout: Layout) -> Wanted:
        """Return this order for another layout of the same tree, even if it gains nothing."""
        if self.for_layout is not None:
            return replace(self.for_layout(layout), even_if_slower=True)
        return Wanted(self.paths, place=self.place, even_if_slower=True)


@dataclass(frozen=True)
class Reordered:
    """What a reordering did.

    Attributes:
        size_before_bytes: Size of the file system before.
        size_bytes: Size of it now, with its padding to 4 KiB.
        placed_bytes: Wanted content, as it lies on the image.
        recompressed_bytes: Content that had to be compressed again.
        files: Regular files of which content was placed.
        missing: Paths that the file system does not have.
    """

    size_before_bytes: int
    size_bytes: int
    placed_bytes: int
    recompressed_bytes: int
    files: int
    missing: tuple[bytes, ...]


@dataclass(frozen=True)
class Needed:
    """What of a file system is needed, in order.

    Attributes:
        inodes: Rows of ``layout.inodes``, in the order of first need, each once: files,
            directories and links that lead to them.
        missing: Paths that the file system does not have.
    """

    inodes: list[int]
    missing: tuple[bytes, ...]


def needed_inodes(layout: Layout, wanted: Wanted) -> Needed:
    """Find the inodes that the paths need."""
    found: dict[int, None] = {}
    missing = []
    for path in wanted.paths:
        looked_at = layout.resolve(path)
        if looked_at is None:
            missing.append(path)
            continue
        found.update(dict.fromkeys(layout.entries["inode"][looked_at].tolist()))
    found.pop(int(layout.entries["inode"][0]), None)
    return Needed(list(found), tuple(missing))


def reorder(layout: Layout, source: BinaryIO, wanted: Wanted, target: BinaryIO) -> Reordered:
    """Write a file system in another order.

    Args:
        layout: Its layout.
        source: The image that it lies in.
        wanted: The order.
        target: An empty file that is open for reading and writing; the file system begins at its
            first byte.

    Raises:
        InputError: This format cannot be reordered.
        FormatError: The file system is damaged.
    """
    known = _format_of(layout)
    if known.reorder is None:
        raise InputError(
            f"{layout.name}: a file system of type {layout.format} cannot be reordered"
        )
    return known.reorder(layout, source, wanted, target)


@dataclass(frozen=True)
class TreeEntry:
    """An entry of a tree that is unpacked.

    Attributes:
        path: Without a slash at either end; empty for the root.
        mode: Type and permission bits.
        owner: User and group, as numbers.
        mtime_ns: Time of the last change, in nanoseconds since 1970.
        device: Major and minor number of a device.
        link: Target of a symbolic link.
        same_as: An earlier entry that this one is a hard link to, or empty.
        xattrs: Extended attributes.
        content: Of a regular file, in pieces.
    """

    path: bytes
    mode: int
    owner: tuple[int, int]
    mtime_ns: int
    device: tuple[int, int]
    link: bytes
    same_as: bytes
    xattrs: tuple[tuple[str, bytes], ...]
    content: Iterator[bytes]


@dataclass(frozen=True)
class Repacking:
    """How a file system is packed again in another order, by a program outside.

    Attributes:
        program: The program.
        needs: What its help has to list.
        hint: How to get such a program.
        arguments: Its arguments, in front of target and tree.
        entries: What the tree has, a folder before what is in it.
        finish: Gets what the program has written, open for reading and writing, and its name.
    """

    program: str
    needs: tuple[str, ...]
    hint: str
    arguments: tuple[str, ...]
    entries: Callable[[], Iterator[TreeEntry]]
    finish: Callable[[BinaryIO, Path], None]


def content_bytes(layout: Layout) -> int:
    """Return the bytes of all regular files, as an image states them."""
    files = layout.inodes[layout.inodes["type"] == FileType.FILE]
    # In Python's numbers: a size may be anything below 2^64, and their sum more.
    return sum(files["size_bytes"].tolist())


def repacking(layout: Layout, source: BinaryIO, wanted: Wanted) -> Repacking | None:
    """Return how a file system is packed again with the wanted files first.

    Args:
        layout: Its layout.
        source: The image that it lies in; it has to stay open.
        wanted: The order.

    Returns:
        None if the format has no such way, or not with this order.

    Raises:
        InputError: It cannot be packed again as it was.
    """
    known = _format_of(layout)
    return known.repacking and known.repacking(layout, source, wanted)


def unequal(one: Layout, one_file: BinaryIO, other: Layout, other_file: BinaryIO) -> str | None:
    """Compare two file systems of one format: the same tree, whatever the order.

    Returns:
        What differs first, for a person; None if nothing does.
    """
    known = _format_of(one)
    if known.unequal is None or other.format != one.format:
        return f"{one.format} and {other.format} cannot be compared"
    return known.unequal(one, one_file, other, other_file)


def _format_of(layout: Layout) -> Format:
    from optimizer.images.image import FORMATS

    return next(known for known in FORMATS if known.name == layout.format)


def covered_extents(layout: Layout, spans: Spans) -> list[int]:
    """Return the extents that spans overlap, in the order of the spans, each once."""
    rows = layout.overlaps(spans["offset_bytes"], spans["length_bytes"])["extent"]
    _, first = np.unique(rows, return_index=True)
    in_order: list[int] = rows[np.sort(first)].tolist()
    return in_order
