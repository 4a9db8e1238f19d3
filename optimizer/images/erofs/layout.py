# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""Layout of an EROFS image: which bytes of the image belong to which file and which metadata.

Start at :func:`read_layout`. Positions count from the start of the file system within this folder,
and from the start of the image file in what :class:`~optimizer.images.layout.Layout` offers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, ClassVar

import numpy as np
from numpy.typing import NDArray

from optimizer.formats.text import printable
from optimizer.images.erofs.clusters import Numbers, Runs, find_runs
from optimizer.images.erofs.extents import (
    KINDS,
    Extended,
    Kind,
    file_extents,
    find_extents,
    resolve_packed,
    shared_xattr_blocks,
)
from optimizer.images.erofs.format import (
    COMPRESSORS,
    MAGIC,
    SUPERBLOCK,
    SUPERBLOCK_OFFSET_BYTES,
    Content,
    Storage,
    Superblock,
    read_superblock,
)
from optimizer.images.erofs.inodes import read_inodes
from optimizer.images.erofs.tree import content_spans, walk
from optimizer.images.extents import ExtentKind, ExtentMap
from optimizer.images.layout import ENTRY_FIELDS, FileType, Format, Layout, Part, Rows
from optimizer.images.source import Source, read_from

if TYPE_CHECKING:
    from optimizer.images.reorder import Reordered, Repacking, Wanted

PATH = np.dtype([*ENTRY_FIELDS, ("block", "<i8")])
"""One path; ``block`` is the block of its directory that it is in, -1 for the root."""

LARGEST_TARGET_BYTES = 4096


@dataclass(frozen=True)
class ErofsLayout(Layout):
    """Layout of one EROFS image; the parts common to all formats are in :class:`Layout`.

    Attributes:
        superblock: As read.
        every_inode: ``inodes``, and behind them the packed inode if there is one.
        packed: Row of the packed inode there; -1 if there is none.
        runs: Contents of these.
        targets: Targets of symbolic links, by their rows.
        xattr_blocks: Blocks with shared extended attributes.
        xattr_owners: The inode of each of these.
    """

    format: ClassVar[str] = "erofs"
    kinds: ClassVar[Sequence[ExtentKind]] = KINDS
    superblock_offset_bytes: ClassVar[int] = SUPERBLOCK_OFFSET_BYTES
    metadata_is_together: ClassVar[bool] = False

    superblock: Superblock
    every_inode: Rows
    packed: int
    runs: Runs
    targets: dict[int, bytes] = field(repr=False)
    xattr_blocks: Numbers
    xattr_owners: Numbers
    extended: Extended
    pieces: Rows

    @property
    def extent_map(self) -> ExtentMap:
        """See :attr:`Layout.extent_map`."""
        return self.extended.map

    @property
    def file_extents(self) -> Rows:
        """See :attr:`Layout.file_extents`."""
        return self.pieces

    @cached_property
    def parts(self) -> Sequence[Part]:
        """One for each kind of metadata, wherever its blocks are."""
        extents = self.extent_map.extents
        found = []
        for kind in (Kind.SUPERBLOCK, Kind.INODES, Kind.DIRECTORIES, Kind.XATTRS):
            mine = extents[extents["kind"] == kind]
            if mine.size:
                length = int(mine["length_bytes"].sum())
                first = int(mine["offset_bytes"][0])
                found.append(Part(kind.label, first, length, int(mine.size), None))
        return found

    def symlink_target(self, inode: int) -> bytes:
        """See :meth:`Layout.symlink_target`."""
        return self.targets.get(inode, b"")

    def mount_extents(self) -> NDArray[np.int64]:
        """Return the superblock, and the inodes that the kernel reads at mount."""
        rows = set(self._metadata(0, 1))
        root = int(self.entries["inode"][0])
        rows.update(self.inode_extents(root))
        if self.packed >= 0:
            rows.update(self._of_inode(self.packed))
        return np.array(sorted(rows), np.int64)

    def lookup_extents(self, path: int) -> Sequence[int]:
        """Return the blocks that the binary search in the directory reads, and the inode."""
        entry = self.entries[path]
        block = int(entry["block"])
        searched: list[int] = []
        if block >= 0:
            blocks = self.listing_extents(int(self.entries["inode"][entry["parent"]]))
            low, high = 0, len(blocks) - 1
            while low <= high:
                middle = low + (high - low) // 2
                searched.append(blocks[middle])
                if middle <= block:
                    low = middle + 1
                else:
                    high = middle - 1
        return [*searched, *self._metadata(*self._inode_span(int(entry["inode"])))]

    def inode_extents(self, inode: int) -> Sequence[int]:
        """See :meth:`Layout.inode_extents`."""
        return self._metadata(*self._inode_span(inode))

    def listing_extents(self, inode: int) -> Sequence[int]:
        """See :meth:`Layout.listing_extents`."""
        if self.inodes["type"][inode] != FileType.DIRECTORY:
            return []
        first, last = np.searchsorted(self.runs.rows["inode"], [inode, inode + 1])
        rows: list[int] = self.extended.of_run[first:last].tolist()
        return rows

    def mapping_extents(self, inode: int) -> Sequence[int]:
        """Return the index behind the inode, and for a fragment the packed inode's."""
        rows = list(self._of_inode(inode))
        if self.packed >= 0 and bool(self._has_fragment[inode]):
            rows += self._of_inode(self.packed)
        return rows

    def xattr_extents(self, inode: int) -> Sequence[int]:
        """See :meth:`Layout.xattr_extents`."""
        first, last = np.searchsorted(self.xattr_owners, [inode, inode + 1])
        begin = self.xattr_blocks[first:last] << self.superblock.block_bits
        return [row for one in begin.tolist() for row in self._metadata(one, one + 1)]

    @cached_property
    def _has_fragment(self) -> NDArray[np.bool_]:
        found = np.zeros(self.inodes.size, bool)
        found[self.pieces["inode"][self.pieces["kind"] == Kind.PACKED]] = True
        return found

    def _inode_span(self, inode: int) -> tuple[int, int]:
        row = self.every_inode[inode]
        return int(row["position_bytes"]), int(row["body_bytes"])

    def _of_inode(self, inode: int) -> list[int]:
        position = int(self.every_inode["position_bytes"][inode])
        return self._metadata(position, int(self.runs.body_end_bytes[inode]))

    def _metadata(self, begin_bytes: int, end_bytes: int) -> list[int]:
        return self.extended.metadata_rows(begin_bytes, end_bytes, self.superblock.block_bits)


