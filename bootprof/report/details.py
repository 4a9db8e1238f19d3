# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""Details of one build beyond its block trace: image, causes, processes.

A detail that cannot be found is not an error: a report needs only block traces. It states what is
missing, and why.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from bootprof.errors import BootprofError
from bootprof.files import STANDARD_STREAM
from bootprof.report.comparison import Build
from bootprof.report.conditions import DESCRIPTION_NAME, read_description
from bootprof.report.imagemap import ImageMap, map_image
from bootprof.report.timeline import Timeline, make_timeline
from bootprof.units import quantity
from optimizer.analysis import Analysis, CauseRow, analyze
from optimizer.attribution import needed_reads
from optimizer.demand import Demand, demand_of, touched_by
from optimizer.drives.models import Drive
from optimizer.errors import FormatError, InputError
from optimizer.formats import BOOTLOG_NAMES, EVENTS_NAME
from optimizer.formats.blocktrace import BlockTrace
from optimizer.formats.bootlog import read_bootlog
from optimizer.formats.events import Bootlog
from optimizer.images.image import Image, check_trace, open_image
from optimizer.images.layout import FileType, Layout

PARTS = ("image_map", "causes", "timeline")


@dataclass(frozen=True, eq=False)
class Details:
    """Details of one build beyond its block trace.

    Where a part is None, ``absent`` says why, by its name.

    Attributes:
        image: The image, if it exists and is the one that was booted.
        image_map: Where everything lies on it.
        causes: Why it was read, on a modelled drive, and the least that it could read.
        timeline: Accesses by process and folder.
        absent: Reasons, by the names in :data:`PARTS`.
    """

    image: Path | None
    image_map: ImageMap | None
    causes: Analysis | None
    timeline: Timeline | None
    absent: Mapping[str, str]


def gather(build: Build, drives: Sequence[Drive]) -> Details:
    """Return the details that can be found next to the block trace of a build.

    Args:
        build: The build; its image, its bootlog and ``profile.json`` are looked for beside its
            block trace.
        drives: Causes are computed for the first of these that the image fits on.
    """
    if build.path == STANDARD_STREAM:
        reason = "nothing lies beside a block trace from standard input"
        return Details(None, None, None, None, dict.fromkeys(PARTS, reason))
    absent: dict[str, str] = {}
    folder = build.path.parent
    image, layout, iso = None, None, None
    try:
        opened = find_image(build)
        image, layout, iso = opened.path, opened.layout(), opened.iso
    except (BootprofError, OSError) as error:
        absent["image_map"] = absent["causes"] = sentence(error)
    timeline = None
    try:
        bootlog = load_events(folder)
        timeline = make_timeline(bootlog, sizes_of(bootlog, layout) if layout else None)
        if timeline is None:
            raise InputError(f"{folder / EVENTS_NAME} contains no access to a file of the image")
    except (BootprofError, OSError) as error:
        absent["timeline"] = sentence(error)
    image_map = causes = None
    if layout is not None:
        trace = build.trace
        needed = None
        try:
            demand = demand_from(folder, layout)
            needed = needed_reads(layout, demand, trace.reads, iso)
            causes = analyze(trace.reads, layout, iso, demand, drive_for(trace, drives))
        except (BootprofError, OSError) as error:
            absent["causes"] = sentence(error)
        image_map = map_image(layout, trace.image_bytes, trace.reads, needed)
    return Details(image, image_map, causes, timeline, absent)


def sentence(error: BootprofError | OSError) -> str:
    """Return an error as a reason."""
    if isinstance(error, BootprofError):
        return error.message
    return f"{error.filename}: {error.strerror}" if error.filename else str(error)


def find_image(build: Build) -> Image:
    """Open the image that a build's trace was made of.

    It is searched at the path in ``profile.json``, and next to the profile.

    Raises:
        InputError: It is not there, or it is another one.
    """
    folder, trace = build.path.parent, build.trace
    places = [folder / trace.image, folder.parent / trace.image]
    digest = trace.image_sha256
    described = read_description(folder)
    if described:
        name = described.get("image")
        if not isinstance(name, str) or "\0" in name:
            raise FormatError(f"{folder / DESCRIPTION_NAME}: names no image")
        named = Path(name)
        digest = digest or str(described.get("image_sha256") or "")
        places = [named, folder.parent / named, folder.parent / named.name, *places]
    present = next((place for place in places if place.is_file()), None)
    if present is None:
        raise InputError(f"the image {places[0]} does not exist")
    image = open_image(present)
    check_trace(image, replace(trace, image_sha256=digest), str(build.path))
    return image


def load_events(folder: Path) -> Bootlog:
    """Return the bootlog of a profile in the ``events`` format.

    Raises:
        InputError: It has none.
        FormatError: It is none.
    """
    file = folder / EVENTS_NAME
    if not file.is_file():
        raise InputError(f"{folder} contains no {EVENTS_NAME}, which records times and processes")
    with file.open("rb") as stream:
        return read_bootlog(stream, str(file))


def sizes_of(bootlog: Bootlog, layout: Layout) -> dict[bytes, int]:
    """Return the sizes of the files of a bootlog; symbolic links count with what they point to."""
    sizes = {}
    for path in bootlog.paths:
        way = layout.resolve(path) if path.startswith(b"/") else None
        if way:
            inode = layout.inodes[int(layout.entries["inode"][way[-1]])]
            if inode["type"] == FileType.FILE:
                sizes[path] = int(inode["size_bytes"])
    return sizes


def demand_from(folder: Path, layout: Layout) -> Demand:
    """Return what a boot needs of its image, according to its bootlog.

    Raises:
        InputError: There is no bootlog, or it is of other files.
        FormatError: It is none.
    """
    present = (folder / name for name in BOOTLOG_NAMES if (folder / name).is_file())
    bootlog = next(present, None)
    if bootlog is None:
        raise InputError(f"{folder} contains no bootlog, so it is unknown what the boot needed")
    demand = demand_of(layout, touched_by(bootlog))
    if not demand.files:
        raise InputError(f"{bootlog}: none of its files is in the image")
    return demand


def drive_for(trace: BlockTrace, drives: Sequence[Drive]) -> Drive:
    """Return the first drive that an image fits on.

    Raises:
        InputError: It fits on none, or nothing was read.
    """
    drive = next((each for each in drives if trace.image_bytes <= each.capacity_bytes), None)
    if drive is None:
        raise InputError("the image fits on none of the drives")
    if not len(trace.reads):
        raise InputError("the block trace contains no reads")
    return drive


def cost_cells(row: CauseRow) -> list[str]:
    """Return what a cause has cost as cells of a table."""
    return [
        quantity(row.bytes, "bytes"),
        quantity(row.needed_bytes, "bytes"),
        quantity(row.seeks, ""),
        quantity(row.long_seeks, ""),
        quantity(row.seek_distance_bytes, "bytes"),
        quantity(row.positioning_seconds, "seconds"),
        quantity(row.transfer_seconds, "seconds"),
    ]
