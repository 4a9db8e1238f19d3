# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""Layout of a squashfs image: which bytes of the image belong to which file and which table.

Start at :func:`read_layout`. Everything is in numpy structured arrays; all offsets count from
the start of the image file.

On-disk format: fs/squashfs/squashfs_fs.h of the Linux kernel, version 4.0.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, ClassVar

import numpy as np
from numpy.typing import NDArray

from optimizer.formats.text import printable
from optimizer.images.extents import ExtentKind, ExtentMap
from optimizer.images.layout import ENTRY_FIELDS, FileType, Format, Layout, Part, Rows
from optimizer.images.source import Source, read_from
from optimizer.images.squashfs.decompress import decompressor
from optimizer.images.squashfs.extents import KINDS, Extended, file_extents, find_extents
from optimizer.images.squashfs.format import (
    FOREIGN_MAGICS,
    FRAGMENTS_PER_METADATA_BLOCK,
    MAGIC,
    SUPERBLOCK,
    Kind,
    Superblock,
    Table,
    read_superblock,
)
from optimizer.images.squashfs.inodes import read_inodes
from optimizer.images.squashfs.tables import read_tables
from optimizer.images.squashfs.tree import Tree, walk

if TYPE_CHECKING:
    from optimizer.images.reorder import Reordered, Wanted

PATH = np.dtype(
    [
        *ENTRY_FIELDS,
        ("entry_offset_bytes", "<i8"),  # of the entry in the decompressed directory table
        ("entry_block", "<i8"),  # metadata block of the directory table; -1 for the root
    ]
)
"""One path."""

# Tables whose index is read at mount (fs/squashfs/super.c).
INDEXED = (Kind.FRAGMENT_TABLE, Kind.EXPORT_TABLE, Kind.XATTR_TABLE)
# Read whole at mount.
MOUNTED = (Kind.SUPERBLOCK, Kind.COMPRESSION_OPTIONS, Kind.ID_TABLE)


