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
from optimizer.images.reorder import Reordered, Wanted, needed_inodes
from optimizer.images.source import copy_span
from optimizer.images.squashfs.compress import Compress, compressor, strongest_options
from optimizer.images.squashfs.decompress import damaged, decompressor
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
from optimizer.images.squashfs.plan import Plan, Unit, find_units, make_plan
from optimizer.images.squashfs.tails import (
    Packed,
    Tail,
    pack_groups,
    shrink,
    tail_of,
)

PADDING_BYTES = 4096


@dataclass(frozen=True)
class WrittenContent:
    """Where content was written, from the start of the squashfs.

    Attributes:
        moved: Place of each unit, by its old offset.
        fragments: Place of each new fragment block, by the identity of its group.
        placed_bytes: Size of what is wanted.
        recompressed_bytes: Decompressed size of what was compressed again.
    """

    moved: dict[int, int]
    fragments: dict[int, int]
    placed_bytes: int
    recompressed_bytes: int


def reorder_squashfs(
    layout: SquashfsLayout, source: BinaryIO, wanted: Wanted, target: BinaryIO
) -> Reordered:
    """Write a squashfs in another order, see :func:`optimizer.images.reorder.reorder`."""
    needed = needed_inodes(layout, wanted)
    units, unit_of = find_units(layout)
    plan = make_plan(layout, wanted, needed.inodes, units, unit_of)
    number, block_size = layout.superblock.compressor, layout.block_size_bytes
    with damaged(layout.name, "the record of compression options"):
        options = compression_options(layout, source)
        compress = compressor(number, options, block_size)

    def write(packed: Packed, smaller: dict[int, bytes]) -> Reordered:
        target.seek(0)
        target.truncate()
        written = write_content(layout, source, target, plan, packed, smaller)
        places, fragments = place_files(layout, plan, units, unit_of, written, packed, smaller)
        write_tables(layout, source, target, needed.inodes, places, fragments, compress)
        files = [i for i in needed.inodes if layout.inodes["type"][i] == FileType.FILE]
        return Reordered(
            size_before_bytes=layout.size_bytes,
            size_bytes=target.tell(),
            placed_bytes=written.placed_bytes,
            recompressed_bytes=written.recompressed_bytes,
            files=len(files),
            missing=needed.missing,
        )

    packed = pack_groups(layout, source, plan.groups, compress)
    done = write(packed, {})
    room = wanted.room_bytes
    # Without a higher level, compressing again gives the same blocks.
    if room is None or done.size_bytes <= room or strongest_options(number, options) == options:
        return done
    strongest = compressor(number, strongest_options(number, options), block_size)
    again = pack_groups(layout, source, plan.groups, strongest)
    saved = sum(len(packed[each][0]) - len(again[each][0]) for each in packed)
    cold = [number for number in plan.kept_fragments if number not in plan.wanted_fragments]
    excess = done.size_bytes - room + PADDING_BYTES
    return write(again, shrink(layout, source, cold, strongest, excess - saved))


def write_content(
    layout: SquashfsLayout,
    source: BinaryIO,
    target: BinaryIO,
    plan: Plan,
    packed: Packed,
    smaller: dict[int, bytes],
) -> WrittenContent:
    """Write superblock, compression options and content.

    Args:
        layout: Of the image.
        source: The image.
        target: The empty file.
        plan: What goes where.
        packed: The new fragment blocks.
        smaller: Old fragment blocks that were compressed again, by their old offset.
    """
    # Everything in front of the content stays.
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
                copy_span(source, each.offset, each.length, target)
        else:
            data, _ = packed[id(each)]
            fragment_at[id(each)] = position
            target.write(data)
            size = len(data)
            recompressed += each.size
        position += size
        placed += size if id(each) in chosen else 0
    return WrittenContent(moved, fragment_at, placed, recompressed)


def place_files(
    layout: SquashfsLayout,
    plan: Plan,
    units: Sequence[Unit],
    unit_of: dict[int, int],
    written: WrittenContent,
    packed: Packed,
    smaller: dict[int, bytes],
) -> tuple[dict[int, FilePlace], bytes]:
    """Return where the content of each file went, and the decompressed fragment table."""
    entries = np.zeros(len(plan.kept_fragments) + len(plan.groups), FRAGMENT_ENTRY)
    number_of: dict[int, int] = {}
    for number, old in enumerate(plan.kept_fragments):
        block = layout.fragments[old]
        number_of[old] = number
        entries["offset"][number] = written.moved[int(block["offset_bytes"])]
        length = int(block["length_bytes"]) | (BLOCK_STORED if block["stored"] else 0)
        shrunk = smaller.get(int(block["offset_bytes"]))
        entries["length"][number] = length if shrunk is None else len(shrunk)
    new_place: dict[Tail, tuple[int, int]] = {}
    for number, group in enumerate(plan.groups, len(plan.kept_fragments)):
        data, stored = packed[id(group)]
        entries["offset"][number] = written.fragments[id(group)]
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
            start = written.moved[unit.offset] + inner
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
    with damaged(layout.name, kind.name.lower().replace("_", " ")):
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
