# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""Readahead lists: which byte ranges of a squashfs a boot needs, in the order of their position.

A list is made from the bytes that a boot touched (:mod:`optimizer.demand`) or from a block trace of
the same image. All tables of a squashfs count as one range: every file needs some block of them, it
is unknown which one the next file needs, and they are contiguous.

Ranges are joined if reading the gap between them costs the drive less than a new request. One pass
over the gaps is enough, because the cost of a gap does not depend on other gaps.

:mod:`optimizer.formats.readahead_list` has the file that the ranges are written to.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from optimizer.demand import Demand, Ranges, demand_of
from optimizer.drives.models import Drive
from optimizer.drives.seek import modelled_seconds
from optimizer.errors import InputError
from optimizer.formats.blocktrace import Reads
from optimizer.formats.readahead_list import (
    RANGE_DTYPE,
    SUPERBLOCK_BYTES,
    ListRanges,
    ReadaheadList,
)
from optimizer.images.layout import Layout
from optimizer.kernel import PAGE_BYTES
from optimizer.spans import Spans, common, make_spans, merge, spans_of

# Of read_ahead_kb, 128 on most devices, mm/filemap.c takes half before a page fault
# (do_sync_mmap_readahead()); the window of sequential reads is all of it (mm/readahead.c).
READ_BEHIND_BYTES = 64 << 10
READ_AHEAD_BYTES = 128 << 10


@dataclass(frozen=True)
class Plan:
    """Ranges, and their cost on the drive that they were made for.

    Attributes:
        ranges: Shape (ranges,), of :data:`RANGE_DTYPE`.
        wanted_bytes: Bytes that the boot needs, in whole pages.
        bridged_gaps: Number of gaps that are read through.
        bridged_bytes: Unneeded bytes in these gaps.
        seconds: Modelled time of one pass over the ranges.
        stretch_seconds: The same without bridged gaps.
    """

    ranges: ListRanges
    wanted_bytes: int
    bridged_gaps: int
    bridged_bytes: int
    seconds: float
    stretch_seconds: float


def with_kernel_readahead(ranges: Ranges) -> Ranges:
    """Extend ranges that processes requested by the kernel readahead around them.

    It reads the file around a page fault and ahead of a read, and so asks for blocks that no
    process has touched, in every boot again. Read in the pass, they cost no seek.

    Args:
        ranges: Ranges of one file; none for all of it, which stays so.
    """
    widened = []
    for offset, size in ranges:
        begin = max(0, offset - READ_BEHIND_BYTES)
        widened.append((begin, offset + size + READ_AHEAD_BYTES - begin))
    return widened


def wanted_by_demand(layout: Layout, demand: Demand) -> Spans:
    """Return what a boot needs of an image as spans of the image file: content, and all tables.

    Of metadata that lies all over an image (EROFS), only what the boot needs.
    """
    tables = ~layout.is_content & layout.metadata_is_together
    return spans_of(layout.extent_map.extents[demand.needed | tables])


def wanted_by_trace(layout: Layout, reads: Reads) -> Spans:
    """Return what of the squashfs a boot has read, and all tables, as spans of the image file.

    Args:
        layout: The image.
        reads: Shape (reads,), of :data:`optimizer.formats.blocktrace.READ_DTYPE`.
    """
    whole = make_spans(layout.offset_bytes, layout.size_bytes)
    return np.concatenate((common(whole, reads), wanted_by_demand(layout, demand_of(layout, {}))))


def plan(layout: Layout, wanted: Spans, drive: Drive) -> Plan:
    """Turn the needed spans into ranges in the order of position.

    Args:
        layout: The image.
        wanted: Spans of the image file, all of them within the squashfs.
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
    pages = spans_of(wanted[wanted["length_bytes"] > 0])
    ends = pages["offset_bytes"] + pages["length_bytes"] - start
    first = (pages["offset_bytes"] - start) // PAGE_BYTES * PAGE_BYTES
    pages["offset_bytes"] = first + start
    pages["length_bytes"] = np.minimum(-(-ends // PAGE_BYTES) * PAGE_BYTES, layout.size_bytes)
    pages["length_bytes"] -= first
    stretches = merge(pages)
    joined = _join(stretches, _bridges(stretches, drive))
    ranges = np.zeros(len(joined), RANGE_DTYPE)
    ranges["offset_bytes"] = joined["offset_bytes"] - start
    ranges["length_bytes"] = joined["length_bytes"]
    if layout.metadata_is_together:
        ranges = _apart(layout, ranges)
    wanted_bytes = int(stretches["length_bytes"].sum())
    return Plan(
        ranges=ranges,
        wanted_bytes=wanted_bytes,
        bridged_gaps=len(stretches) - len(joined),
        bridged_bytes=int(joined["length_bytes"].sum()) - wanted_bytes,
        seconds=modelled_seconds(joined, drive),
        stretch_seconds=modelled_seconds(stretches, drive),
    )


def _bridges(stretches: Spans, drive: Drive) -> NDArray[np.bool_]:
    """Return for each gap between two stretches whether reading it is cheaper than a request."""
    ends = (stretches["offset_bytes"] + stretches["length_bytes"])[:-1]
    offsets = stretches["offset_bytes"][1:]
    through = drive.pass_seconds(offsets) - drive.pass_seconds(ends)
    request = drive.overhead_ms / 1e3 + drive.positioning_seconds(ends, offsets)
    return np.asarray(through <= request)


def _join(stretches: Spans, bridged: NDArray[np.bool_]) -> Spans:
    """Join stretches over the gaps that are bridged."""
    if not len(stretches):
        return stretches
    first = np.concatenate(([True], ~bridged))
    last = np.concatenate((~bridged, [True]))
    joined = stretches[first].copy()
    ends = (stretches["offset_bytes"] + stretches["length_bytes"])[last]
    joined["length_bytes"] = ends - joined["offset_bytes"]
    return joined


def _apart(layout: Layout, ranges: ListRanges) -> ListRanges:
    """Mark the ranges with tables, and separate them from data directly before the tables.

    The mount of the squashfs waits for the tables, and not for the data.
    """
    # Superblock and options precede the data: marked as tables they would include it.
    border = (layout.tables_offset_bytes - layout.offset_bytes) // PAGE_BYTES * PAGE_BYTES
    ends = ranges["offset_bytes"] + ranges["length_bytes"]
    crossing = np.flatnonzero((ranges["offset_bytes"] < border) & (ends > border))
    parted = np.insert(ranges, crossing + 1, ranges[crossing])
    for index in crossing + np.arange(len(crossing)):
        parted["length_bytes"][index] = border - parted["offset_bytes"][index]
        parted["length_bytes"][index + 1] -= border - parted["offset_bytes"][index + 1]
        parted["offset_bytes"][index + 1] = border
    parted["tables"] = parted["offset_bytes"] >= border
    return parted


def list_of(layout: Layout, planned: Plan, drive: Drive) -> ReadaheadList:
    """Return the readahead list of a plan for a file system.

    Args:
        layout: Of the file system.
        planned: What is read.
        drive: The drive that the gaps were weighed for.
    """
    return ReadaheadList(
        layout.superblock_bytes[:SUPERBLOCK_BYTES],
        layout.size_bytes,
        drive.name,
        planned.ranges,
        layout.superblock_offset_bytes,
    )
