# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""Reordering of a squashfs: its compressed blocks are moved, its tables are written anew.

The blocks of a file lie one behind the other, and files with the same content share them; such a
run is moved as one unit. Tails share fragment blocks: those of wanted files are taken out, and
packed into fragment blocks of their own, which lie in front of the first of these files. Only these
blocks, and what is left of the ones that they come from, are compressed again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np

from optimizer.images.layout import FileType
from optimizer.images.reorder import Reordered, Wanted, covered_extents, needed_inodes
from optimizer.images.squashfs.compress import Compress, compressor, strongest_options
from optimizer.images.squashfs.decompress import decompressor
from optimizer.images.squashfs.format import (
    BLOCK_STORED,
    FLAG_STORED_FRAGMENTS,
    FLAG_STORED_INODES,
    FRAGMENT_ENTRY,
    METADATA_STORED,
    NO_TABLE,
    POINTER,
    SUPERBLOCK,
    XATTR_ID_HEADER,
    Kind,
    Table,
)
from optimizer.images.squashfs.layout import SquashfsLayout
from optimizer.images.squashfs.metadata import (
    FilePlace,
    WrittenInodes,
    indexed_table,
    write_inodes,
)
from optimizer.images.squashfs.tails import (
    Group,
    Tail,
    grouped,
    pack_groups,
    shrink,
    tail_of,
)

PADDING_BYTES = 4096
COPY_BYTES = 1 << 20


@dataclass(frozen=True)
class Unit:
    """Content that is moved as a whole: runs of blocks that overlap, or a fragment block.

    Attributes:
        offset: Where it lies on the image file.
        length: Its length in bytes.
    """

    offset: int
    length: int


@dataclass(frozen=True)
class Plan:
    """What goes where.

    Attributes:
        content: Units of the image and new fragment blocks, in their new order.
        wanted: How many of ``content``, from the start or the end, are wanted.
        kept_fragments: Old fragment blocks that are not taken apart.
        wanted_fragments: Those of them that are wanted.
        groups: New fragment blocks, those of wanted files last.
    """

    content: list[Unit | Group]
    wanted: list[Unit | Group]
    kept_fragments: list[int]
    wanted_fragments: frozenset[int]
    groups: list[Group]


def reorder_squashfs(
    layout: SquashfsLayout, source: BinaryIO, wanted: Wanted, target: BinaryIO
) -> Reordered:
    """Write a squashfs in another order, see :func:`optimizer.images.reorder.reorder`."""
    needed = needed_inodes(layout, wanted)
    units, unit_of = find_units(layout)
    plan = make_plan(layout, wanted, needed.inodes, units, unit_of)
    options = compression_options(layout, source)
    compress = compressor(
        layout.superblock.compressor,
        options,
        layout.block_size_bytes,
    )
    packed = pack_groups(layout, source, plan.groups, compress)
    smaller: dict[int, bytes] = {}
    # Without a higher level, compressing again gives the same blocks.
    if wanted.shrink_bytes and strongest_options(layout.superblock.compressor, options) != options:
        strongest = compressor(
            layout.superblock.compressor, options, layout.block_size_bytes, strongest=True
        )
        before = sum(len(data) for data, _ in packed.values())
        packed = pack_groups(layout, source, plan.groups, strongest)
        saved = before - sum(len(data) for data, _ in packed.values())
        cold = [number for number in plan.kept_fragments if number not in plan.wanted_fragments]
        smaller = shrink(layout, source, cold, strongest, wanted.shrink_bytes - saved)
    # Everything in front of the content stays: superblock and compression options.
    recorded = layout.table(Kind.COMPRESSION_OPTIONS)
    front = SUPERBLOCK.size + (recorded.length_bytes if recorded is not None else 0)
    source.seek(layout.offset_bytes)
    target.write(source.read(front))
    moved: dict[int, int] = {}
    fragment_at: dict[int, int] = {}
    position, placed, recompressed = front, 0, 0
    chosen = {id(each) for each in plan.wanted}
    for each in plan.content:
        if isinstance(each, Unit):
            moved[each.offset] = position
            size = each.length
            if each.offset in smaller:
                target.write(smaller[each.offset])
                size = len(smaller[each.offset])
                recompressed += layout.block_size_bytes
            else:
                copy(source, each.offset, each.length, target)
        else:
            data, _ = packed[id(each)]
            fragment_at[id(each)] = position
            target.write(data)
            size = len(data)
            recompressed += each.size
        position += size
        placed += size if id(each) in chosen else 0
    places, fragments = place_files(
        layout, plan, units, unit_of, moved, fragment_at, packed, smaller
    )
    write_tables(layout, source, target, needed.inodes, places, fragments, compress)
    files = [i for i in needed.inodes if layout.inodes["type"][i] == FileType.FILE]
    return Reordered(
        size_before_bytes=layout.size_bytes,
        size_bytes=target.tell(),
        placed_bytes=placed,
        recompressed_bytes=recompressed,
        files=len(files),
        missing=needed.missing,
    )


