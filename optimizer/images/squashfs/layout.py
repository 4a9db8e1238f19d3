"""Layout of a squashfs image: which bytes of the image belong to which file and which table.

:func:`read_layout` is the way in. Everything is in numpy structured arrays; all offsets count from
the start of the image file, also where the squashfs is a part of it (in an ISO, say), so that they
can be compared with a block trace.

On-disk format: fs/squashfs/squashfs_fs.h of the Linux kernel, version 4.0.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import ArrayLike, NDArray

from optimizer.errors import InputError
from optimizer.formats.text import printable
from optimizer.images.squashfs.decompress import decompressor
from optimizer.images.squashfs.extents import EXTENT, OVERLAP, ExtentMap, build_extent_map
from optimizer.images.squashfs.format import (
    InodeType,
    Kind,
    Rows,
    Source,
    Superblock,
    Table,
    read_superblock,
    source_name,
)
from optimizer.images.squashfs.inodes import BLOCK, INODE, read_inodes
from optimizer.images.squashfs.tables import FRAGMENT, read_tables
from optimizer.images.squashfs.tree import Tree, walk

__all__ = [
    "BLOCK",
    "EXTENT",
    "FILE_EXTENT",
    "FRAGMENT",
    "INODE",
    "OVERLAP",
    "PATH",
    "ExtentMap",
    "InodeType",
    "Kind",
    "Layout",
    "Table",
    "read_layout",
]

# One path. Hard links are several paths with one inode.
PATH = np.dtype(
    [
        ("inode", "<i8"),  # in Layout.inodes
        ("parent", "<i8"),  # index of the directory's path; the root is its own parent
        ("entry_offset_bytes", "<i8"),  # of the entry in the decompressed directory table
        ("entry_block", "<i8"),  # metadata block of the directory table; -1 for the root
    ]
)

# One piece of one file, in the order of the file.
FILE_EXTENT = np.dtype(
    [
        ("kind", "u1"),  # Kind.BLOCK or Kind.FRAGMENT
        ("index", "<i8"),  # in Layout.blocks or Layout.fragments
        ("offset_bytes", "<i8"),  # on the image; of a hole: 0
        ("length_bytes", "<i8"),  # compressed; of a hole: 0
        ("stored", "?"),  # not compressed
        ("file_offset_bytes", "<i8"),  # where its first byte stands in the file
        ("file_bytes", "<i8"),  # bytes of the file that it holds
        ("inner_offset_bytes", "<i8"),  # where they begin in the decompressed block
    ]
)


@dataclass(frozen=True)
class Layout:
    """Where everything lies on one squashfs image.

    Attributes:
        name: Path of the image, for messages.
        offset_bytes: Where the squashfs begins in the image file.
        superblock: As read; its positions count from the start of the squashfs.
        tables: All tables in the order in which they lie on the image.
        paths: Absolute paths as bytes, the root ``b"/"`` first, then directory by directory.
        entries: One row of :data:`PATH` for each of ``paths``.
        inodes: Rows of :data:`INODE` in the order of the inode table.
        blocks: Rows of :data:`BLOCK`, those of one inode together in the order of the file.
        fragments: Rows of :data:`FRAGMENT`.
    """

    name: str
    offset_bytes: int
    superblock: Superblock
    tables: tuple[Table, ...]
    paths: list[bytes]
    entries: Rows
    inodes: Rows
    blocks: Rows
    fragments: Rows

    @property
    def block_size_bytes(self) -> int:
        """Largest number of a file's bytes in one block."""
        return self.superblock.block_size_bytes

    @property
    def size_bytes(self) -> int:
        """Bytes of the squashfs, without padding."""
        return self.superblock.size_bytes

    def table(self, kind: Kind) -> Table | None:
        """Return a table, or None if the image has none of this kind."""
        return next((table for table in self.tables if table.kind == kind), None)

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
    def _by_number(self) -> tuple[NDArray[np.int64], NDArray[np.uint32]]:
        order = np.argsort(self.inodes["number"], kind="stable")
        return order, self.inodes["number"][order]

    @cached_property
    def extent_map(self) -> ExtentMap:
        """All extents of the image sorted by offset, and the files that own them."""
        return build_extent_map(self.tables, self.blocks, self.fragments, self.inodes)

    def paths_of(self, inode: int) -> list[bytes]:
        """Return all paths (hard links) of an inode, given as its index in ``inodes``."""
        order, first = self.paths_by_inode
        return [self.paths[index] for index in order[first[inode] : first[inode + 1]]]

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

    def inodes_by_number(self, numbers: ArrayLike) -> NDArray[np.int64]:
        """Return the indices in ``inodes`` of inode numbers as a kernel shows them; -1: none."""
        wanted = np.asarray(numbers, np.int64)
        order, ordered = self._by_number
        place = np.minimum(np.searchsorted(ordered, wanted), ordered.size - 1)
        return np.where(ordered[place] == wanted, order[place], -1)

    def symlink_target(self, inode: int) -> bytes:
        """Return where a symbolic link points; empty for any other inode."""
        row = self.inodes[inode]
        table = self.table(Kind.INODE_TABLE)
        if row["type"] != InodeType.SYMLINK or table is None:
            return b""
        end = int(row["inflated_offset_bytes"] + row["inflated_bytes"]) - 4 * bool(row["extended"])
        return table.inflated[end - int(row["size_bytes"]) : end]

    def extents_of(self, path: bytes) -> Rows:
        """Return the :data:`FILE_EXTENT` rows of a path.

        Raises:
            InputError: The image has no such path.
        """
        return self.extents_of_inode(self.inode_of(path))

    def extents_of_inode(self, inode: int) -> Rows:
        """Return the :data:`FILE_EXTENT` rows of an inode, given as its index in ``inodes``."""
        row = self.inodes[inode]
        first, count = int(row["first_block"]), int(row["block_count"])
        blocks = self.blocks[first : first + count]
        in_fragment = int(row["fragment_bytes"]) > 0
        extents = np.zeros(count + in_fragment, FILE_EXTENT)
        full = extents[:count]
        full["kind"] = Kind.BLOCK
        full["index"] = np.arange(first, first + count)
        full["length_bytes"] = blocks["length_bytes"]
        full["offset_bytes"] = np.where(blocks["length_bytes"] > 0, blocks["offset_bytes"], 0)
        full["stored"] = blocks["stored"]
        full["file_offset_bytes"] = np.arange(count) * self.block_size_bytes
        size_bytes = int(row["size_bytes"])
        full["file_bytes"] = np.minimum(
            self.block_size_bytes, size_bytes - full["file_offset_bytes"]
        )
        if in_fragment:
            fragment = self.fragments[row["fragment"]]
            tail = extents[count:]
            tail["kind"] = Kind.FRAGMENT
            tail["index"] = row["fragment"]
            tail["offset_bytes"] = fragment["offset_bytes"]
            tail["length_bytes"] = fragment["length_bytes"]
            tail["stored"] = fragment["stored"]
            tail["file_offset_bytes"] = count * self.block_size_bytes
            tail["file_bytes"] = row["fragment_bytes"]
            tail["inner_offset_bytes"] = row["fragment_offset_bytes"]
        return extents

    def overlaps(self, offsets_bytes: ArrayLike, lengths_bytes: ArrayLike) -> Rows:
        """Map reads of the image to what they overlap, see :meth:`ExtentMap.overlaps`."""
        return self.extent_map.overlaps(offsets_bytes, lengths_bytes)


