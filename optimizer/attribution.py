# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""Causes of reads: every byte and every seek of a block trace, by cause.

It compares the bytes that a boot needs according to its bootlog (:mod:`optimizer.demand`) with the
bytes that it read according to the block trace.

A compressed block can only be read whole. Its share of bytes that the boot did not touch is counted
as *cold neighbours*, in proportion to the decompressed bytes.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from optimizer.demand import Demand
from optimizer.drives.models import Drive
from optimizer.drives.seek import previous_ends, read_seconds, seek_distances
from optimizer.formats.blocktrace import Reads
from optimizer.images.extents import Role
from optimizer.images.iso9660 import IsoLayout
from optimizer.images.layout import Layout
from optimizer.spans import Spans, common, make_spans, merge, overlaps, reach_of, spans_of

# A smaller file may be one that the live system reads for itself.
LOADED_BYTES = 1 << 16


class Cause(IntEnum):
    """Why bytes were read."""

    NEEDED_DATA = 0
    COLD_NEIGHBOURS = 1
    READAHEAD = 2
    UNKNOWN_DATA = 3
    INODE_TABLE = 4
    DIRECTORY_TABLE = 5
    FRAGMENT_TABLE = 6
    XATTR_TABLE = 7
    OTHER_TABLES = 8
    ISO_RECORDS = 9
    BOOT_LOADER = 10
    PROBES = 11
    PADDING = 12

    @property
    def label(self) -> str:
        """The readable title."""
        return LABELS[self]


LABELS = {
    Cause.NEEDED_DATA: "needed data",
    Cause.COLD_NEIGHBOURS: "cold neighbours in needed blocks",
    Cause.READAHEAD: "kernel readahead",
    Cause.UNKNOWN_DATA: "data that no event explains",
    Cause.INODE_TABLE: "inode table",
    Cause.DIRECTORY_TABLE: "directory table",
    Cause.FRAGMENT_TABLE: "fragment table",
    Cause.XATTR_TABLE: "xattr table",
    Cause.OTHER_TABLES: "superblock, id and export table",
    Cause.ISO_RECORDS: "ISO directory records",
    Cause.BOOT_LOADER: "boot loader, kernel, initrd",
    Cause.PROBES: "probes of the device",
    Cause.PADDING: "padding",
}
METADATA_CAUSES = {
    Role.INODES: Cause.INODE_TABLE,
    Role.DIRECTORIES: Cause.DIRECTORY_TABLE,
    Role.PACKED_INDEX: Cause.FRAGMENT_TABLE,
    Role.XATTRS: Cause.XATTR_TABLE,
}
# Kinds of regions of an ISO that describe it.
RECORDS = ("directory", "path table", "volume descriptors")


@dataclass(frozen=True, eq=False)
class Attribution:
    """A block trace by cause. Arrays have shape (causes,) unless stated otherwise.

    Attributes:
        bytes_read: Every byte of the trace is in exactly one of these.
        needed_bytes: Those of ``bytes_read`` that had to be read (again counts again).
        seeks: Non-contiguous reads.
        long_seeks: Those over the limit that was given.
        seek_distance_bytes: Sum of the distances.
        positioning_seconds: Modelled time of overhead and positioning.
        transfer_seconds: Modelled time of the transfer.
        journeys: Shape (causes, causes): seek distance in bytes from one cause to another.
    """

    bytes_read: NDArray[np.int64]
    needed_bytes: NDArray[np.int64]
    seeks: NDArray[np.int64]
    long_seeks: NDArray[np.int64]
    seek_distance_bytes: NDArray[np.int64]
    positioning_seconds: NDArray[np.float64]
    transfer_seconds: NDArray[np.float64]
    journeys: NDArray[np.int64]