def find_units(layout: SquashfsLayout) -> tuple[list[Unit], dict[int, int]]:
    """Find the runs of blocks that are moved as one.

    Returns:
        The units, ascending by offset, and the unit of each inode that has blocks on the image.
    """
    inodes, blocks = layout.inodes, layout.blocks
    runs = []
    for row in np.flatnonzero(inodes["block_count"] > 0).tolist():
        first, count = int(inodes["first_block"][row]), int(inodes["block_count"][row])
        length = int(blocks["length_bytes"][first : first + count].sum())
        if length:
            runs.append((int(blocks["offset_bytes"][first]), length, row))
    units: list[Unit] = []
    unit_of: dict[int, int] = {}
    for offset, length, row in sorted(runs):
        if units and offset < units[-1].offset + units[-1].length:
            reach = max(units[-1].offset + units[-1].length, offset + length)
            units[-1] = Unit(units[-1].offset, reach - units[-1].offset)
        else:
            units.append(Unit(offset, length))
        unit_of[row] = len(units) - 1
    return units, unit_of


def make_plan(
    layout: SquashfsLayout,
    wanted: Wanted,
    needed: Sequence[int],
    units: Sequence[Unit],
    unit_of: dict[int, int],
) -> Plan:
    """Decide what goes where.

    Args:
        layout: Of the image.
        wanted: The order.
        needed: Inodes in the order of first need.
        units: From :func:`find_units`.
        unit_of: From :func:`find_units`.
    """
    hot_tails = dict.fromkeys(
        tail for inode in needed if (tail := tail_of(layout, inode)) is not None
    )
    broken = {tail.fragment for tail in hot_tails}
    all_tails = dict.fromkeys(
        tail
        for inode in np.flatnonzero(layout.inodes["fragment_bytes"] > 0).tolist()
        if (tail := tail_of(layout, inode)) is not None and tail.fragment in broken
    )
    hot_groups = grouped(list(hot_tails), layout.block_size_bytes)
    cold = sorted(
        (tail for tail in all_tails if tail not in hot_tails),
        key=lambda tail: (tail.fragment, tail.offset),
    )
    cold_groups = grouped(cold, layout.block_size_bytes)
    group_of = {tail: group for group in hot_groups for tail in group.tails}
    hot: dict[int, Unit | Group] = {}
    for inode in needed:
        tail = tail_of(layout, inode)
        if tail is not None:
            group = group_of[tail]
            hot.setdefault(id(group), group)
        if inode in unit_of:
            unit = units[unit_of[inode]]
            hot.setdefault(id(unit), unit)
    kept = [number for number in range(layout.fragments.size) if number not in broken]
    fragment_units = {
        number: Unit(
            int(layout.fragments["offset_bytes"][number]),
            int(layout.fragments["length_bytes"][number]),
        )
        for number in kept
    }
    movable = sorted([*units, *fragment_units.values()], key=lambda unit: unit.offset)
    by_offset = {unit.offset: unit for unit in movable}
    starts = np.array([unit.offset for unit in movable], np.int64)
    extents = layout.extent_map.extents
    for extent in covered_extents(layout, wanted.spans) if len(wanted.spans) else ():
        if layout.is_content[extent]:
            offset = int(extents["offset_bytes"][extent])
            found = movable[max(0, int(np.searchsorted(starts, offset, side="right")) - 1)]
            if found.offset <= offset < found.offset + found.length:
                hot.setdefault(id(found), found)
    others: list[Unit | Group] = [unit for unit in by_offset.values() if id(unit) not in hot]
    others += cold_groups
    chosen = list(hot.values())
    content = [*chosen, *others] if wanted.place == "start" else [*others, *chosen]
    also_wanted = frozenset(number for number in kept if id(fragment_units[number]) in hot)
    return Plan(content, chosen, kept, also_wanted, [*cold_groups, *hot_groups])


