# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""The data of the figures that come from block traces, ready to draw.

Both renderers read them from here: :mod:`bootprof.report.plot` (PNG and SVG files by matplotlib)
and :mod:`bootprof.report.trace_figures` (SVG in the report). Series are in the units of their axes;
bytes are in decimal units, as in all tables.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bootprof.report.comparison import Build, Comparison
from bootprof.report.conditions import accelerators_of
from bootprof.units import byte_scale, quantity
from optimizer.drives.seek import previous_ends, seek_distances
from optimizer.formats.text import printable

LABEL_CHARACTERS = 28
# More points than pixels make a line no better to look at.
LINE_POINTS = 1000
MARGIN = 0.02
"""Room at both ends of an axis, as a share of it, so that no dot at an edge is cut."""

DASHES: tuple[tuple[int, ...], ...] = ((), (7, 4), (8, 3, 2, 3), (2, 3))
"""Lengths of dashes and gaps in pixels for the lines of builds, so that they differ without colour
too; empty for a solid line."""

TARGET_DASHES = (4, 3)
STROKE_INK = 0.7
"""Opacity of many overlapping strokes: dots remain visible on any number of them."""

Series = NDArray[np.float64]


@dataclass(frozen=True)
class Scale:
    """An axis of the plots.

    Attributes:
        title: Quantity, with the unit.
        high: Largest value that it has to show, in its unit; more than 0.
    """

    title: str
    high: float


@dataclass(frozen=True, eq=False)
class SeekPanel:
    """The reads of one build over time. Series have shape (reads,) or (seeks,).

    Attributes:
        title: Label of the build and its seek distance.
        description: The same in sentences, for screen readers.
        target_seconds: Time of the boot target.
        target_label: The same with its name.
        read_seconds: Time of each read.
        read_offsets: Its middle, in the unit of the offset axis.
        seek_seconds: Time of each seek.
        seek_starts: Where the read before it ended, in the unit of the offset axis.
        seek_ends: Where its read starts, likewise.
    """

    title: str
    description: str
    target_seconds: float
    target_label: str
    read_seconds: Series
    read_offsets: Series
    seek_seconds: Series
    seek_starts: Series
    seek_ends: Series


@dataclass(frozen=True, eq=False)
class SumLine:
    """The seek distance of one build up to each moment; the line is a step at each point.

    Attributes:
        label: Short label of the build.
        total: The whole seek distance, as text.
        seconds: Time of each point, shape (points,).
        heights: Seek distance in the unit of its axis, same shape.
    """

    label: str
    total: str
    seconds: Series
    heights: Series


@dataclass(frozen=True)
class Bar:
    """One value of a bar chart.

    Attributes:
        value: Not negative; None if there is none.
        text: Text to show.
    """

    value: float | None
    text: str


@dataclass(frozen=True)
class BarGroup:
    """A group of bars, one for each build.

    Attributes:
        title: The quantity that they show.
        bars: In the order of the builds.
    """

    title: str
    bars: tuple[Bar, ...]


@dataclass(frozen=True, eq=False)
class PlotData:
    """All figures that come from block traces.

    Attributes:
        labels: Short labels of the builds.
        seconds: Axis of the time since power-on.
        offsets: Axis of the offset on the image.
        distances: Axis of the seek distance.
        panels: Reads over time, for each build.
        sums: Seek distance over time, for each build.
        drives: Modelled time on each drive, in seconds.
    """

    labels: tuple[str, ...]
    seconds: Scale
    offsets: Scale
    distances: Scale
    panels: tuple[SeekPanel, ...]
    sums: tuple[SumLine, ...]
    drives: tuple[BarGroup, ...]


