# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""Runs of file contents: where the bytes of each inode lie, decoded for all inodes at once.

A compressed file has an index with an entry for each logical cluster (a block of the file): where
in it a physical cluster begins, if one does, and its address. A full index has 8 bytes for each; a
compact one has packs of 2 entries in 8 bytes or of 16 in 32, with one address for all of a pack.
The decoding follows fs/erofs/zmap.c of the Linux kernel.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from optimizer.images.erofs.format import (
    COMPRESSED,
    INDEX_ENTRY_BYTES,
    Content,
    Storage,
    Superblock,
)
from optimizer.images.erofs.inodes import START_OFFSET_BYTES
from optimizer.images.layout import FileType, Rows
from optimizer.images.source import MEMORY_HINT

Numbers = NDArray[np.int64]

HEADER = np.dtype([("low", "<u4"), ("advise", "<u2"), ("algorithms", "u1"), ("cluster_bits", "u1")])
"""Map header of a compressed inode. ``low`` is the offset of the tail in the packed inode, or, in
its upper half, the size of a tail in the metadata."""
FULL_ENTRY = np.dtype([("advise", "<u2"), ("offset", "<u2"), ("block", "<u4")])
FULL_INDEX_GAP_BYTES = 8
WHOLE_FRAGMENT = np.uint64(1 << 63)

ADVISE_SMALL_PACKS, ADVISE_EXTENT_RECORDS = 0x1, 0x1
ADVISE_BIG_CLUSTERS_1, ADVISE_BIG_CLUSTERS_2 = 0x2, 0x4
ADVISE_INLINE_TAIL, ADVISE_INTERLACED, ADVISE_FRAGMENT = 0x8, 0x10, 0x20

STORED, HEAD_1, NO_HEAD = 0, 1, 2
"""Types of a logical cluster; 3 is a head with the second algorithm."""
HAS_BLOCK_COUNT = 0x800

CHUNK_BITS_MASK, CHUNK_INDEXES = 0x1F, 0x20
NO_CHUNK = 0xFFFF_FFFF
CHUNK_ENTRY = np.dtype([("high", "<u2"), ("device", "<u2"), ("block", "<u4")])

# What an image may ask for beyond a first portion that is free: duplicates and holes take no room.
FREE_RUNS = 1 << 20
RUNS_A_BLOCK = 64


class Place(IntEnum):
    """Places of a run."""

    BLOCKS = 0
    METADATA = 1
    """Behind the inode."""
    PACKED = 2
    """In the packed inode; the offset is one in its content."""
    HOLE = 3


RUN = np.dtype(
    [
        ("inode", "<i8"),  # in the rows of inodes
        ("file_offset_bytes", "<i8"),
        ("file_bytes", "<i8"),
        ("offset_bytes", "<i8"),  # from the start of the file system, or in the packed inode
        ("length_bytes", "<i8"),  # there
        ("place", "u1"),  # Place
        ("algorithm", "i1"),  # -1: not compressed
        ("interlaced", "?"),  # stored so that each byte keeps its place in a block
    ]
)
"""A run of a file's bytes: a block, a physical cluster, a tail, a hole."""


@dataclass(frozen=True)
class Addresses:
    """Every address of content in the metadata: of a plain file, of a chunk, of an index pack.

    One address locates several runs, which follow one another on the image.

    Attributes:
        position_bytes: Where each address stands; it has 4 bytes and counts blocks.
        first_run: The runs that it locates are first_run..end_run.
        end_run: The run behind them.
    """

    position_bytes: Numbers
    first_run: Numbers
    end_run: Numbers


@dataclass(frozen=True)
class Runs:
    """The contents of all inodes.

    Attributes:
        rows: :data:`RUN`, by inode, then in the file.
        body_end_bytes: For each inode the position behind its index and tail in the metadata.
        addresses: What locates those in blocks.
    """

    rows: Rows
    body_end_bytes: Numbers
    addresses: Addresses