def place_files(
    layout: SquashfsLayout,
    plan: Plan,
    units: Sequence[Unit],
    unit_of: dict[int, int],
    moved: dict[int, int],
    fragment_at: dict[int, int],
    packed: dict[int, tuple[bytes, bool]],
    smaller: dict[int, bytes],
) -> tuple[dict[int, FilePlace], bytes]:
    """Return where the content of each file went, and the decompressed fragment table."""
    entries = np.zeros(len(plan.kept_fragments) + len(plan.groups), FRAGMENT_ENTRY)
    number_of: dict[int, int] = {}
    for number, old in enumerate(plan.kept_fragments):
        block = layout.fragments[old]
        number_of[old] = number
        entries["offset"][number] = moved[int(block["offset_bytes"])]
        length = int(block["length_bytes"]) | (BLOCK_STORED if block["stored"] else 0)
        shrunk = smaller.get(int(block["offset_bytes"]))
        entries["length"][number] = length if shrunk is None else len(shrunk)
    new_place: dict[Tail, tuple[int, int]] = {}
    for number, group in enumerate(plan.groups, len(plan.kept_fragments)):
        data, stored = packed[id(group)]
        entries["offset"][number] = fragment_at[id(group)]
        entries["length"][number] = len(data) | (BLOCK_STORED if stored else 0)
        offset = 0
        for tail in group.tails:
            new_place[tail] = (number, offset)
            offset += tail.size
    places = {}
    inodes = layout.inodes
    for row in np.flatnonzero(inodes["type"] == FileType.FILE).tolist():
        start = 0
        if row in unit_of:
            unit = units[unit_of[row]]
            inner = int(layout.blocks["offset_bytes"][inodes["first_block"][row]]) - unit.offset
            start = moved[unit.offset] + inner
        end = tail_of(layout, row)
        if end is None:
            # An empty file may still name a fragment block; it has nothing there.
            places[row] = FilePlace(start, None, 0)
        elif end in new_place:
            places[row] = FilePlace(start, *new_place[end])
        else:
            places[row] = FilePlace(start, number_of[end.fragment], end.offset)
    return places, entries.tobytes()


def inode_order(layout: SquashfsLayout, needed: Sequence[int]) -> list[int]:
    """Return the order of inodes: those that are needed behind all others, together.

    Directories come behind their entries, as the format asks for. A needed file's directories are
    needed, under each of its names.
    """
    parents = layout.entries["parent"]
    of_path = layout.entries["inode"]
    directory = layout.inodes["type"] == FileType.DIRECTORY
    paths, first = layout.paths_by_inode
    hot = dict.fromkeys(needed)
    above: set[int] = {int(of_path[0])}
    for inode in needed:
        for path in paths[first[inode] : first[inode + 1]].tolist():
            while path and int(of_path[parents[path]]) not in above:
                path = int(parents[path])
                above.add(int(of_path[path]))
    for inode in needed:
        if directory[inode]:
            above.add(inode)
    # Paths are listed directory by directory: behind a directory comes all that is below it.
    depth = np.array([path.count(b"/") for path in layout.paths], np.int64)
    depth[0] = 0
    directories = [
        int(of_path[path])
        for path in np.argsort(-depth, kind="stable").tolist()
        if directory[of_path[path]]
    ]
    cold = set(range(layout.inodes.size)) - set(hot) - above
    files = [row for row in range(layout.inodes.size) if row in cold and not directory[row]]
    return [
        *files,
        *(row for row in directories if row in cold),
        *(row for row in hot if not directory[row]),
        *(row for row in directories if row in above),
    ]


def write_tables(
    layout: SquashfsLayout,
    source: BinaryIO,
    target: BinaryIO,
    needed: Sequence[int],
    places: dict[int, FilePlace],
    fragments: bytes,
    compress: Compress,
) -> None:
    """Write all tables behind the content, and the superblock."""
    superblock = layout.superblock
    for_inodes = None if superblock.flags & FLAG_STORED_INODES else compress
    for_fragments = None if superblock.flags & FLAG_STORED_FRAGMENTS else compress
    written = write_inodes(
        inode_order(layout, needed),
        layout.inodes,
        raw_inodes(layout),
        places,
        children_of(layout),
        for_inodes,
    )
    inode_table = target.tell()
    target.write(written.inodes)
    directory_table = target.tell()
    target.write(written.directories)
    fragment_table = superblock.fragment_table
    if fragments:
        data, fragment_table = indexed_table(fragments, for_fragments, target.tell())
        target.write(data)
    export_table = superblock.export_table
    if export_table != NO_TABLE:
        table = export_entries(layout, written)
        data, export_table = indexed_table(table, for_inodes, target.tell())
        target.write(data)
    id_table = move_table(layout, source, target, Kind.ID_TABLE, superblock.id_table)
    xattr_table = superblock.xattr_table
    if xattr_table != NO_TABLE:
        xattr_table = move_table(layout, source, target, Kind.XATTR_TABLE, xattr_table)
    used = target.tell()
    target.write(bytes(-used % PADDING_BYTES))
    end = target.tell()
    root = written.references[int(layout.entries["inode"][0])]
    fields = list(SUPERBLOCK.unpack(layout.superblock_bytes))
    fields[4] = len(fragments) // FRAGMENT_ENTRY.itemsize
    fields[11:19] = [
        root, used, id_table, xattr_table, inode_table, directory_table, fragment_table,
        export_table,
    ]  # fmt: skip
    target.seek(0)
    target.write(SUPERBLOCK.pack(*fields))
    target.seek(end)


