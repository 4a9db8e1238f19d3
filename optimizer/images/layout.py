# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""Layout of an image: what every file system format offers to the rest of bootprof.

A format is a folder next to this module. It has a :class:`Format`, by which
:func:`optimizer.images.image.open_image` detects it, and a subclass of :class:`Layout`: names,
inodes, the places of file contents, and the metadata that the kernel reads for each operation. Code
outside this package uses nothing else of a format.

All offsets are relative to the start of the image file, even if the file system is a part of it
(for example in an ISO), so that they can be compared with a block trace.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import IntEnum
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from optimizer.errors import InputError
from optimizer.formats.text import printable
from optimizer.images.extents import CONTENT, ExtentKind, ExtentMap, Role
from optimizer.kernel import LINK_LIMIT
from optimizer.spans import Spans

if TYPE_CHECKING:
    from optimizer.images.reorder import Reordered, Repacking, Wanted

Rows = NDArray[np.void]
"""Rows of a structured array; its fields are those of the dtype that it is made with."""


class FileType(IntEnum):
    """Types of an inode."""

    DIRECTORY = 1
    FILE = 2
    SYMLINK = 3
    BLOCK_DEVICE = 4
    CHARACTER_DEVICE = 5
    FIFO = 6
    SOCKET = 7

    @property
    def label(self) -> str:
        """The readable name, for example "block device"."""
        return self.name.lower().replace("_", " ")


# Fields of an inode in every format; a format may have more. Unused fields of a type are 0.
INODE_FIELDS = (
    ("number", "<u8"),  # as the kernel shows it (i_ino, st_ino)
    ("type", "u1"),  # FileType
    ("mode", "<u2"),  # permission bits only
    ("uid", "<u4"),
    ("gid", "<u4"),
    ("mtime", "<i8"),  # seconds since 1970
    ("nlink", "<u4"),
    ("size_bytes", "<i8"),  # of a file, a symlink's target or a directory's listing
    ("rdev", "<u4"),
)

# Fields of a path in every format; a format may have more. Hard links are several paths with one
# inode.
ENTRY_FIELDS = (
    ("inode", "<i8"),  # in Layout.inodes
    ("parent", "<i8"),  # index of the directory's path; the root is its own parent
)

FILE_EXTENT = np.dtype(
    [
        ("inode", "<i8"),  # in Layout.inodes
        ("extent", "<i8"),  # in Layout.extent_map.extents; -1 for a hole
        ("role", "u1"),  # of the extent; of a hole: DATA
        ("kind", "u1"),  # in Layout.kinds
        ("index", "<i8"),  # which one of its kind, as the format counts
        ("offset_bytes", "<i8"),  # on the image; of a hole: 0
        ("length_bytes", "<i8"),  # on the image, of all that has to be read; of a hole: 0
        ("stored", "?"),  # not compressed
        ("file_offset_bytes", "<i8"),  # offset of its first byte in the file
        ("file_bytes", "<i8"),  # bytes of the file in it
        ("inner_offset_bytes", "<i8"),  # where they begin in the decompressed extent
    ]
)
"""One piece of one file: a run of its bytes that comes from one extent of the image. The extent is
content (Role.DATA, Role.PACKED), or metadata where a format stores short contents there."""


@dataclass(frozen=True)
class Part:
    """A table of the file system, or another part of it that is no content of files.

    Attributes:
        label: Its name.
        offset_bytes: Start on the image file.
        length_bytes: Length on the image.
        blocks: Number of metadata blocks in it.
        inflated_bytes: Size after decompression, None if nothing decompressed it.
    """

    label: str
    offset_bytes: int
    length_bytes: int
    blocks: int
    inflated_bytes: int | None


