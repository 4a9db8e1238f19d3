# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""Maps the blocks that a boot read to files, each with a confidence.

A read of the medium shows which bytes were read, but not for which file. The rules are:

* A squashfs block can only be decompressed whole. If a read ends inside a block, the block was not
  requested: that is kernel readahead.
* A read that does not continue the previous one requested its first block; the blocks behind may be
  readahead.
* A fragment block holds the tails of several files, a data block may belong to several duplicates,
  and a page may hold several small blocks. Reads do not show which of them was requested, so they
  share the evidence.

docs/commands/convert.md compares the result with a tracer in the same boot.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from optimizer.drives.seek import seek_distances
from optimizer.formats.blocktrace import Reads
from optimizer.images.extents import EXTENT, ExtentMap, Extents, Role
from optimizer.images.iso9660 import IsoLayout
from optimizer.images.layout import Layout
from optimizer.kernel import PAGE_BYTES
from optimizer.spans import merge

# A file of an ISO is not compressed: it is looked at in pieces of this size.
ISO_PIECE_BYTES = 32768

CAME_ALONG = 0.5
"""Weight of a piece that was read whole, but possibly only because it follows another one."""

SHARED = 1 / 3
"""Weight of a piece that several files share. Measured, it does not depend on how many they are."""

READAHEAD_BYTES = 256 << 10
"""Maximum of kernel readahead, unless a process requests more (twice the usual
read_ahead_kb of 128)."""

DEFAULT_THRESHOLD = 0.15
"""Confidence from which on a file counts as read: below that of a shared piece that came along, so
that what is left out are files of which about half or less came. An order made of these makes the
shortest seeks: a small file too many costs less than one that is missing."""

Pieces = NDArray[np.void]
"""Rows of :data:`PIECE`."""

Touches = NDArray[np.void]
"""Rows of :data:`TOUCH`."""

Findings = NDArray[np.void]
"""Rows of :data:`FINDING`."""

PIECE = np.dtype(
    [
        ("file", "<i8"),
        ("extent", "<i8"),
        ("file_offset_bytes", "<i8"),
        ("file_bytes", "<i8"),
    ]
)
"""One piece of a file: the file, the extent of the image that holds it, offset in the file and
length in bytes there."""

TOUCH = np.dtype(
    [
        ("read", "<i8"),
        ("file", "<i8"),
        ("file_offset_bytes", "<i8"),
        ("file_bytes", "<i8"),
    ]
)
"""One piece of a file that was read whole: the first read that brought any of it, then as in
:data:`PIECE`."""

FINDING = np.dtype(
    [
        ("confidence", "<f8"),
        ("bytes_covered", "<i8"),
        ("bytes_total", "<i8"),
    ]
)
"""Result for one file: confidence from 0 to 1 that it was read, bytes of the file in pieces
that were read whole, and in all pieces (holes of sparse files are no pieces)."""


@dataclass(frozen=True)
class MappedFile:
    """A file of the image.

    Attributes:
        path: Absolute; of several hard links the one that comes first in the image.
        inode: Its number in the file system, 0 where there is none (ISO 9660).
        file_system: ``squashfs`` or ``iso9660``.
    """

    path: bytes
    inode: int
    file_system: bytes


@dataclass(frozen=True, eq=False)
class FileMap:
    """Which bytes of an image belong to which files.

    Attributes:
        files: All regular files with content.
        extents: The parts of the image that hold files, ascending by offset; without owners.
        pieces: Rows of :data:`PIECE`, ascending by extent.
    """

    files: list[MappedFile]
    extents: ExtentMap
    pieces: Pieces


@dataclass(frozen=True, eq=False)
class FoundFiles:
    """Files of an image that were read, derived from block reads.

    Attributes:
        touches: Rows of :data:`TOUCH` in the order of access.
        findings: One row of :data:`FINDING` for each of ``FileMap.files``.
    """

    touches: Touches
    findings: Findings

    def order(self) -> NDArray[np.int64]:
        """Return the files with a confidence over 0, in the order of first access."""
        distinct, first = np.unique(self.touches["file"], return_index=True)
        return np.asarray(distinct[np.argsort(first)], np.int64)