def loader_reads(layout: Layout, reads: Reads, iso: IsoLayout | None) -> int:
    """Return how many reads at the start of a trace are the firmware's and the boot loader's.

    A loader reads large files of the ISO whole, kernel and initrds (all but their last bytes,
    which a read of what follows may bring), and nothing else does. It is done when it reaches the
    end of the last of them; later reads of these files are probes for signatures. Without an ISO
    all reads before the first one of the squashfs count.
    """
    offsets = reads["offset_bytes"]
    ends = offsets + reads["length_bytes"]
    if iso is None:
        inside = (ends > layout.offset_bytes) & (offsets < layout.offset_bytes + layout.size_bytes)
        return int(np.argmax(inside)) if inside.any() else len(reads)
    count = 0
    for region in iso.regions:
        if region.kind != "file" or region.offset_bytes == layout.offset_bytes:
            continue
        end = np.minimum(ends, region.offset_bytes + region.length_bytes)
        read = np.maximum(end - np.maximum(offsets, region.offset_bytes), 0)
        nearly = np.cumsum(read) >= 0.9 * region.length_bytes
        if nearly.any() and region.length_bytes >= LOADED_BYTES:
            # A read of the bytes behind a file may have touched its end before.
            begin = int(np.argmax(nearly))
            rest = np.where(read[begin:] > 0, end[begin:], 0)
            count = max(count, begin + int(np.argmax(rest)) + 1)
    return count


def attribute(
    reads: Reads,
    layout: Layout,
    demand: Demand,
    drive: Drive,
    iso: IsoLayout | None = None,
    long_seek_bytes: int = 1_000_000,
) -> Attribution:
    """Give every byte and every seek of a block trace a cause.

    A seek has the cause of most of the needed bytes that its read brought, or of most of its bytes
    if it brought none that were needed. Cold data is *kernel readahead* where the contiguous run of
    reads that it came with brought needed bytes of the squashfs too; by itself it is *data that no
    event explains*.

    Args:
        reads: Shape (reads,), of :data:`optimizer.formats.blocktrace.READ_DTYPE`.
        layout: The squashfs of the image.
        demand: What the boot needs of it.
        drive: Drive that times are modelled for.
        iso: The ISO around it, if there is one.
        long_seek_bytes: Seeks over this distance are long.
    """
    count, causes = len(reads), len(Cause)
    got = np.zeros((count, causes), np.int64)
    must = np.zeros((count, causes), np.int64)
    rows = layout.overlaps(reads["offset_bytes"], reads["length_bytes"])
    read, extent, length = rows["read"], rows["extent"], rows["length_bytes"]
    role, needed = layout.extent_map.extents["role"][extent], demand.needed[extent]
    cause_of_role = np.full(len(Role), Cause.OTHER_TABLES)
    for metadata, cause in METADATA_CAUSES.items():
        cause_of_role[metadata] = cause
    is_data = layout.is_content[extent]
    hot = np.rint(length * demand.hot_share[extent]).astype(np.int64)
    for chosen, cause, share in (
        (is_data & needed, Cause.NEEDED_DATA, hot),
        (is_data & needed, Cause.COLD_NEIGHBOURS, length - hot),
    ):
        np.add.at(got, (read[chosen], cause), share[chosen])
        np.add.at(must, (read[chosen], cause), share[chosen])
    table = ~is_data
    np.add.at(got, (read[table], cause_of_role[role[table]]), length[table])
    both = table & needed
    np.add.at(must, (read[both], cause_of_role[role[both]]), length[both])

    distances = seek_distances(reads)
    run = np.cumsum(distances > 0)
    useful = np.bincount(run, must.sum(axis=1), int(run[-1]) + 1 if count else 0) > 0
    cold = is_data & ~needed
    explained = np.where(useful[run[read]], Cause.READAHEAD, Cause.UNKNOWN_DATA)
    np.add.at(got, (read[cold], explained[cold]), length[cold])

    loader = np.arange(count) < loader_reads(layout, reads, iso)
    if iso is not None:
        _attribute_iso(reads, iso, layout, loader, got, must)
    left = reads["length_bytes"] - got.sum(axis=1)
    nothing = np.where(left == reads["length_bytes"], Cause.PROBES, Cause.PADDING)
    stray = np.where(loader, Cause.BOOT_LOADER, nothing)
    got[np.arange(count), stray] += left
    must[loader, Cause.BOOT_LOADER] = got[loader, Cause.BOOT_LOADER]

    main = np.where(must.any(axis=1), must.argmax(axis=1), got.argmax(axis=1))
    seconds = read_seconds(reads, drive)
    ends = reads["offset_bytes"] + reads["length_bytes"]
    transfer = drive.pass_seconds(ends) - drive.pass_seconds(reads["offset_bytes"])
    per_byte = transfer / np.maximum(reads["length_bytes"], 1)
    journeys = np.zeros((causes, causes), np.int64)
    if count:
        np.add.at(journeys, (np.r_[int(main[0]), main[:-1]], main), distances)

    def by_cause(values: NDArray[np.int64]) -> NDArray[np.int64]:
        totals = np.zeros(causes, np.int64)
        np.add.at(totals, main, values)
        return totals

    return Attribution(
        bytes_read=got.sum(axis=0),
        needed_bytes=must.sum(axis=0),
        seeks=by_cause(np.asarray(distances > 0, np.int64)),
        long_seeks=by_cause(np.asarray(distances > long_seek_bytes, np.int64)),
        seek_distance_bytes=by_cause(distances),
        positioning_seconds=np.bincount(main, seconds - transfer, causes).astype(np.float64),
        transfer_seconds=(got * per_byte[:, None]).sum(axis=0),
        journeys=journeys,
    )