@dataclass(frozen=True)
class Layout(ABC):
    """Layout of one file system on an image.

    Attributes:
        name: Path of the image, for messages.
        offset_bytes: Where the file system begins in the image file.
        size_bytes: Bytes of the file system, without padding.
        block_size_bytes: Largest number of a file's bytes in one extent.
        compressor: Name of the compressor.
        made_seconds: When it was made, in seconds since 1970.
        superblock_bytes: The superblock in its raw form, by which a program that runs
            in a boot recognises the very file system.
        paths: Absolute paths as bytes, the root ``b"/"`` first, a directory before its entries.
        entries: One row for each of ``paths``, with :data:`ENTRY_FIELDS`.
        inodes: Rows with :data:`INODE_FIELDS`.
    """

    format: ClassVar[str]
    """Name of the format, as the kernel names it."""
    kinds: ClassVar[Sequence[ExtentKind]]
    """Kinds of extents that the format has."""
    superblock_offset_bytes: ClassVar[int] = 0
    """From the start of the file system."""
    metadata_is_together: ClassVar[bool] = True
    """Whether the metadata is in one place, so that all of it is read in one go."""

    name: str
    offset_bytes: int
    size_bytes: int
    block_size_bytes: int
    compressor: str
    made_seconds: int
    superblock_bytes: bytes
    paths: list[bytes]
    entries: Rows
    inodes: Rows

    @property
    @abstractmethod
    def extent_map(self) -> ExtentMap:
        """All extents of the file system sorted by offset, and the files that own them."""

    @property
    @abstractmethod
    def file_extents(self) -> Rows:
        """The pieces of all files: rows of :data:`FILE_EXTENT`, by inode, then in the file."""

    @property
    @abstractmethod
    def parts(self) -> Sequence[Part]:
        """The tables in their order on the image."""

    @abstractmethod
    def symlink_target(self, inode: int) -> bytes:
        """Return where a symbolic link points; empty for any other inode."""

    @abstractmethod
    def mount_extents(self) -> NDArray[np.int64]:
        """Return the rows of ``extent_map.extents`` that the kernel reads at mount."""

    @abstractmethod
    def lookup_extents(self, path: int) -> Sequence[int]:
        """Return the metadata extents that are read to look up a path in its directory.

        That is what the kernel searches of the directory, and then the inode. The directory's own
        look-up is not in it.

        Args:
            path: Index in ``paths``.
        """

    @abstractmethod
    def inode_extents(self, inode: int) -> Sequence[int]:
        """Return the metadata extents that hold an inode."""

    @abstractmethod
    def listing_extents(self, inode: int) -> Sequence[int]:
        """Return the metadata extents that are read to list a directory; none for other types."""

    @abstractmethod
    def mapping_extents(self, inode: int) -> Sequence[int]:
        """Return the metadata extents, beyond the inode, that locate the content of a file."""

    @abstractmethod
    def xattr_extents(self, inode: int) -> Sequence[int]:
        """Return the metadata extents that may be read for the extended attributes of an inode."""

    @property
    def tables_offset_bytes(self) -> int:
        """Offset of the metadata behind all content, else the end of the file system."""
        extents = self.extent_map.extents
        ends = extents["offset_bytes"] + extents["length_bytes"]
        behind = int(ends[self.is_content].max(initial=self.offset_bytes))
        is_table = ~self.is_content & (extents["role"] != Role.MOUNT)
        offsets = extents["offset_bytes"][is_table & (extents["offset_bytes"] >= behind)]
        return int(offsets.min(initial=self.offset_bytes + self.size_bytes))

    @property
    def content_offset_bytes(self) -> int:
        """Where on the image the content begins; the end of the metadata if there is none."""
        offsets = self.extent_map.extents["offset_bytes"][self.is_content]
        return int(offsets.min(initial=self.tables_offset_bytes))

    @cached_property
    def is_content(self) -> NDArray[np.bool_]:
        """Return for each row of ``extent_map.extents`` whether it holds contents of files."""
        return np.isin(self.extent_map.extents["role"], CONTENT)

    @cached_property
    def path_index(self) -> dict[bytes, int]:
        """Index in ``paths`` of every path."""
        return {path: index for index, path in enumerate(self.paths)}

    @cached_property
    def paths_by_inode(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """All paths of inode i are ``order[first[i]:first[i + 1]]``, as (order, first)."""
        order = np.argsort(self.entries["inode"], kind="stable")
        counts = np.bincount(self.entries["inode"], minlength=self.inodes.size)
        return order, np.concatenate(([0], np.cumsum(counts)))

    @cached_property
    def first_file_extent(self) -> NDArray[np.int64]:
        """Pieces of inode i are ``file_extents[first[i]:first[i + 1]]``, with this as first."""
        counts = np.bincount(self.file_extents["inode"], minlength=self.inodes.size)
        return np.concatenate(([0], np.cumsum(counts)))

    def paths_of(self, inode: int) -> list[bytes]:
        """Return all paths (hard links) of an inode, given as its index in ``inodes``."""
        order, first = self.paths_by_inode
        return [self.paths[index] for index in order[first[inode] : first[inode + 1]]]

    def paths_by_position(self) -> list[tuple[bytes, bool, int]]:
        """Return all paths in the order of their content on the image.

        Directories come first, in their order, then files without content. Files with the same
        content keep their order.

        Returns:
            For each path: itself, whether it is a directory, and where its first piece is on the
            image, in bytes; -1 if it has none.
        """
        first = np.full(self.inodes.size, -1, np.int64)
        pieces = self.file_extents[self.file_extents["extent"] >= 0][::-1]
        # Of several values for one inode, the last assignment counts: its first piece.
        first[pieces["inode"]] = pieces["offset_bytes"]
        is_folder = self.inodes["type"] == FileType.DIRECTORY
        inode = self.entries["inode"]
        order = np.lexsort((first[inode], ~is_folder[inode]))
        return [
            (self.paths[row], bool(is_folder[inode[row]]), int(first[inode[row]])) for row in order
        ]

    def index_of(self, path: bytes) -> int:
        """Return the index in ``paths`` of a path; symbolic links are not followed.

        Raises:
            InputError: The image has no such path.
        """
        clean = b"/" + b"/".join(part for part in path.split(b"/") if part not in (b"", b"."))
        index = self.path_index.get(clean)
        if index is None:
            raise InputError(
                f"{self.name}: no file {printable(clean)} in the image",
                hint="paths are absolute in the image; `bootprof layout IMAGE --tsv` lists them",
            )
        return index

    def inode_of(self, path: bytes) -> int:
        """Return the index in ``inodes`` of a path; symbolic links are not followed.

        Raises:
            InputError: The image has no such path.
        """
        return int(self.entries["inode"][self.index_of(path)])

    def resolve(self, path: bytes) -> list[int] | None:
        """Find a path, following symbolic links as the kernel does.

        Returns:
            Indices in ``paths`` of all that is looked up, links and directories included, the
            file last; None if the image has no such path.
        """
        index, visited, links = 0, [0], 0
        pending = path.split(b"/")[::-1]
        while pending:
            name = pending.pop()
            if name in (b"", b"."):
                continue
            if name == b"..":
                index = int(self.entries["parent"][index])
                continue
            child = self.path_index.get(self.paths[index].rstrip(b"/") + b"/" + name)
            if child is None:
                return None
            visited.append(child)
            inode = int(self.entries["inode"][child])
            if self.inodes["type"][inode] != FileType.SYMLINK:
                index = child
                continue
            links += 1
            if links > LINK_LIMIT:
                return None
            target = self.symlink_target(inode)
            if target.startswith(b"/"):
                index = 0
            pending += target.split(b"/")[::-1]
        visited.append(index)
        return visited

    def extents_of(self, path: bytes) -> Rows:
        """Return the :data:`FILE_EXTENT` rows of a path.

        Raises:
            InputError: The image has no such path.
        """
        return self.extents_of_inode(self.inode_of(path))

    def extents_of_inode(self, inode: int) -> Rows:
        """Return the :data:`FILE_EXTENT` rows of an inode, given as its index in ``inodes``."""
        first = self.first_file_extent
        return self.file_extents[first[inode] : first[inode + 1]]

    def overlaps(self, offsets_bytes: ArrayLike, lengths_bytes: ArrayLike) -> Spans:
        """Map reads of the image to overlapping extents, see :meth:`ExtentMap.overlaps`."""
        return self.extent_map.overlaps(offsets_bytes, lengths_bytes)


@dataclass(frozen=True)
class Format:
    """A file system format: how to recognise it in an image, and how to read its layout.

    Attributes:
        name: As the kernel names it in /proc/filesystems: ``squashfs``.
        magics: Magic numbers at ``magic_offset_bytes``; a scan searches for the first one, the
            others belong to relatives that ``measure`` refuses with a reason.
        magic_offset_bytes: From the start of the file system; a multiple of 512.
        measure: Returns the size of the file system in bytes by its superblock. Its arguments are
            the image, its name for messages, the offset of the file system in the image, and the
            number of bytes that it may have (None: to the end of the image). Raises FormatError if
            the superblock makes no sense.
        read: Reads the layout of the file system at an offset of an image. Raises FormatError.
        reorder: Writes the file system in another order, see
            :func:`optimizer.images.reorder.reorder`; None if the format cannot be reordered.
        unequal: Compares two, see :func:`optimizer.images.reorder.unequal`.
        repacking: Says how one is packed again, see :func:`optimizer.images.reorder.repacking`.
    """

    name: str
    magics: tuple[bytes, ...]
    magic_offset_bytes: int
    measure: Callable[[BinaryIO, str, int, int | None], int]
    read: Callable[[Path, int], Layout]
    reorder: Callable[[Any, BinaryIO, Wanted, BinaryIO], Reordered] | None = None
    unequal: Callable[[Any, BinaryIO, Any, BinaryIO], str | None] | None = None
    repacking: Callable[[Any, BinaryIO, Wanted], Repacking | None] | None = None