def plot_data(comparison: Comparison) -> PlotData:
    """Return the data of all figures that come from block traces."""
    builds = comparison.builds
    last_second = max(last_second_of(build) for build in builds)
    image_bytes = max(max(build.trace.image_bytes for build in builds), 1)
    offset_bytes, offset_unit = byte_scale(image_bytes)
    totals = [comparison.value(place, "seek-distance") or 0.0 for place in range(len(builds))]
    distance_bytes, distance_unit = byte_scale(max(totals))
    return PlotData(
        labels=tuple(short(build.label) for build in builds),
        seconds=Scale(time_title("time since power-on", builds), last_second),
        offsets=Scale(f"offset on the image ({offset_unit})", image_bytes / offset_bytes),
        distances=Scale(f"seek distance ({distance_unit})", max(totals) / distance_bytes or 1.0),
        panels=tuple(
            seek_panel(build, total, offset_bytes)
            for build, total in zip(builds, totals, strict=True)
        ),
        sums=tuple(
            sum_line(build, total, distance_bytes, last_second)
            for build, total in zip(builds, totals, strict=True)
        ),
        drives=tuple(
            BarGroup(
                printable(drive.title),
                tuple(
                    seconds_bar(comparison.value(place, drive.name), "does not fit")
                    for place in range(len(builds))
                ),
            )
            for drive in comparison.drives
        ),
    )


def seconds_bar(seconds: float | None, otherwise: str) -> Bar:
    """Return the bar of a time; with the text ``otherwise`` if there is none."""
    return Bar(seconds, otherwise if seconds is None else quantity(seconds, "seconds"))


def stroke_ink(strokes: int) -> float:
    """Return how opaque each stroke of a seek is, from 0 to 1.

    A few hundred strokes can be distinguished; a hundred thousand show only their density.
    """
    return float(np.clip(300 / max(strokes, 1), 0.03, 0.85))


def short(label: str) -> str:
    """Return a label that fits above a panel."""
    if len(label) <= LABEL_CHARACTERS:
        return label
    half = LABEL_CHARACTERS // 2
    return f"{label[: half - 1]}…{label[-half:]}"


def time_title(what: str, builds: Sequence[Build]) -> str:
    """Return the title of an axis of time, with the kind of machine whose time it is."""
    machine = accelerators_of([build.conditions for build in builds])
    return f"{what} (s, {machine})" if machine else f"{what} (s)"


def last_second_of(build: Build) -> float:
    """Return the last second that the panel of a build has to show; more than 0."""
    last_ns = int(build.trace.reads["time_ns"][-1]) if len(build.trace.reads) else 0
    return max(build.trace.target_ns, last_ns, 1) / 1e9


def seek_panel(build: Build, distance_bytes: float, unit_bytes: float) -> SeekPanel:
    """Return the reads and seeks of a build; offsets in the given unit of bytes."""
    reads = build.trace.reads
    seconds = reads["time_ns"] / 1e9
    seeks = seek_distances(reads) > 0
    distance = quantity(distance_bytes, "bytes")
    target_seconds = build.trace.target_ns / 1e9
    target = quantity(target_seconds, "seconds")
    return SeekPanel(
        title=f"{short(build.label)}: {distance} of seeks",
        description=(
            f"{build.label}: offset of {len(reads):,} reads over time. {distance} of seeks; "
            f"boot target after {target}."
        ),
        target_seconds=target_seconds,
        target_label=f"boot target {target}",
        read_seconds=seconds,
        read_offsets=(reads["offset_bytes"] + reads["length_bytes"] / 2) / unit_bytes,
        seek_seconds=seconds[seeks],
        seek_starts=previous_ends(reads)[seeks] / unit_bytes,
        seek_ends=reads["offset_bytes"][seeks] / unit_bytes,
    )


def sum_line(build: Build, distance_bytes: float, unit_bytes: float, last_second: float) -> SumLine:
    """Return the seek distance of a build up to each moment, in the given unit of bytes."""
    reads = build.trace.reads
    sums = np.concatenate(([0], np.cumsum(seek_distances(reads)))) / unit_bytes
    moments = np.linspace(0, last_second, LINE_POINTS)
    moments = moments[moments <= last_second_of(build)]
    heights = sums[np.searchsorted(reads["time_ns"] / 1e9, moments, side="right")]
    # Of a level stretch its ends are enough.
    turns = np.flatnonzero(np.diff(heights, prepend=-1.0) != 0)
    turns = np.union1d(turns, np.flatnonzero(np.diff(heights, append=-1.0) != 0))
    return SumLine(
        label=short(build.label),
        total=quantity(distance_bytes, "bytes"),
        seconds=moments[turns],
        heights=heights[turns],
    )