def _attribute_iso(
    reads: Reads,
    iso: IsoLayout,
    layout: Layout,
    loader: NDArray[np.bool_],
    got: NDArray[np.int64],
    must: NDArray[np.int64],
) -> None:
    """Give the bytes outside the squashfs to boot loader, ISO records and probes."""
    parts, records, reach = [], [], 0
    for region in iso.regions:
        begin = max(region.offset_bytes, reach)
        end = region.offset_bytes + region.length_bytes
        if begin < end and region.offset_bytes != layout.offset_bytes:
            parts.append((begin, end - begin))
            records.append(region.kind in RECORDS)
            reach = end
    outside = make_spans(*np.array(parts, np.int64).reshape(-1, 2).T)
    rows = overlaps(outside, reach_of(outside), reads["offset_bytes"], reads["length_bytes"])
    read = rows["read"]
    # What the loader reads it needs. Later its files are unneeded: who reads there looks for
    # signatures of file systems and partitions.
    is_record = np.array(records, bool)[rows["extent"]]
    cause = np.where(loader[read], Cause.BOOT_LOADER, Cause.PROBES)
    cause = np.where(is_record & ~loader[read], Cause.ISO_RECORDS, cause)
    np.add.at(got, (read, cause), rows["length_bytes"])
    np.add.at(must, (read[is_record], cause[is_record]), rows["length_bytes"][is_record])


def needed_reads(
    layout: Layout, demand: Demand, reads: Reads, iso: IsoLayout | None = None
) -> Spans:
    """Return what the boot must read as one ascending pass, see :func:`optimizer.drives.seek`.

    That is the demand, and of the parts of the image outside the squashfs all that the boot
    loader read, and the ISO's records that were read.

    Returns:
        Spans that neither overlap nor touch, ascending.
    """
    needed = [
        spans_of(layout.extent_map.extents[demand.needed]),
        spans_of(reads[: loader_reads(layout, reads, iso)]),
    ]
    regions = [region for region in iso.regions if region.kind in RECORDS] if iso else []
    records = make_spans(
        [region.offset_bytes for region in regions], [region.length_bytes for region in regions]
    )
    return merge(np.concatenate([*needed, common(records, reads)]))


def pass_seconds(spans: Spans, drive: Drive) -> float:
    """Return the least time for one ascending pass over what must be read.

    A gap is read through where that costs less than a new request, which is what a perfect
    readahead would do; so this is at most :func:`optimizer.drives.seek.bound_seconds`.

    Args:
        spans: Ascending spans that do not overlap, as :func:`needed_reads` returns them.
        drive: The drive.
    """
    if not len(spans):
        return 0.0
    separate = read_seconds(spans, drive)
    offsets = spans["offset_bytes"]
    ends = offsets + spans["length_bytes"]
    transfer = drive.pass_seconds(ends) - drive.pass_seconds(offsets)
    through = drive.pass_seconds(offsets) - drive.pass_seconds(previous_ends(spans))
    # There must be a first request, and it is one request from its own start.
    cost = np.minimum(separate - transfer, np.asarray(through))
    cost[0] = separate[0] - transfer[0]
    return float(cost.sum() + transfer.sum())