@dataclass(frozen=True)
class SquashfsLayout(Layout):
    """Layout of one squashfs image; the parts common to all formats are in :class:`Layout`.

    Attributes:
        superblock: As read; its positions count from the start of the squashfs.
        tables: All tables in their order on the image.
        blocks: Rows of :data:`optimizer.images.squashfs.inodes.BLOCK`, those of one inode together
            in the order of the file.
        fragments: Rows of :data:`optimizer.images.squashfs.tables.FRAGMENT`.
    """

    format: ClassVar[str] = "squashfs"
    kinds: ClassVar[Sequence[ExtentKind]] = KINDS

    superblock: Superblock
    tables: tuple[Table, ...]
    blocks: Rows
    fragments: Rows

    def table(self, kind: Kind) -> Table | None:
        """Return a table, or None if the image has none of this kind."""
        return next((table for table in self.tables if table.kind == kind), None)

    @cached_property
    def _extended(self) -> Extended:
        return find_extents(self.tables, self.blocks, self.fragments, self.inodes)

    @property
    def extent_map(self) -> ExtentMap:
        """See :attr:`Layout.extent_map`."""
        return self._extended.map

    @cached_property
    def file_extents(self) -> Rows:
        """See :attr:`Layout.file_extents`."""
        return file_extents(
            self._extended, self.block_size_bytes, self.blocks, self.fragments, self.inodes
        )

    @property
    def parts(self) -> Sequence[Part]:
        """See :attr:`Layout.parts`."""
        return [
            Part(
                table.kind.label,
                table.offset_bytes,
                table.length_bytes,
                int(table.blocks.size),
                len(table.inflated) or None,
            )
            for table in self.tables
        ]

    def symlink_target(self, inode: int) -> bytes:
        """See :meth:`Layout.symlink_target`."""
        row = self.inodes[inode]
        table = self.table(Kind.INODE_TABLE)
        if row["type"] != FileType.SYMLINK or table is None:
            return b""
        end = int(row["inflated_offset_bytes"] + row["inflated_bytes"]) - 4 * bool(row["extended"])
        return table.inflated[end - int(row["size_bytes"]) : end]

    def mount_extents(self) -> NDArray[np.int64]:
        """Return what the kernel reads at mount: see :data:`MOUNTED`, and the tables' indices."""
        extents = self.extent_map.extents
        index = np.isin(extents["kind"], INDEXED) & (extents["index"] == -1)
        return np.flatnonzero(index | np.isin(extents["kind"], MOUNTED))

    def lookup_extents(self, path: int) -> Sequence[int]:
        """Return the part of the directory's listing that is searched, and the inode.

        An extended directory has an index by name; any other is searched from its start.
        """
        entry = self.entries[path]
        block = int(entry["entry_block"])
        searched: Sequence[int] = ()
        if block >= 0:
            directory = self.inodes[self.entries["inode"][entry["parent"]]]
            first = block if directory["extended"] else int(directory["first_listing_block"])
            searched = self._metadata(Kind.DIRECTORY_TABLE, first, block)
        return [*searched, *self.inode_extents(int(entry["inode"]))]

    def inode_extents(self, inode: int) -> Sequence[int]:
        """See :meth:`Layout.inode_extents`."""
        row = self.inodes[inode]
        first, last = int(row["first_metadata_block"]), int(row["last_metadata_block"])
        return self._metadata(Kind.INODE_TABLE, first, last)

    def listing_extents(self, inode: int) -> Sequence[int]:
        """See :meth:`Layout.listing_extents`."""
        row = self.inodes[inode]
        first, last = int(row["first_listing_block"]), int(row["last_listing_block"])
        return self._metadata(Kind.DIRECTORY_TABLE, first, last) if first >= 0 else []

    def mapping_extents(self, inode: int) -> Sequence[int]:
        """Return the block of the fragment table that has the place of the file's tail."""
        fragment = int(self.inodes["fragment"][inode])
        block = fragment // FRAGMENTS_PER_METADATA_BLOCK
        return self._metadata(Kind.FRAGMENT_TABLE, block, block) if fragment >= 0 else []

    def xattr_extents(self, inode: int) -> Sequence[int]:
        """Return the whole table of extended attributes, if the inode has any."""
        has_any = bool(self.inodes["xattr"][inode] >= 0)
        return self._xattr_table if has_any else []

    @cached_property
    def _xattr_table(self) -> list[int]:
        kinds = self.extent_map.extents["kind"]
        rows: list[int] = np.flatnonzero(kinds == Kind.XATTR_TABLE).tolist()
        return rows

    def _metadata(self, kind: Kind, first: int, last: int) -> list[int]:
        rows: list[int] = self._extended.of_metadata[kind][first : last + 1].tolist()
        return rows


def read_layout(source: str | Path | BinaryIO, offset_bytes: int = 0) -> SquashfsLayout:
    """Read the layout of a squashfs 4.0 image, see :func:`optimizer.images.source.read_from`.

    Raises:
        FormatError: No squashfs, another version, or a truncated or corrupt one; the message
            says where.
        OSError: The file cannot be read.
    """
    return read_from(source, offset_bytes, _read)


def _read(source: Source) -> SquashfsLayout:
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
    return SquashfsLayout(
        name=source.name,
        offset_bytes=source.offset_bytes,
        size_bytes=superblock.size_bytes,
        block_size_bytes=superblock.block_size_bytes,
        compressor=superblock.compressor_name,
        made_seconds=superblock.mkfs_time,
        superblock_bytes=source.read(0, SUPERBLOCK.size, "superblock"),
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


def _measure(file: BinaryIO, name: str, offset_bytes: int, limit_bytes: int | None) -> int:
    return read_superblock(Source(file, name, offset_bytes, limit_bytes)).size_bytes


def _reorder(
    layout: SquashfsLayout, source: BinaryIO, wanted: Wanted, target: BinaryIO
) -> Reordered:
    # Most commands read images and do not write any.
    from optimizer.images.squashfs.reorder import reorder_squashfs

    return reorder_squashfs(layout, source, wanted, target)


def _unequal(
    one: SquashfsLayout, one_file: BinaryIO, other: SquashfsLayout, other_file: BinaryIO
) -> str | None:
    from optimizer.images.squashfs.verify import first_difference

    return first_difference(one, one_file, other, other_file)


FORMAT = Format(
    name="squashfs",
    magics=(MAGIC, *FOREIGN_MAGICS),
    magic_offset_bytes=0,
    measure=_measure,
    read=read_layout,
    reorder=_reorder,
    unequal=_unequal,
)