def map_files(
    layouts: Iterable[Layout], iso: IsoLayout | None = None, medium: bytes = b""
) -> FileMap:
    """Gather the files of an image.

    Args:
        layouts: The file systems in the image.
        iso: The ISO 9660 file system around them, if there is one. Its files that are one of
            ``layouts`` are left out: what is in them counts.
        medium: Directory that the paths of the ISO's files are put below.
    """
    files: list[MappedFile] = []
    extents, pieces = [], []
    inner = set()
    extent_count = 0
    for layout in layouts:
        inner.add(layout.offset_bytes)
        some_extents, some_pieces = _layout_pieces(layout, files)
        some_pieces["extent"] += extent_count
        extent_count += some_extents.size
        extents.append(some_extents)
        pieces.append(some_pieces)
    if iso is not None:
        some_extents, some_pieces = _iso_pieces(iso, inner, medium, files)
        some_pieces["extent"] += extent_count
        extents.append(some_extents)
        pieces.append(some_pieces)
    all_extents = np.concatenate([np.zeros(0, EXTENT), *extents])
    all_pieces = np.concatenate([np.zeros(0, PIECE), *pieces])
    order = np.argsort(all_extents["offset_bytes"], kind="stable")
    rank = np.empty(order.size, np.int64)
    rank[order] = np.arange(order.size)
    all_pieces["extent"] = rank[all_pieces["extent"]]
    all_pieces = all_pieces[np.argsort(all_pieces["extent"], kind="stable")]
    return FileMap(files, ExtentMap.without_owners(all_extents[order]), all_pieces)


def _layout_pieces(layout: Layout, files: list[MappedFile]) -> tuple[Extents, Pieces]:
    """Return extents and pieces of a file system; its files are added to ``files``."""
    everything = layout.extent_map.extents
    filled = layout.file_extents[layout.file_extents["extent"] >= 0]
    holds_files = layout.is_content.copy()
    holds_files[filled["extent"]] = True
    pieces = np.zeros(filled.size, PIECE)
    pieces["extent"] = (np.cumsum(holds_files) - 1)[filled["extent"]]
    pieces["file"] = filled["inode"]
    for name in ("file_offset_bytes", "file_bytes"):
        pieces[name] = filled[name]

    used = np.unique(pieces["file"])
    order, first = layout.paths_by_inode
    number = np.full(layout.inodes.size, -1, np.int64)
    number[used] = np.arange(len(files), len(files) + used.size)
    pieces["file"] = number[pieces["file"]]
    names = order[first[used]].tolist()
    numbers = layout.inodes["number"][used].tolist()
    files += [
        MappedFile(layout.paths[name], inode, layout.format.encode())
        for name, inode in zip(names, numbers, strict=True)
    ]
    return everything[holds_files], pieces


def _iso_pieces(
    iso: IsoLayout, inner: set[int], medium: bytes, files: list[MappedFile]
) -> tuple[Extents, Pieces]:
    """Return extents and pieces of an ISO; its files are added to ``files``."""
    places: list[tuple[int, int]] = []
    pieces: list[tuple[int, int, int, int]] = []
    extent_of: dict[tuple[int, int], int] = {}
    for path, regions in iso.files().items():
        if regions[0].offset_bytes in inner:
            continue
        file_offset = 0
        for region in regions:
            end = region.offset_bytes + region.length_bytes
            for offset in range(region.offset_bytes, end, ISO_PIECE_BYTES):
                length = min(ISO_PIECE_BYTES, end - offset)
                extent = extent_of.setdefault((offset, length), len(places))
                if extent == len(places):
                    places.append((offset, length))
                pieces.append((len(files), extent, file_offset, length))
                file_offset += length
        files.append(MappedFile(medium + path, 0, b"iso9660"))
    extents = np.zeros(len(places), EXTENT)
    extents["role"] = Role.DATA
    extents["offset_bytes"] = [offset for offset, _ in places]
    extents["length_bytes"] = [length for _, length in places]
    return extents, np.array(pieces, PIECE)


def find_files(files: FileMap, reads: Reads, *, exact: bool = False) -> FoundFiles:
    """Return which files were read.

    Args:
        files: The image.
        reads: Shape (reads,), of :data:`optimizer.formats.blocktrace.READ_DTYPE`, in their order.
        exact: The reads are requests of the file system itself, so that nothing was read ahead with
            another file: those of the loop device that a squashfs is mounted from. Then a file was
            read if any block was that it has for itself.
    """
    extents = files.extents.extents
    starts = extents["offset_bytes"]
    merged = merge(reads)
    rows = files.extents.overlaps(merged["offset_bytes"], merged["length_bytes"])
    covered = np.bincount(rows["extent"], rows["length_bytes"], extents.size)
    whole = (covered >= extents["length_bytes"]) & (extents["length_bytes"] > 0)

    asked_for, in_page = whole, np.ones(extents.size, np.int64)
    if not exact:
        in_page = _in_one_page(extents)
        asked_for = whole & _begins_a_jump(reads, starts, in_page > 1, whole)

    findings = np.zeros(len(files.files), FINDING)
    pieces = files.pieces
    is_whole = whole[pieces["extent"]]
    findings["bytes_total"] = _sum(pieces["file"], pieces["file_bytes"], len(files.files))
    findings["bytes_covered"] = _sum(
        pieces["file"], np.where(is_whole, pieces["file_bytes"], 0), len(files.files)
    )
    if exact:
        findings["confidence"] = _certainty(files, whole)
    else:
        findings["confidence"] = _confidence(files, whole, asked_for, in_page)
    return FoundFiles(_touches(files, reads, whole), findings)


