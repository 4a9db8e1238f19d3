# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""How far a boot is from the least that it could read: modelled time, limit and causes."""

from __future__ import annotations

from dataclasses import dataclass

from optimizer.attribution import Attribution, Cause, attribute, needed_reads, pass_seconds
from optimizer.demand import Demand
from optimizer.drives.models import Drive
from optimizer.drives.seek import Totals, modelled_seconds, totals_of
from optimizer.formats.blocktrace import Reads
from optimizer.images.iso9660 import IsoLayout
from optimizer.images.layout import Layout
from optimizer.spans import common


@dataclass(frozen=True)
class CauseRow:
    """What one cause has cost; see :class:`optimizer.attribution.Attribution`.

    Attributes:
        cause: Name of the cause.
        title: The same as a title.
        bytes: Bytes that were read for it.
        needed_bytes: Those of them that had to be read.
        seeks: Non-contiguous reads.
        long_seeks: Those over the limit that was given.
        seek_distance_bytes: Sum of their distances.
        positioning_seconds: Modelled time of overhead and positioning.
        transfer_seconds: Modelled time of the transfer.
    """

    cause: str
    title: str
    bytes: int
    needed_bytes: int
    seeks: int
    long_seeks: int
    seek_distance_bytes: int
    positioning_seconds: float
    transfer_seconds: float


@dataclass(frozen=True)
class Journey:
    """Seek distance from the reads of one cause to those of another, in bytes."""

    start: Cause
    end: Cause
    seek_distance_bytes: int


@dataclass(frozen=True, eq=False)
class Analysis:
    """A boot, compared with the least that it could read.

    Attributes:
        drive: The drive that times are modelled for.
        totals: Of the block trace.
        found: Every byte and every seek by its cause.
        files: Number of files that the boot touched.
        missing: Touched paths that the image does not have.
        needed_bytes: Bytes that the boot must read.
        needed_and_read_bytes: Those of them that it read.
        modelled_seconds: What its reads cost.
        limit_seconds: What one pass over all that it must read would cost.
        read_limit_seconds: The same without the bytes that it did not read.
    """

    drive: Drive
    totals: Totals
    found: Attribution
    files: int
    missing: tuple[bytes, ...]
    needed_bytes: int
    needed_and_read_bytes: int
    modelled_seconds: float
    limit_seconds: float
    read_limit_seconds: float

    @property
    def ratio(self) -> float:
        """How many times as long as the limit the boot's reads take."""
        return self.modelled_seconds / self.limit_seconds

    @property
    def read_ratio(self) -> float | None:
        """The same for the read limit; None if no needed byte was read."""
        return self.modelled_seconds / self.read_limit_seconds if self.read_limit_seconds else None


def analyze(
    reads: Reads,
    layout: Layout,
    iso: IsoLayout | None,
    demand: Demand,
    drive: Drive,
    long_seek_bytes: int = 1_000_000,
) -> Analysis:
    """Compare what a boot read with what it needed.

    Args:
        reads: Shape (reads,), of :data:`optimizer.formats.blocktrace.READ_DTYPE`.
        layout: The file system of the image.
        iso: The ISO around it, if there is one.
        demand: What the boot needs of it.
        drive: Drive that times are modelled for; the image must fit on it.
        long_seek_bytes: Seeks over this distance are long.
    """
    needed = needed_reads(layout, demand, reads, iso)
    needed_and_read = common(needed, reads)
    return Analysis(
        drive=drive,
        totals=totals_of(reads),
        found=attribute(reads, layout, demand, drive, iso, long_seek_bytes),
        files=demand.files,
        missing=demand.missing,
        needed_bytes=int(needed["length_bytes"].sum()),
        needed_and_read_bytes=int(needed_and_read["length_bytes"].sum()),
        modelled_seconds=modelled_seconds(reads, drive),
        limit_seconds=pass_seconds(needed, drive),
        read_limit_seconds=pass_seconds(needed_and_read, drive),
    )


def cause_rows(found: Attribution) -> list[CauseRow]:
    """Return what each cause has cost."""
    return [
        CauseRow(
            cause=cause.name.lower(),
            title=cause.label,
            bytes=int(found.bytes_read[cause]),
            needed_bytes=int(found.needed_bytes[cause]),
            seeks=int(found.seeks[cause]),
            long_seeks=int(found.long_seeks[cause]),
            seek_distance_bytes=int(found.seek_distance_bytes[cause]),
            positioning_seconds=float(found.positioning_seconds[cause]),
            transfer_seconds=float(found.transfer_seconds[cause]),
        )
        for cause in Cause
    ]


def journeys(found: Attribution) -> list[Journey]:
    """Return the seek distance between each two causes, the longest first."""
    rows = [
        Journey(start, end, int(found.journeys[start, end]))
        for start in Cause
        for end in Cause
        if found.journeys[start, end]
    ]
    return sorted(rows, key=lambda row: -row.seek_distance_bytes)
