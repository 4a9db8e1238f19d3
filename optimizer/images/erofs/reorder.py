# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""Reordering of an EROFS: its blocks are moved, and every address of one is renewed.

Nothing is compressed again, so the size stays. Metadata blocks move, too: the inodes of the
directories on the way to the wanted files lie all over an image, and with contents alone in another
order a boot gains nothing. A large file is moved by parts, one for each address in its index.
"""

from __future__ import annotations

import mmap
import os
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from optimizer.errors import MixedError
from optimizer.images.erofs.clusters import Numbers
from optimizer.images.erofs.format import SLOT_BYTES, SUPERBLOCK_OFFSET_BYTES, Content, Superblock
from optimizer.images.erofs.layout import ErofsLayout
from optimizer.images.erofs.tree import ENTRY, content_spans
from optimizer.images.erofs.units import Units, address_spans, find_units
from optimizer.images.extents import Role
from optimizer.images.layout import FileType
from optimizer.images.reorder import Needed, Reordered, Wanted, covered_extents, needed_inodes
from optimizer.images.source import Source, copy_span

HAS_CHECKSUM = 0x1
CHECKSUM_OFFSET_BYTES = SUPERBLOCK_OFFSET_BYTES + 4
ROOT_OFFSET_BYTES = SUPERBLOCK_OFFSET_BYTES + 14
BLOCKS_OFFSET_BYTES = SUPERBLOCK_OFFSET_BYTES + 36
"""Of the number of blocks, and behind it the block of metadata and that of shared xattrs."""
PACKED_OFFSET_BYTES = SUPERBLOCK_OFFSET_BYTES + 96
LARGEST_ROOT = 0xFFFF
# Below it, clusters of 1 MiB with all files in them (-Eall-fragments) were read slower from a CD.
MIXED_SHARE = 0.5
CRC32C = 0x82F63B78


@dataclass(frozen=True)
class Plan:
    """The new order of units.

    Attributes:
        units: Rows of :class:`Units`, in their new order.
        wanted: Those that the boot needs.
        block: For each old block its new one, -1 for unused ones.
        block_count: Of the result.
    """

    units: Numbers
    wanted: Numbers
    block: Numbers
    block_count: int

    def moved(self, offsets_bytes: Numbers, bits: int) -> Numbers:
        """Return where bytes of the old file system are in the new one."""
        inside = offsets_bytes & ((1 << bits) - 1)
        return np.asarray((self.block[offsets_bytes >> bits] << bits) + inside, np.int64)


def reorder_erofs(
    layout: ErofsLayout, source: BinaryIO, wanted: Wanted, target: BinaryIO
) -> Reordered:
    """Write an EROFS in another order, see :func:`optimizer.images.reorder.reorder`."""
    superblock, begin = layout.superblock, layout.offset_bytes
    content = Content(Source(source, layout.name, begin), superblock.size_bytes)
    _check_checksum(content, superblock)
    needed = needed_inodes(layout, wanted)
    units = find_units(layout, content.source)
    if not wanted.even_if_slower:
        _refuse_mixed(layout, needed, wanted)
    plan = make_plan(layout, units, needed, wanted)
    bits = superblock.block_bits
    first, end = units.first_block.tolist(), units.end_block.tolist()
    for unit in plan.units.tolist():
        size = (end[unit] - first[unit]) << bits
        copy_span(source, begin + (first[unit] << bits), size, target)
    target.flush()
    with mmap.mmap(target.fileno(), plan.block_count << bits) as written:
        _renew(layout, content, plan, np.frombuffer(written, np.uint8))
        _write_superblock(layout, plan, written)
    renew_checksum(superblock, target)
    target.seek(0, os.SEEK_END)
    sizes = (units.end_block - units.first_block)[plan.wanted]
    files = [i for i in needed.inodes if layout.inodes["type"][i] == FileType.FILE]
    return Reordered(
        size_before_bytes=layout.size_bytes,
        size_bytes=plan.block_count << bits,
        placed_bytes=int(sizes.sum()) << bits,
        recompressed_bytes=0,
        files=len(files),
        missing=needed.missing,
    )


def make_plan(layout: ErofsLayout, units: Units, needed: Needed, wanted: Wanted) -> Plan:
    """Decide what goes where.

    Ranges of the image decide first: they also have what no file names, in the order of need, and
    of large files the parts that were needed. What is left of files that they know is not needed.

    Args:
        layout: Of the image.
        units: From :func:`find_units`.
        needed: Inodes in the order of first need.
        wanted: The order.
    """
    bits, begin = layout.superblock.block_bits, layout.offset_bytes
    extents = layout.extent_map.extents
    of_extent = units.of_blocks((extents["offset_bytes"] - begin) >> bits)
    chosen: dict[int, None] = {}
    if len(wanted.spans):
        rows = np.array(covered_extents(layout, wanted.spans), np.int64)
        chosen.update(dict.fromkeys(of_extent[rows].tolist()))
    known = frozenset(chosen)
    root = int(layout.entries["inode"][0])
    mounted = of_extent[layout.mount_extents()].tolist()
    for row in [*mounted, *_of_extents(of_extent, _metadata_of(layout, root))]:
        chosen.setdefault(row)
    for inode in needed.inodes:
        for row in _of_extents(of_extent, _metadata_of(layout, inode)):
            chosen.setdefault(row)
        pieces = layout.extents_of_inode(inode)["extent"]
        content = of_extent[pieces[pieces >= 0]].tolist()
        if known.isdisjoint(content):
            chosen.update(dict.fromkeys(content))
    chosen.pop(-1, None)
    hot = np.array(list(chosen), np.int64)
    # The kernel reads the superblock and the root's inode first, whose number has 16 bits.
    position = int(layout.every_inode["position_bytes"][root]) >> bits
    front = np.unique(units.of_blocks(np.array([0, position])))
    hot = hot[~np.isin(hot, front)]
    # Inodes lie next to the contents that the boot needs with them.
    cold = np.setdiff1d(np.arange(units.is_metadata.size), np.concatenate([front, hot]))
    others = [cold[units.is_metadata[cold]], cold[~units.is_metadata[cold]]]
    parts = [hot, *others] if wanted.place == "start" else [*others, hot]
    order = np.concatenate([front, *parts])
    lengths = units.end_block - units.first_block
    start = np.cumsum(lengths[order]) - lengths[order]
    block = np.full(layout.superblock.block_count + 1, -1, np.int64)
    which = np.repeat(np.arange(order.size), lengths[order])
    inner = np.arange(which.size) - start[which]
    block[units.first_block[order][which] + inner] = start[which] + inner
    return Plan(order, np.concatenate([front, hot]), block, int(lengths.sum()))


def _refuse_mixed(layout: ErofsLayout, needed: Needed, wanted: Wanted) -> None:
    """Refuse an image that no order makes faster: its clusters hold needed and other files alike.

    Raises:
        MixedError: Most of what the boot needs is in such clusters.
    """
    extents = layout.extent_map.extents
    if len(wanted.spans):
        rows = np.array(covered_extents(layout, wanted.spans), np.int64)
    else:
        chosen = np.isin(layout.file_extents["inode"], needed.inodes)
        rows = np.unique(layout.file_extents["extent"][chosen])
    rows = rows[rows >= 0]
    rows = rows[layout.is_content[rows]]
    packed = rows[extents["role"][rows] == Role.PACKED]
    total = int(extents["length_bytes"][rows].sum())
    length = int(extents["length_bytes"][packed].sum())
    if not needed.inodes or length <= total * MIXED_SHARE:
        return
    pieces = layout.file_extents[np.isin(layout.file_extents["extent"], packed)]
    mine = pieces[np.isin(pieces["inode"], needed.inodes)]
    share = float(mine["file_bytes"].sum()) / max(1, int(pieces["file_bytes"].sum()))
    if share < MIXED_SHARE:
        raise MixedError(
            f"{layout.name}: {length / 1e6:.1f} MB of packed clusters hold the needed files, and "
            f"{100 - 100 * share:.0f} % of what is in them is of others: another order of the "
            "clusters gains nothing, and is slower on a CD",
            hint="build the image again with the files of the boot first (docs/formats.md), or "
            "without -Eall-fragments",
        )


def _of_extents(of_extent: Numbers, rows: Sequence[int]) -> list[int]:
    found: list[int] = of_extent[np.array(rows, np.int64)].tolist()
    return found


def _metadata_of(layout: ErofsLayout, inode: int) -> list[int]:
    found = [*layout.inode_extents(inode), *layout.xattr_extents(inode)]
    if layout.inodes["type"][inode] == FileType.DIRECTORY:
        return [*found, *layout.listing_extents(inode)]
    return [*found, *layout.mapping_extents(inode)]


def _renew(layout: ErofsLayout, content: Content, plan: Plan, written: NDArray[np.uint8]) -> None:
    """Write every address and every number of an inode that changed."""
    bits = layout.superblock.block_bits
    first, end = address_spans(layout)
    used = end > first
    position, first = layout.runs.addresses.position_bytes[used], first[used] >> bits
    old = content.records(position, np.dtype([("block", "<u4")]), "address")["block"]
    _scatter(
        written,
        plan.moved(position, bits),
        (old.astype(np.int64) + plan.block[first] - first).astype("<u4"),
    )
    positions, numbers = [], []
    for inode in layout.inodes[layout.inodes["type"] == FileType.DIRECTORY]:
        for offset, length in content_spans(layout.superblock, inode):
            data = content.span(offset, length, "directory")
            entries = np.frombuffer(data[: int.from_bytes(data[8:10], "little")], ENTRY)
            positions.append(offset + ENTRY.itemsize * np.arange(entries.size))
            numbers.append(entries["number"])
    inodes = np.concatenate(numbers)
    _scatter(
        written,
        plan.moved(np.concatenate(positions), bits),
        _renumbered(layout, plan, inodes).astype("<u8"),
    )


def _renumbered(layout: ErofsLayout, plan: Plan, numbers: Numbers) -> Numbers:
    superblock = layout.superblock
    old = superblock.metadata_bytes + numbers * SLOT_BYTES
    return plan.moved(old, superblock.block_bits) // SLOT_BYTES


def _scatter(written: NDArray[np.uint8], positions: Numbers, values: NDArray[np.integer]) -> None:
    """Write values at positions."""
    flat = np.ascontiguousarray(values).view(np.uint8).reshape(-1, values.dtype.itemsize)
    for byte in range(values.dtype.itemsize):
        written[positions + byte] = flat[:, byte]


def _write_superblock(layout: ErofsLayout, plan: Plan, written: mmap.mmap) -> None:
    superblock = layout.superblock
    root = int(_renumbered(layout, plan, np.array([superblock.root]))[0])
    assert root <= LARGEST_ROOT, root
    struct.pack_into("<H", written, ROOT_OFFSET_BYTES, root)
    xattr_block = superblock.xattr_block
    if layout.xattr_blocks.size:
        xattr_block = int(plan.block[xattr_block])
    # Inodes are numbered from block 0 on.
    struct.pack_into("<III", written, BLOCKS_OFFSET_BYTES, plan.block_count, 0, xattr_block)
    if superblock.packed:
        packed = int(_renumbered(layout, plan, np.array([superblock.packed]))[0])
        struct.pack_into("<Q", written, PACKED_OFFSET_BYTES, packed)


def renew_checksum(superblock: Superblock, file: BinaryIO) -> None:
    """Write the checksum of an image that begins at the first byte of a file, if it has one."""
    if superblock.compatible & HAS_CHECKSUM:
        file.seek(0)
        value = checksum(file.read(_checked_bytes(superblock)))
        file.seek(CHECKSUM_OFFSET_BYTES)
        file.write(value.to_bytes(4, "little"))
        file.flush()


def _checked_bytes(superblock: Superblock) -> int:
    block_bytes = superblock.block_bytes
    return max(block_bytes, SUPERBLOCK_OFFSET_BYTES + block_bytes * (block_bytes <= 1024))


def _check_checksum(content: Content, superblock: Superblock) -> None:
    if superblock.compatible & HAS_CHECKSUM:
        data = content.span(0, _checked_bytes(superblock), "superblock")
        if checksum(data) != superblock.checksum:
            content.source.fail("the checksum of the superblock is wrong")


def checksum(front: bytes) -> int:
    """Return the checksum of a superblock: CRC-32C of what follows the first 1024 bytes.

    Args:
        front: The file system up to the end of what is checked.
    """
    data = bytearray(front[SUPERBLOCK_OFFSET_BYTES:])
    data[4:8] = bytes(4)
    value = 0xFFFF_FFFF
    for byte in data:
        value ^= byte
        for _ in range(8):
            value = value >> 1 ^ (CRC32C if value & 1 else 0)
    return value