def _in_one_page(extents: Extents) -> NDArray[np.int64]:
    """Return for each extent how many share the page that it lies in; 1 if it has a page alone.

    What is read is pages, so small blocks in one page say no more than tails in one fragment.
    """
    first = extents["offset_bytes"] // PAGE_BYTES
    last = (extents["offset_bytes"] + extents["length_bytes"] - 1) // PAGE_BYTES
    pages = np.sort(np.concatenate([first, last[last > first]]))
    count = np.searchsorted(pages, first, side="right") - np.searchsorted(pages, first)
    return np.where(first == last, count, 1)


def _begins_a_jump(
    reads: Reads,
    starts: NDArray[np.int64],
    small: NDArray[np.bool_],
    whole: NDArray[np.bool_],
) -> NDArray[np.bool_]:
    """Return which extents begin in the first page of a read that does not continue the last one.

    Of several in one such page the one that reaches out of it explains the read; those that share
    the page with it do not count then.
    """
    jumps = np.sort(reads["offset_bytes"][seek_distances(reads) > 0])
    if not jumps.size:
        return np.zeros(starts.size, bool)
    jump = np.maximum(np.searchsorted(jumps, starts, side="right") - 1, 0)
    distance = starts - jumps[jump]
    begins = whole & (distance >= 0) & (distance < PAGE_BYTES)
    explained = np.zeros(jumps.size, bool)
    explained[jump[begins & ~small]] = True
    return np.asarray(begins & ~(small & explained[jump]))


def _sum(groups: NDArray[np.int64], values: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    return np.bincount(groups, values, count).astype(np.int64)


def _touches(files: FileMap, reads: Reads, whole: NDArray[np.bool_]) -> Touches:
    rows = files.extents.overlaps(reads["offset_bytes"], reads["length_bytes"])
    rows = rows[whole[rows["extent"]]]
    touched, first = np.unique(rows["extent"], return_index=True)
    order = np.argsort(first, kind="stable")
    touched, first = touched[order], first[order]
    begin = np.searchsorted(files.pieces["extent"], touched, side="left")
    counts = np.searchsorted(files.pieces["extent"], touched, side="right") - begin
    position = np.repeat(np.arange(touched.size), counts)
    place = np.arange(position.size) + np.repeat(begin - (np.cumsum(counts) - counts), counts)
    touches = np.zeros(place.size, TOUCH)
    touches["read"] = rows["read"][first[position]]
    for name in ("file", "file_offset_bytes", "file_bytes"):
        touches[name] = files.pieces[name][place]
    return touches


def _certainty(files: FileMap, whole: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return the confidence that each file was read, where nothing came along with another file."""
    extent = files.pieces["extent"]
    own = np.bincount(extent, minlength=whole.size)[extent] == 1
    confidence = np.zeros(len(files.files))
    np.maximum.at(confidence, files.pieces["file"], whole[extent] * np.where(own, 1.0, SHARED))
    return confidence


def _confidence(
    files: FileMap,
    whole: NDArray[np.bool_],
    asked_for: NDArray[np.bool_],
    in_page: NDArray[np.int64],
) -> NDArray[np.float64]:
    """Return the confidence that each file was read.

    Each piece that was read whole counts with its bytes; a piece that several files share counts a
    third; half of that where it may just have come along: no read went to it on purpose, nor to a
    piece that is this file's alone, and of these there is no more than readahead brings. That is
    multiplied by the share of the file that was read whole: in the boots that were measured none of
    the files of which less than half came was read, they lie behind one that was.
    """
    count = len(files.files)
    pieces = files.pieces
    file, extent = pieces["file"], pieces["extent"]
    sharing = (np.bincount(extent, minlength=asked_for.size) * in_page)[extent]
    own = sharing == 1
    length = files.extents.extents["length_bytes"][extent]
    on_purpose = np.bincount(file, own * whole[extent] * length, count) > READAHEAD_BYTES
    on_purpose[file[own & asked_for[extent]]] = True
    weight = np.where(asked_for[extent] | on_purpose[file], 1.0, CAME_ALONG)
    weight[~own] *= SHARED
    covered_bytes = whole[extent] * pieces["file_bytes"]
    total = np.maximum(np.bincount(file, pieces["file_bytes"], count), 1)
    share = np.bincount(file, covered_bytes, count) / total
    return np.minimum(1.0, np.bincount(file, covered_bytes * weight, count) / total) * share