def raw_inodes(layout: SquashfsLayout) -> dict[int, bytes]:
    """Return each inode as it is in its table, without the index of a directory."""
    table = required(layout, Kind.INODE_TABLE).inflated
    starts = layout.inodes["inflated_offset_bytes"].tolist()
    sizes = layout.inodes["inflated_bytes"].tolist()
    return {
        row: table[start : start + size]
        for row, (start, size) in enumerate(zip(starts, sizes, strict=True))
    }


def children_of(layout: SquashfsLayout) -> dict[int, list[tuple[bytes, int]]]:
    """Return the entries of each directory, by name: name and inode."""
    inodes = layout.entries["inode"].tolist()
    parents = layout.entries["parent"].tolist()
    found: dict[int, list[tuple[bytes, int]]] = {}
    for path in range(1, len(layout.paths)):
        name = layout.paths[path].rpartition(b"/")[2]
        found.setdefault(inodes[parents[path]], []).append((name, inodes[path]))
    return found


def export_entries(layout: SquashfsLayout, written: WrittenInodes) -> bytes:
    """Return the decompressed export table: where each inode lies, by its number."""
    table = np.zeros(layout.superblock.inode_count, "<u8")
    numbers = layout.inodes["number"].tolist()
    for row, reference in written.references.items():
        if 1 <= numbers[row] <= table.size:
            table[numbers[row] - 1] = reference
    return table.tobytes()


def move_table(
    layout: SquashfsLayout, source: BinaryIO, target: BinaryIO, kind: Kind, index: int
) -> int:
    """Copy a table whose content stays the same, and add the distance to its index.

    Args:
        layout: Of the image.
        source: The image.
        target: Where the table is appended.
        kind: Which table.
        index: Position of its index, from the start of the squashfs.

    Returns:
        The new position of its index.
    """
    table = required(layout, kind)
    source.seek(table.offset_bytes)
    data = bytearray(source.read(table.length_bytes))
    distance = target.tell() - (table.offset_bytes - layout.offset_bytes)
    first = index - (table.offset_bytes - layout.offset_bytes)
    if kind == Kind.XATTR_TABLE:
        # The index has a header with the position of the names and values.
        start, count, unused = XATTR_ID_HEADER.unpack_from(data, first)
        XATTR_ID_HEADER.pack_into(data, first, start + distance, count, unused)
        first += XATTR_ID_HEADER.size
    for place in range(first, len(data) - POINTER.size + 1, POINTER.size):
        POINTER.pack_into(data, place, POINTER.unpack_from(data, place)[0] + distance)
    target.write(data)
    return index + distance


def compression_options(layout: SquashfsLayout, source: BinaryIO) -> bytes:
    """Return the compression options of an image, or nothing if it has none."""
    table = layout.table(Kind.COMPRESSION_OPTIONS)
    if table is None:
        return b""
    source.seek(table.offset_bytes)
    data = source.read(table.length_bytes)
    if not int.from_bytes(data[:2], "little") & METADATA_STORED:
        return decompressor(layout.superblock.compressor)(data[2:], PADDING_BYTES)
    return data[2:]


def required(layout: SquashfsLayout, kind: Kind) -> Table:
    """Return a table that every image has."""
    table = layout.table(kind)
    assert table is not None, kind
    return table


def copy(source: BinaryIO, offset: int, length: int, target: BinaryIO) -> None:
    """Copy a range of a file."""
    source.seek(offset)
    while length:
        data = source.read(min(length, COPY_BYTES))
        if not data:
            raise EOFError("the image ended while it was read")
        target.write(data)
        length -= len(data)