def read_layout(source: str | Path | BinaryIO, offset_bytes: int = 0) -> Layout:
    """Read the layout of a squashfs 4.0 image.

    Args:
        source: Path of the image, or an open binary file that can seek (it stays open).
        offset_bytes: Where the squashfs begins in it; see
            :func:`optimizer.images.iso9660.find_squashfs` for ISO and disk images.

    Raises:
        FormatError: No squashfs, another version, or a truncated or corrupt one; the message
            says where.
        OSError: The file cannot be read.
    """
    name = source_name(source)
    if isinstance(source, str | Path):
        with Path(source).open("rb") as file:
            return _read(Source(file, name, offset_bytes))
    return _read(Source(source, name, offset_bytes))


def _read(source: Source) -> Layout:
    superblock = read_superblock(source)
    tables = read_tables(source, superblock, decompressor(superblock.compressor))
    inode_table = tables.table(Kind.INODE_TABLE)
    directory_table = tables.table(Kind.DIRECTORY_TABLE)
    assert inode_table is not None and directory_table is not None  # read_tables() raised if not
    tree = walk(source, superblock, inode_table, directory_table)
    positions, first, inode_of_path = np.unique(
        tree.inode_offsets, return_index=True, return_inverse=True
    )
    inodes, blocks = read_inodes(source, superblock, tables, positions, tree.types[first])
    differing = np.flatnonzero(inodes["type"][inode_of_path] != tree.types)
    if differing.size:
        path = printable(tree.paths[int(differing[0])])
        source.fail(f"directory entry of {path}: its type is not that of the inode")
    return Layout(
        name=source.name,
        offset_bytes=source.offset_bytes,
        superblock=superblock,
        tables=tables.tables,
        paths=tree.paths,
        entries=_entries(tree, inode_of_path, directory_table),
        inodes=inodes,
        blocks=blocks,
        fragments=tables.fragments,
    )


def _entries(tree: Tree, inode_of_path: NDArray[np.int64], directory_table: Table) -> Rows:
    entries = np.empty(len(tree.paths), PATH)
    entries["inode"] = inode_of_path
    entries["parent"] = tree.parents
    entries["entry_offset_bytes"] = tree.entry_offsets
    starts = directory_table.blocks["inflated_offset_bytes"]
    entries["entry_block"] = np.searchsorted(starts, tree.entry_offsets, side="right") - 1
    return entries
