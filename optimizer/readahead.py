"""Readahead lists: which byte ranges of a squashfs a boot wants, in the order of their position.

A list is made from what a boot touched (the demand of :mod:`optimizer.attribution`) or from a block
trace of the very image. All tables count as one range: any file needs some block of them, nobody
knows which one the next file needs, and they lie together.

Ranges are joined where reading what is between costs the drive less than a new request. That takes
one look at each gap: what a gap costs does not depend on the other gaps.

The list is a text file, ``docs/commands/readahead.md`` describes it. It is for one squashfs only,
whose superblock is in it: another order of the files gives other positions of the tables.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from optimizer.attribution import common
from optimizer.demand import Demand, Ranges
from optimizer.drives.models import Drive
from optimizer.drives.seek import ascending_pass, modelled_seconds
from optimizer.errors import FormatError, InputError
from optimizer.formats.blocktrace import READ_DTYPE
from optimizer.images.squashfs.layout import Kind, Layout

MAGIC = b"#bootprof-readahead 1"
# fs/squashfs/squashfs_fs.h: struct squashfs_super_block.
SUPERBLOCK_BYTES = 96
# The page cache holds pages: a part of one costs as much as all of it.
PAGE_BYTES = 4096
# Of read_ahead_kb, 128 on most devices, mm/filemap.c takes half before a page fault
# (do_sync_mmap_readahead()); the window of sequential reads is all of it (mm/readahead.c).
READ_BEHIND_BYTES = 64 << 10
READ_AHEAD_BYTES = 128 << 10

RANGE_DTYPE = np.dtype(
    [("offset_bytes", np.int64), ("length_bytes", np.int64), ("tables", np.bool_)]
)
"""One range: offset from the start of the squashfs and length in bytes, whether it has tables."""

HEADER_LINE = re.compile(rb"#([a-z0-9_]+): (.*)")
RANGE_LINE = re.compile(rb"(\d{1,18})\t(\d{1,18})\t(tables|data)")
DATA_KINDS = (Kind.BLOCK, Kind.FRAGMENT)


@dataclass(frozen=True, eq=False)
class ReadaheadList:
    """A readahead list.

    Attributes:
        superblock: The first 96 bytes of the squashfs that it is for.
        squashfs_bytes: Size of that squashfs, without padding.
        drive: Name of the drive that the gaps were weighed for.
        ranges: Shape (ranges,), of :data:`RANGE_DTYPE`, ascending; they do not overlap, and touch
            only where tables follow data.
    """

    superblock: bytes
    squashfs_bytes: int
    drive: str
    ranges: NDArray[np.void]


@dataclass(frozen=True)
class Plan:
    """Ranges, and what they cost on the drive that they were made for.

    Attributes:
        ranges: Shape (ranges,), of :data:`RANGE_DTYPE`.
        wanted_bytes: Bytes that the boot wants, in whole pages.
        stretches: Number of ranges before any gap was bridged.
        bridged_bytes: Bytes that nobody wants, in the gaps that were bridged.
        seconds: Modelled time of one pass over the ranges.
        stretch_seconds: The same without bridged gaps.
    """

    ranges: NDArray[np.void]
    wanted_bytes: int
    stretches: int
    bridged_bytes: int
    seconds: float
    stretch_seconds: float


def with_kernel_readahead(touched: Mapping[bytes, Ranges]) -> dict[bytes, Ranges]:
    """Widen touched ranges by what the kernel reads with them.

    It reads the file around a page fault and ahead of a read, and so asks for blocks that no
    process has touched, in every boot again. Brought before, they cost no way of the head.

    Args:
        touched: Paths, and the ranges that were touched of each; none for a file as a whole.
    """
    widened: dict[bytes, Ranges] = {}
    for path, ranges in touched.items():
        widened[path] = []
        for offset, size in ranges:
            begin = max(0, offset - READ_BEHIND_BYTES)
            widened[path].append((begin, offset + size + READ_AHEAD_BYTES - begin))
    return widened


def wanted_by_demand(layout: Layout, demand: Demand) -> NDArray[np.void]:
    """Return what a boot needs of an image as reads of the image file: data, and all tables."""
    extents = layout.extent_map.extents
    is_data = np.isin(extents["kind"], DATA_KINDS)
    wanted = extents[demand.needed | ~is_data]
    reads = np.zeros(wanted.size, READ_DTYPE)
    reads["offset_bytes"] = wanted["offset_bytes"]
    reads["length_bytes"] = wanted["length_bytes"]
    return reads


def wanted_by_trace(layout: Layout, reads: NDArray[np.void]) -> NDArray[np.void]:
    """Return what of the squashfs a boot has read, and all tables, as reads of the image file.

    Args:
        layout: The image.
        reads: Shape (reads,), of :data:`optimizer.formats.blocktrace.READ_DTYPE`.
    """
    whole = np.zeros(1, READ_DTYPE)
    whole["offset_bytes"], whole["length_bytes"] = layout.offset_bytes, layout.size_bytes
    nothing = Demand(
        needed=np.zeros(layout.extent_map.extents.size, np.bool_),
        hot_share=np.zeros(layout.extent_map.extents.size),
        files=0,
        missing=(),
    )
    return np.concatenate((common(whole, reads), wanted_by_demand(layout, nothing)))


def plan(layout: Layout, wanted: NDArray[np.void], drive: Drive) -> Plan:
    """Turn what is wanted into ranges in the order of position.

    Args:
        layout: The image.
        wanted: Reads of the image file, of
            :data:`optimizer.formats.blocktrace.READ_DTYPE`, all of them within the squashfs.
        drive: The drive that is to read them; the image starts at its offset 0.

    Raises:
        InputError: The image does not fit on the drive.
    """
    start = layout.offset_bytes
    if start + layout.size_bytes > drive.capacity_bytes:
        raise InputError(
            f"{layout.name}: {start + layout.size_bytes} bytes do not fit on {drive.title}",
            hint="choose another drive with --drive",
        )
    # Both ends of the squashfs are ends of a page to the kernel, also where the last is short.
    pages = wanted[wanted["length_bytes"] > 0].copy()
    ends = pages["offset_bytes"] + pages["length_bytes"] - start
    first = (pages["offset_bytes"] - start) // PAGE_BYTES * PAGE_BYTES
    pages["offset_bytes"] = first + start
    pages["length_bytes"] = np.minimum(-(-ends // PAGE_BYTES) * PAGE_BYTES, layout.size_bytes)
    pages["length_bytes"] -= first
    stretches = ascending_pass(pages)
    joined = _join(stretches, _bridges(stretches, drive))
    ranges = np.zeros(len(joined), RANGE_DTYPE)
    ranges["offset_bytes"] = joined["offset_bytes"] - start
    ranges["length_bytes"] = joined["length_bytes"]
    ranges = _apart(layout, ranges)
    wanted_bytes = int(stretches["length_bytes"].sum())
    return Plan(
        ranges=ranges,
        wanted_bytes=wanted_bytes,
        stretches=len(stretches),
        bridged_bytes=int(joined["length_bytes"].sum()) - wanted_bytes,
        seconds=modelled_seconds(joined, drive),
        stretch_seconds=modelled_seconds(stretches, drive),
    )


def _bridges(stretches: NDArray[np.void], drive: Drive) -> NDArray[np.bool_]:
    """Return for each gap between two stretches whether reading it is cheaper than a request."""
    ends = (stretches["offset_bytes"] + stretches["length_bytes"])[:-1]
    offsets = stretches["offset_bytes"][1:]
    through = drive.pass_seconds(offsets) - drive.pass_seconds(ends)
    request = drive.overhead_ms / 1e3 + drive.positioning_seconds(ends, offsets)
    return np.asarray(through <= request)


def _join(stretches: NDArray[np.void], bridged: NDArray[np.bool_]) -> NDArray[np.void]:
    """Join stretches over the gaps that are bridged."""
    if not len(stretches):
        return stretches
    first = np.concatenate(([True], ~bridged))
    last = np.concatenate((~bridged, [True]))
    joined = stretches[first].copy()
    ends = (stretches["offset_bytes"] + stretches["length_bytes"])[last]
    joined["length_bytes"] = ends - joined["offset_bytes"]
    return joined


def _apart(layout: Layout, ranges: NDArray[np.void]) -> NDArray[np.void]:
    """Mark the ranges with tables, and part them from data that lies directly before the tables.

    Who mounts the squashfs waits for the tables, and not for the data.
    """
    extents = layout.extent_map.extents
    # Superblock and options stand before the data, which would draw all of that in.
    aside = (*DATA_KINDS, Kind.SUPERBLOCK, Kind.COMPRESSION_OPTIONS)
    tables = extents["offset_bytes"][~np.isin(extents["kind"], aside)] - layout.offset_bytes
    border = int(tables.min()) // PAGE_BYTES * PAGE_BYTES if tables.size else layout.size_bytes
    ends = ranges["offset_bytes"] + ranges["length_bytes"]
    crossing = np.flatnonzero((ranges["offset_bytes"] < border) & (ends > border))
    parted = np.insert(ranges, crossing + 1, ranges[crossing])
    for index in crossing + np.arange(len(crossing)):
        parted["length_bytes"][index] = border - parted["offset_bytes"][index]
        parted["length_bytes"][index + 1] -= border - parted["offset_bytes"][index + 1]
        parted["offset_bytes"][index + 1] = border
    parted["tables"] = parted["offset_bytes"] >= border
    return parted


def read_superblock_bytes(stream: BinaryIO, layout: Layout) -> bytes:
    """Return the superblock of a squashfs as it stands in its file, for a list.

    Args:
        stream: The image file.
        layout: Its layout.
    """
    stream.seek(layout.offset_bytes)
    return stream.read(SUPERBLOCK_BYTES)


def format_list(readahead: ReadaheadList) -> bytes:
    """Return a list as a file; :func:`parse_list` reads it back."""
    lines = [
        MAGIC,
        b"#superblock: " + readahead.superblock.hex().encode(),
        b"#squashfs_bytes: %d" % readahead.squashfs_bytes,
        b"#drive: " + readahead.drive.encode(),
        b"#ranges: %d" % len(readahead.ranges),
    ]
    lines += [
        b"%d\t%d\t%s" % (offset, length, b"tables" if tables else b"data")
        for offset, length, tables in readahead.ranges.tolist()
    ]
    return b"\n".join(lines) + b"\n"


def parse_list(stream: Iterable[bytes], file_name: str) -> ReadaheadList:
    """Read a list.

    Raises:
        FormatError: It is damaged, of another kind, or its ranges are not in order.
    """
    numbered = enumerate((line.rstrip(b"\n") for line in stream), 1)
    if next(numbered, (1, b""))[1] != MAGIC:
        raise FormatError(
            f"{file_name}: not a readahead list", hint="bootprof readahead IMAGE BOOTLOG makes one"
        )
    headers: dict[bytes, bytes] = {}
    rows: list[tuple[int, int, bool]] = []
    end = 0
    for number, line in numbered:
        if header := HEADER_LINE.fullmatch(line):
            headers[header[1]] = header[2]
            continue
        match = RANGE_LINE.fullmatch(line)
        if not match:
            raise FormatError(f"{file_name}: line {number}: not a range")
        offset, length = int(match[1]), int(match[2])
        if offset < end or not length:
            raise FormatError(f"{file_name}: line {number}: not behind the range before it")
        end = offset + length
        rows.append((offset, length, match[3] == b"tables"))
    try:
        superblock = bytes.fromhex(headers[b"superblock"].decode())
        size_bytes, count = int(headers[b"squashfs_bytes"]), int(headers[b"ranges"])
        drive = headers[b"drive"].decode()
    except (KeyError, ValueError):
        raise FormatError(f"{file_name}: a line of the header is missing or damaged") from None
    if len(superblock) != SUPERBLOCK_BYTES:
        raise FormatError(f"{file_name}: the superblock in the header is cut off")
    if count != len(rows):
        raise FormatError(f"{file_name}: {count} ranges are announced, {len(rows)} are there")
    if end > size_bytes:
        raise FormatError(f"{file_name}: ranges reach past the end of the squashfs")
    return ReadaheadList(superblock, size_bytes, drive, np.array(rows, RANGE_DTYPE))