def read_layout(source: str | Path | BinaryIO, offset_bytes: int = 0) -> ErofsLayout:
    """Read the layout of an EROFS image, see :func:`optimizer.images.source.read_from`.

    Raises:
        FormatError: No EROFS, one with unsupported features, or a truncated or corrupt one; the
            message says where.
        OSError: The file cannot be read.
    """
    return read_from(source, offset_bytes, _read)


def _read(source: Source) -> ErofsLayout:
    superblock = read_superblock(source)
    content = Content(source, superblock.size_bytes)
    tree = walk(content, superblock)
    numbers, inode_of_path = np.unique(tree.numbers, return_inverse=True)
    count = numbers.size
    if superblock.packed:
        numbers = np.append(numbers, superblock.packed)
    every = read_inodes(content, superblock, numbers)
    inodes = every[:count]
    packed = count if superblock.packed else -1
    differing = np.flatnonzero(inodes["type"][inode_of_path] != tree.types)
    if differing.size:
        path = printable(tree.paths[int(differing[0])])
        source.fail(f"directory entry of {path}: its type is not that of the inode")
    runs = find_runs(content, superblock, every)
    pieces, run, inside = resolve_packed(content, superblock, runs, packed)
    regular = inodes["type"][pieces["inode"]] == FileType.FILE
    pieces, run, inside = pieces[regular], run[regular], inside[regular]
    xattr_blocks, xattr_owners = shared_xattr_blocks(content, superblock, inodes)
    in_packed = runs.rows["inode"][run] == packed
    extended = find_extents(
        content, superblock, every, packed, runs, xattr_blocks,
        pieces["inode"][in_packed], run[in_packed],
    )  # fmt: skip
    entries = np.empty(len(tree.paths), PATH)
    entries["inode"], entries["parent"], entries["block"] = (
        inode_of_path, tree.parents, tree.blocks,
    )  # fmt: skip
    return ErofsLayout(
        name=source.name,
        offset_bytes=source.offset_bytes,
        size_bytes=superblock.size_bytes,
        block_size_bytes=max(superblock.block_bytes, int(pieces["file_bytes"].max(initial=0))),
        compressor=_compressor(superblock, runs),
        made_seconds=superblock.made_seconds,
        superblock_bytes=source.read(SUPERBLOCK_OFFSET_BYTES, SUPERBLOCK.size, "superblock"),
        superblock=superblock,
        paths=tree.paths,
        entries=entries,
        inodes=inodes,
        every_inode=every,
        packed=packed,
        runs=runs,
        targets=_targets(content, superblock, inodes),
        xattr_blocks=xattr_blocks,
        xattr_owners=xattr_owners,
        extended=extended,
        pieces=file_extents(extended, pieces, run, inside, source.offset_bytes),
    )


def _compressor(superblock: Superblock, runs: Runs) -> str:
    used = np.unique(runs.rows["algorithm"])
    names = [COMPRESSORS[one] for one in used.tolist() if 0 <= one < len(COMPRESSORS)]
    return "+".join(names) or "none"


def _targets(content: Content, superblock: Superblock, inodes: Rows) -> dict[int, bytes]:
    found: dict[int, bytes] = {}
    links = inodes[inodes["type"] == FileType.SYMLINK]
    flat = np.isin(links["storage"], (Storage.PLAIN, Storage.INLINE))
    if not flat.all() or (links["size_bytes"] > LARGEST_TARGET_BYTES).any():
        content.source.fail("a symbolic link that is compressed, or of more than 4096 bytes")
    for row in np.flatnonzero(inodes["type"] == FileType.SYMLINK).tolist():
        spans = content_spans(superblock, inodes[row])
        found[row] = b"".join(content.span(*span, "target of a link") for span in spans)
    return found


def _measure(file: BinaryIO, name: str, offset_bytes: int, limit_bytes: int | None) -> int:
    return read_superblock(Source(file, name, offset_bytes, limit_bytes)).size_bytes


def _reorder(layout: ErofsLayout, source: BinaryIO, wanted: Wanted, target: BinaryIO) -> Reordered:
    # Most commands read images and do not write any.
    from optimizer.images.erofs.reorder import reorder_erofs

    return reorder_erofs(layout, source, wanted, target)


def _unequal(
    one: ErofsLayout, one_file: BinaryIO, other: ErofsLayout, other_file: BinaryIO
) -> str | None:
    from optimizer.images.erofs.verify import first_difference

    return first_difference(one, one_file, other, other_file)


def _repacking(layout: ErofsLayout, source: BinaryIO, wanted: Wanted) -> Repacking | None:
    from optimizer.images.erofs.repack import repacking_of

    return repacking_of(layout, source, wanted)


FORMAT = Format(
    name="erofs",
    magics=(MAGIC,),
    magic_offset_bytes=SUPERBLOCK_OFFSET_BYTES,
    measure=_measure,
    read=read_layout,
    reorder=_reorder,
    unequal=_unequal,
    repacking=_repacking,
)