def find_runs(content: Content, superblock: Superblock, inodes: Rows) -> Runs:
    """Find the runs of all inodes.

    Raises:
        FormatError: An index makes no sense or reaches out of the file system.
    """
    filled = (inodes["size_bytes"] > 0) & np.isin(
        inodes["type"], (FileType.DIRECTORY, FileType.FILE, FileType.SYMLINK)
    )
    compressed = filled & np.isin(inodes["storage"], COMPRESSED)
    chunked = filled & (inodes["storage"] == Storage.CHUNKS)
    ends = inodes["body_bytes"].copy()
    flat = np.flatnonzero(filled & ~compressed & ~chunked)
    blocks = -(-inodes["size_bytes"][filled & ~compressed] // superblock.block_bytes)
    most = FREE_RUNS + RUNS_A_BLOCK * superblock.block_count
    if float(blocks.astype(np.float64).sum()) > most:
        content.source.fail(
            f"files have more than {most} blocks, which no image of this size has", MEMORY_HINT
        )
    parts = [
        _flat(content, superblock, inodes, flat, ends),
        _chunks(content, superblock, inodes, np.flatnonzero(chunked), ends),
        _compressed(content, superblock, inodes, np.flatnonzero(compressed), ends),
    ]
    rows = np.concatenate([found for found, _ in parts])
    order = np.argsort(rows["inode"], kind="stable")
    rank = np.empty(order.size, np.int64)
    rank[order] = np.arange(order.size)
    at = rows[rows["place"] == Place.BLOCKS]
    content.check(at["offset_bytes"], at["length_bytes"], "content of a file")
    before = np.cumsum([0, *(found.size for found, _ in parts)])
    # Runs of one inode stay together, so that those of an address do, too.
    firsts = [rank[start + each.first_run] for start, (_, each) in zip(before, parts, strict=False)]
    counts = [each.end_run - each.first_run for _, each in parts]
    first = np.concatenate(firsts)
    addresses = Addresses(
        np.concatenate([each.position_bytes for _, each in parts]),
        first,
        first + np.concatenate(counts),
    )
    return Runs(rows[order], ends, addresses)


def spread(counts: Numbers) -> tuple[Numbers, Numbers]:
    """Return for counts of members, for each member its group and its place in the group."""
    group = np.repeat(np.arange(counts.size), counts)
    first = np.cumsum(counts) - counts
    return group, np.arange(group.size) - first[group]


def _rows(count: int) -> Rows:
    found = np.zeros(count, RUN)
    found["algorithm"] = -1
    return found


def _flat(
    content: Content, superblock: Superblock, inodes: Rows, chosen: Numbers, ends: Numbers
) -> tuple[Rows, Addresses]:
    """Return blocks and tails of contents that are stored in one piece."""
    block_bytes = superblock.block_bytes
    rows = inodes[chosen]
    inline = rows["storage"] == Storage.INLINE
    tails = np.where(inline, rows["size_bytes"] % block_bytes, 0)
    group, place = spread(-(-(rows["size_bytes"] - tails) // block_bytes))
    blocks = _rows(group.size)
    blocks["inode"] = chosen[group]
    blocks["file_offset_bytes"] = place * block_bytes
    left = rows["size_bytes"][group] - blocks["file_offset_bytes"]
    blocks["file_bytes"] = np.minimum(left, block_bytes)
    blocks["offset_bytes"] = (rows["start"][group].astype(np.int64) + place) * block_bytes
    blocks["length_bytes"] = block_bytes
    with_tail = np.flatnonzero(tails)
    last = _rows(with_tail.size)
    last["inode"] = chosen[with_tail]
    last["file_offset_bytes"] = (rows["size_bytes"] - tails)[with_tail]
    last["file_bytes"] = last["length_bytes"] = tails[with_tail]
    last["offset_bytes"] = rows["body_bytes"][with_tail]
    last["place"] = Place.METADATA
    _check_tails(content, superblock, last)
    ends[last["inode"]] += last["length_bytes"]
    found = np.concatenate([blocks, last])
    found = found[np.lexsort((found["file_offset_bytes"], found["inode"]))]
    with_blocks, count = np.unique(blocks["inode"], return_counts=True)
    first = np.searchsorted(found["inode"], with_blocks)
    position = inodes["position_bytes"][with_blocks] + START_OFFSET_BYTES
    return found, Addresses(position, first, first + count)


def _check_tails(content: Content, superblock: Superblock, tails: Rows) -> None:
    content.check(tails["offset_bytes"], tails["length_bytes"], "end of a file behind its inode")
    inside = tails["offset_bytes"] % superblock.block_bytes
    crossing = inside + tails["length_bytes"] > superblock.block_bytes
    if crossing.any():
        offset = int(tails["offset_bytes"][np.argmax(crossing)])
        content.source.fail(f"end of a file at {offset:#x}: crosses the border of a block")


def _chunks(
    content: Content, superblock: Superblock, inodes: Rows, chosen: Numbers, ends: Numbers
) -> tuple[Rows, Addresses]:
    """Return the blocks of files in chunks."""
    rows = inodes[chosen]
    bits = (rows["start"] & CHUNK_BITS_MASK).astype(np.int64)
    long = rows["start"] & CHUNK_INDEXES != 0
    if (bits + superblock.block_bits > 62).any():
        content.source.fail("a file in chunks of more than 2^62 bytes")
    counts = ((rows["size_bytes"] - 1) >> (bits + superblock.block_bits)) + 1
    group, place = spread(counts)
    entry_bytes = np.where(long, CHUNK_ENTRY.itemsize, 4)
    begin = -(-rows["body_bytes"] // entry_bytes) * entry_bytes
    at = begin[group] + place * entry_bytes[group]
    block = np.zeros(group.size, np.int64)
    is_long = long[group]
    entries = content.records(at[is_long], CHUNK_ENTRY, "index of chunks")
    if entries["device"].any():
        content.source.fail(
            "EROFS with data on other devices, which bootprof does not read",
            "copy all data into one image",
        )
    block[is_long] = entries["block"]
    short = np.dtype([("block", "<u4")])
    block[~is_long] = content.records(at[~is_long], short, "index of chunks")["block"]
    ends[chosen] = begin + counts * entry_bytes
    # Each chunk has its blocks, of which the last chunk of a file has fewer.
    size = rows["size_bytes"][group]
    offset = place << (bits + superblock.block_bits)[group]
    chunk_bytes = np.minimum(np.int64(1) << (bits + superblock.block_bits)[group], size - offset)
    chunk, inner = spread(-(-chunk_bytes // superblock.block_bytes))
    found = _rows(chunk.size)
    found["inode"] = chosen[group[chunk]]
    found["file_offset_bytes"] = offset[chunk] + inner * superblock.block_bytes
    left = size[chunk] - found["file_offset_bytes"]
    found["file_bytes"] = np.minimum(left, superblock.block_bytes)
    hole = block[chunk] == NO_CHUNK
    found["place"] = np.where(hole, Place.HOLE, Place.BLOCKS)
    found["offset_bytes"] = np.where(hole, 0, (block[chunk] + inner) * superblock.block_bytes)
    found["length_bytes"] = np.where(hole, 0, superblock.block_bytes)
    filled = np.flatnonzero(block != NO_CHUNK)
    first = np.searchsorted(chunk, filled)
    last = np.searchsorted(chunk, filled, side="right")
    return found, Addresses((at + np.where(is_long, 4, 0))[filled], first, last)


@dataclass(frozen=True)
class _Index:
    """Entries of the index of all compressed inodes, one after the other.

    Attributes:
        owner: For each entry the row of its inode in the chosen ones.
        place: Its number in its inode.
        kind: Type of the cluster.
        offset: Where in the cluster a physical cluster begins.
        block: Its address.
        count: Blocks of the physical cluster before, if the entry has this number, else 0.
        address_bytes: Position of the address that ``block`` is computed from.
        end_bytes: For each chosen inode the position behind its index.
    """

    owner: Numbers
    place: Numbers
    kind: Numbers
    offset: Numbers
    block: Numbers
    count: Numbers
    address_bytes: Numbers
    end_bytes: Numbers


def _compressed(
    content: Content, superblock: Superblock, inodes: Rows, chosen: Numbers, ends: Numbers
) -> tuple[Rows, Addresses]:
    rows = inodes[chosen]
    header_at = -(-rows["body_bytes"] // INDEX_ENTRY_BYTES) * INDEX_ENTRY_BYTES
    headers = content.records(header_at, HEADER, "map header")
    ends[chosen] = header_at + HEADER.itemsize
    whole = headers.view("<u8") & WHOLE_FRAGMENT != 0 if headers.size else np.zeros(0, bool)
    alone = _rows(int(whole.sum()))
    alone["inode"], alone["file_bytes"] = chosen[whole], rows["size_bytes"][whole]
    alone["offset_bytes"] = (headers.view("<u8")[whole] & ~WHOLE_FRAGMENT).astype(np.int64)
    alone["length_bytes"], alone["place"] = alone["file_bytes"], Place.PACKED
    rest = ~whole
    chosen, rows, headers = chosen[rest], rows[rest], headers[rest]
    begin = header_at[rest] + HEADER.itemsize
    _check_headers(content, rows, headers)
    full = rows["storage"] == Storage.FULL_INDEX
    counts = -(-rows["size_bytes"] // superblock.block_bytes)
    smallest = np.where(full, 8.0, 2.0)
    if float((counts * smallest).sum()) > content.size_bytes:
        content.source.fail("indexes of files are longer than the image", MEMORY_HINT)
    index = _read_index(content, superblock, rows, headers, begin, counts)
    found, addresses = _clusters(content, superblock, chosen, rows, headers, index)
    ends[chosen] = index.end_bytes
    tails = found[found["place"] == Place.METADATA]
    ends[tails["inode"]] += tails["length_bytes"]
    # Whole fragments go last: nothing in the metadata locates them.
    return np.concatenate([found, alone]), addresses


def _check_headers(content: Content, rows: Rows, headers: Rows) -> None:
    records = (rows["storage"] == Storage.FULL_INDEX) & (
        headers["advise"] & ADVISE_EXTENT_RECORDS != 0
    )
    for wrong, what in (
        (records, "extent records, which bootprof does not read"),
        (headers["cluster_bits"] & 15 != 0, "logical clusters larger than a block"),
    ):
        if wrong.any():
            number = int(rows["number"][np.argmax(wrong)])
            content.source.fail(f"inode {number}: {what}", "build the image again without them")


def _read_index(
    content: Content,
    superblock: Superblock,
    rows: Rows,
    headers: Rows,
    begin: Numbers,
    counts: Numbers,
) -> _Index:
    owner, place = spread(counts)
    kind, offset, block, count, address = (np.zeros(owner.size, np.int64) for _ in range(5))
    end = np.zeros(rows.size, np.int64)
    full = rows["storage"] == Storage.FULL_INDEX
    mine = full[owner]
    at = begin[owner] + FULL_INDEX_GAP_BYTES + place * INDEX_ENTRY_BYTES
    entries = content.records(at[mine], FULL_ENTRY, "index")
    kind[mine] = entries["advise"] & 3
    offset[mine] = entries["offset"]
    block[mine] = entries["block"]
    delta = (entries["block"] & 0xFFFF).astype(np.int64)
    counted = ((entries["advise"] & 3) == NO_HEAD) & (delta & HAS_BLOCK_COUNT != 0)
    count[mine] = np.where(counted, delta & (HAS_BLOCK_COUNT - 1), 0)
    address[mine] = at[mine] + 4
    end[full] = (begin + FULL_INDEX_GAP_BYTES + counts * INDEX_ENTRY_BYTES)[full]

    low_bits = max(superblock.block_bits, 12)
    compact = ~full
    if compact.any() and low_bits > 14:
        content.source.fail(f"a compact index for blocks of {superblock.block_bytes} bytes")
    if compact.any() and low_bits > 12 and (headers["advise"][compact] & ADVISE_SMALL_PACKS).any():
        content.source.fail(f"small index packs for blocks of {superblock.block_bytes} bytes")
    # Packs of two entries up to a multiple of 32 bytes, packs of 16, packs of two for the rest.
    first = np.minimum(((32 - begin % 32) // 4) & 7, counts)
    small = np.where(headers["advise"] & ADVISE_SMALL_PACKS != 0, (counts - first) // 16 * 16, 0)
    middle_at = begin + first * 4
    last_at = middle_at + small * 2
    rest = counts - first - small
    # The last pack is whole, even if a short index ends in the first ones.
    end[compact] = (-(-last_at // 8) * 8 + -(-rest // 2) * 8)[compact]
    mine = compact[owner]
    owner_m, place_m = owner[mine], place[mine]
    in_first = place_m < first[owner_m]
    in_small = ~in_first & (place_m < (first + small)[owner_m])
    inner = np.where(
        in_first,
        place_m,
        np.where(in_small, place_m - first[owner_m], place_m - (first + small)[owner_m]),
    )
    base = np.where(
        in_first, begin[owner_m], np.where(in_small, middle_at[owner_m], last_at[owner_m])
    )
    pack_entries = np.where(in_small, 16, 2)
    pack_bytes = np.where(in_small, 32, 8)
    bits = np.where(in_small, 14, 16)
    pack_at = base + inner // pack_entries * pack_bytes
    number = inner % pack_entries
    bit = number * bits
    # Entries of 14 bits begin within a byte; four bytes hold each of them, within the pack.
    word_at = pack_at + bit // 8
    words = content.records(word_at, np.dtype([("word", "<u4")]), "index pack")["word"]
    value = (words >> (bit % 8).astype(np.uint32)).astype(np.int64) & ((1 << bits) - 1)
    low = value & ((1 << low_bits) - 1)
    kinds = value >> low_bits & 3
    address_at = pack_at + pack_bytes - 4
    bases = content.records(address_at, np.dtype([("block", "<u4")]), "index pack")["block"]
    big = (headers["advise"] & (ADVISE_BIG_CLUSTERS_1 | ADVISE_BIG_CLUSTERS_2) != 0)[owner_m]
    counted = (kinds == NO_HEAD) & (low & HAS_BLOCK_COUNT != 0) & big
    counts_m = np.where(counted, low & (HAS_BLOCK_COUNT - 1), 0)
    # A count replaces the one block of the head before it, which an earlier pack may hold.
    weight = np.where(kinds != NO_HEAD, 1, np.where(counted, counts_m - (number > 0), 0))
    before = np.cumsum(weight) - weight
    pack_first = before[np.arange(number.size) - number]
    block[mine] = bases.astype(np.int64) + before - pack_first + np.where(big, 0, 1)
    kind[mine], count[mine], address[mine] = kinds, counts_m, address_at
    offset[mine] = np.where(kinds != NO_HEAD, low, 0)
    return _Index(owner, place, kind, offset, block, count, address, end)


def _clusters(
    content: Content,
    superblock: Superblock,
    chosen: Numbers,
    rows: Rows,
    headers: Rows,
    index: _Index,
) -> tuple[Rows, Addresses]:
    """Turn entries into runs: each head has the bytes up to the next one."""
    logical = index.place * superblock.block_bytes + index.offset
    heads = np.flatnonzero((index.kind != NO_HEAD) & (logical < rows["size_bytes"][index.owner]))
    owner = index.owner[heads]
    found = _rows(heads.size)
    found["inode"] = chosen[owner]
    found["file_offset_bytes"] = logical[heads]
    first = np.ones(heads.size, bool)
    first[1:] = owner[1:] != owner[:-1]
    last = np.ones(heads.size, bool)
    last[:-1] = first[1:]
    next_offset = rows["size_bytes"][owner]
    next_offset[:-1] = np.where(last[:-1], next_offset[:-1], logical[heads][1:])
    found["file_bytes"] = next_offset - logical[heads]
    has_head = np.bincount(owner, minlength=rows.size) > 0
    wrong = np.zeros(rows.size, bool)
    wrong[owner[(first & (logical[heads] != 0)) | (found["file_bytes"] <= 0)]] = True
    wrong |= ~has_head
    if wrong.any():
        content.source.fail(
            f"inode {int(rows['number'][np.argmax(wrong)])}: its index does not cover the file"
        )
    kind = index.kind[heads]
    follows = np.minimum(heads + 1, index.kind.size - 1)
    followed = (index.owner[follows] == index.owner[heads]) & (follows > heads)
    count = np.where(followed, index.count[follows], 0)
    advise = headers["advise"][owner]
    big_1 = (kind == HEAD_1) & (advise & ADVISE_BIG_CLUSTERS_1 != 0)
    big_2 = (kind != HEAD_1) & (advise & ADVISE_BIG_CLUSTERS_2 != 0)
    found["length_bytes"] = (
        np.where((big_1 | big_2) & (count > 0), count, 1) * superblock.block_bytes
    )
    found["offset_bytes"] = index.block[heads] * superblock.block_bytes
    algorithms = headers["algorithms"][owner].astype(np.int64)
    found["algorithm"] = np.where(
        kind == STORED, -1, np.where(kind == HEAD_1, algorithms & 15, algorithms >> 4)
    )
    found["interlaced"] = (kind == STORED) & (advise & ADVISE_INTERLACED != 0)
    in_packed = last & (advise & ADVISE_FRAGMENT != 0)
    found["place"][in_packed] = Place.PACKED
    low = headers["low"][owner].astype(np.int64)
    # A full index has the upper half of the offset where others have the address.
    high = np.where(rows["storage"][owner] == Storage.FULL_INDEX, index.block[heads], 0)
    found["offset_bytes"][in_packed] = (low | high << 32)[in_packed]
    found["length_bytes"][in_packed] = found["file_bytes"][in_packed]
    found["algorithm"][in_packed] = -1
    inline = last & (advise & ADVISE_INLINE_TAIL != 0) & (low >> 16 > 0) & ~in_packed
    found["place"][inline] = Place.METADATA
    found["offset_bytes"][inline] = index.end_bytes[owner[inline]]
    found["length_bytes"][inline] = (low >> 16)[inline]
    _check_tails(content, superblock, found[inline])
    # Runs of a pack follow one another.
    address = index.address_bytes[heads]
    new = np.ones(heads.size, bool)
    new[1:] = address[1:] != address[:-1]
    begins = np.flatnonzero(new)
    stops = np.append(begins[1:], heads.size)
    return found, Addresses(address[begins], begins, stops)
