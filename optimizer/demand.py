"""What a boot needs of an image: the blocks and tables that hold what its bootlog names.

Needed are

* the data blocks and fragment blocks that hold touched bytes of a file; all of a file where the
  bootlog gives no ranges;
* the metadata blocks with the inodes of these files and of the directories on the way, the parts
  of the directory listings that the kernel searches for their names, and the entries of their
  fragment blocks;
* what the kernel reads at mount: superblock, id table, and the indices of the other tables
  (fs/squashfs/super.c).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from optimizer.formats.bootlog import distinct_paths, read_bootlog
from optimizer.formats.events import Operation
from optimizer.images.squashfs.layout import InodeType, Kind, Layout
from optimizer.order import DEFAULT_EXCLUDES, PSEUDO_FILE_SYSTEMS, compile_excludes

# fs/squashfs/squashfs_fs.h: entries of 16 bytes in metadata blocks of 8 KiB.
FRAGMENTS_PER_METADATA_BLOCK = 512
TABLES = (Kind.INODE_TABLE, Kind.DIRECTORY_TABLE, Kind.FRAGMENT_TABLE, Kind.XATTR_TABLE)
LINK_LIMIT = 40  # MAXSYMLINKS of the kernel

Ranges = list[tuple[int, int]]
"""(offset, length) in bytes in a file; empty: the whole file."""


@dataclass(frozen=True, eq=False)
class Demand:
    """What a boot needs of an image.

    Attributes:
        needed: For each row of ``layout.extent_map.extents`` whether it must be read.
        hot_share: For each of these rows, which share of its decompressed bytes was touched.
        files: Number of distinct regular files that were touched.
        missing: Paths that the image does not have.
    """

    needed: NDArray[np.bool_]
    hot_share: NDArray[np.float64]
    files: int
    missing: tuple[bytes, ...]


def resolve(layout: Layout, path: bytes) -> list[int] | None:
    """Find a path in an image, following symbolic links.

    Returns:
        Indices in ``layout.paths`` of all that is looked up on the way, links and directories
        included, the file last; None if the image has no such path.
    """
    index, visited, links = 0, [0], 0
    pending = path.split(b"/")[::-1]
    while pending:
        name = pending.pop()
        if name in (b"", b"."):
            continue
        if name == b"..":
            index = int(layout.entries["parent"][index])
            continue
        child = layout.path_index.get(layout.paths[index].rstrip(b"/") + b"/" + name)
        if child is None:
            return None
        visited.append(child)
        inode = int(layout.entries["inode"][child])
        if layout.inodes["type"][inode] != InodeType.SYMLINK:
            index = child
            continue
        links += 1
        if links > LINK_LIMIT:
            return None
        target = layout.symlink_target(inode)
        if target.startswith(b"/"):
            index = 0
        pending += target.split(b"/")[::-1]
    visited.append(index)
    return visited


def demand_of(layout: Layout, touched: Mapping[bytes, Ranges]) -> Demand:
    """Work out what of an image a boot needs.

    Args:
        layout: The image.
        touched: Paths of files and directories, and the ranges that were touched of each.
    """
    looked_up: set[int] = {0}
    ranges: dict[int, Ranges] = {}
    listed: set[int] = set()
    missing: list[bytes] = []
    for path, touched_ranges in touched.items():
        way = resolve(layout, path)
        if way is None:
            missing.append(path)
            continue
        looked_up.update(way)
        inode = int(layout.entries["inode"][way[-1]])
        kind = layout.inodes["type"][inode]
        if kind == InodeType.DIRECTORY:
            listed.add(inode)
        elif kind == InodeType.FILE:
            known = ranges.get(inode)
            whole = not touched_ranges or known == []
            ranges[inode] = [] if whole else [*(known or ()), *touched_ranges]
    extents = layout.extent_map.extents
    needed = np.zeros(extents.size, bool)
    share = np.ones(extents.size)
    _demand_data(layout, ranges, needed, share)
    _demand_tables(layout, looked_up, listed, list(ranges), needed)
    return Demand(needed, share, len(ranges), tuple(missing))


def _demand_data(
    layout: Layout,
    ranges: Mapping[int, Ranges],
    needed: NDArray[np.bool_],
    share: NDArray[np.float64],
) -> None:
    extents = layout.extent_map.extents
    data = np.flatnonzero(np.isin(extents["kind"], (Kind.BLOCK, Kind.FRAGMENT)))
    starts = extents["offset_bytes"][data]
    hot_bytes: dict[int, int] = {}
    held_bytes: dict[int, int] = {}
    tails: set[tuple[int, int]] = set()
    for inode, touched in ranges.items():
        for piece in layout.extents_of_inode(inode).tolist():
            kind, index, offset, length, _, file_offset, file_bytes, inner = piece
            hot = _covered(touched, file_offset, file_bytes) if touched else file_bytes
            if not length or not hot:
                continue
            extent = int(data[np.searchsorted(starts, offset)])
            if kind == Kind.FRAGMENT:
                # Files with the same content share a tail.
                hot = 0 if (index, inner) in tails else hot
                tails.add((index, inner))
                hot_bytes[extent] = hot_bytes.get(extent, 0) + hot
            else:
                hot_bytes[extent] = max(hot_bytes.get(extent, 0), hot)
                held_bytes[extent] = max(held_bytes.get(extent, 0), file_bytes)
    inodes = layout.inodes
    fields = ["fragment", "fragment_offset_bytes", "fragment_bytes"]
    distinct = np.unique(inodes[fields][inodes["fragment_bytes"] > 0])
    in_fragment = np.bincount(
        distinct["fragment"], distinct["fragment_bytes"], layout.fragments.size
    )
    for extent, hot in hot_bytes.items():
        row = extents[extent]
        whole = held_bytes.get(extent) or in_fragment[row["index"]]
        needed[extent] = True
        share[extent] = min(1.0, hot / float(whole))


def _covered(ranges: Ranges, start: int, length: int) -> int:
    """Return how many bytes of start..start + length the ranges cover."""
    covered, reach = 0, start
    for offset, size in sorted(ranges):
        begin, end = max(offset, reach), min(offset + size, start + length)
        if begin < end:
            covered += end - begin
            reach = end
    return covered


def _demand_tables(
    layout: Layout,
    looked_up: Iterable[int],
    listed: Iterable[int],
    files: list[int],
    needed: NDArray[np.bool_],
) -> None:
    extents, inodes, entries = layout.extent_map.extents, layout.inodes, layout.entries
    blocks: dict[Kind, set[int]] = {kind: {-1} for kind in Kind}
    has_xattr = False
    for path in looked_up:
        inode = inodes[entries["inode"][path]]
        first, last = int(inode["first_metadata_block"]), int(inode["last_metadata_block"])
        blocks[Kind.INODE_TABLE].update(range(first, last + 1))
        has_xattr |= bool(inode["xattr"] >= 0)
        entry = int(entries["entry_block"][path])
        if entry >= 0:
            parent = inodes[entries["inode"][entries["parent"][path]]]
            # Extended directories have an index by name; others are searched from the start.
            start = entry if parent["extended"] else int(parent["first_listing_block"])
            blocks[Kind.DIRECTORY_TABLE].update(range(start, entry + 1))
    for directory in listed:
        first = int(inodes["first_listing_block"][directory])
        if first >= 0:
            last = int(inodes["last_listing_block"][directory])
            blocks[Kind.DIRECTORY_TABLE].update(range(first, last + 1))
    fragments = inodes["fragment"][files]
    blocks[Kind.FRAGMENT_TABLE].update(
        (fragments[fragments >= 0] // FRAGMENTS_PER_METADATA_BLOCK).tolist()
    )
    for kind in (Kind.SUPERBLOCK, Kind.COMPRESSION_OPTIONS, Kind.ID_TABLE):
        needed |= extents["kind"] == kind
    if has_xattr:
        needed |= extents["kind"] == Kind.XATTR_TABLE
    for kind in (*TABLES, Kind.EXPORT_TABLE):
        needed |= (extents["kind"] == kind) & np.isin(extents["index"], list(blocks[kind]))


def touched_by(path: Path) -> dict[bytes, Ranges]:
    """Return the files that a bootlog touched, and which ranges of them, where it tells.

    Args:
        path: A bootlog, plain or rich.

    Returns:
        For each path its ranges as (offset, length) in bytes; none for a file taken as a whole.

    Raises:
        FormatError: It is no bootlog.
    """
    with path.open("rb") as stream:
        rich = stream.read(18) == b"#bootprof-bootlog "
        stream.seek(0)
        if not rich:
            excluded = compile_excludes(DEFAULT_EXCLUDES)
            paths = distinct_paths(stream, str(path))
            return {name: [] for name in paths if name.startswith(b"/") and not excluded(name)}
        bootlog = read_bootlog(stream, str(path))
    used: dict[bytes, Ranges] = {}
    cached: dict[bytes, Ranges] = {}
    pseudo = {
        number for number, kind in enumerate(bootlog.file_systems) if kind in PSEUDO_FILE_SYSTEMS
    }
    fields = ["path", "operation", "offset_bytes", "length_bytes", "file_system"]
    for number, operation, offset, length, file_system in bootlog.events[fields].tolist():
        name = bootlog.paths[number]
        if file_system in pseudo or not name.startswith(b"/") or operation == Operation.BLOCK:
            continue
        ranges = used.setdefault(name, [])
        if length and operation in (Operation.READ, Operation.FAULT):
            ranges.append((offset, length))
        elif length and operation == Operation.CACHE:
            cached.setdefault(name, []).append((offset, length))
    # The page cache is filled by readahead too, so it counts only where nothing better is known.
    return {name: ranges or cached.get(name, []) for name, ranges in used.items()}
