# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""The figures of the report that come from images and bootlogs: each is a piece of HTML."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from bootprof.report.comparison import Build
from bootprof.report.imagemap import COLUMNS, ImageMap, Lane
from bootprof.report.palette import build_variable
from bootprof.report.plotdata import Bar, BarGroup, seconds_bar
from bootprof.report.svg import (
    AREA,
    Axis,
    box_sign,
    boxes,
    escape,
    figure_svg,
    legend,
    line_sign,
    linear_axis,
    percent,
    text,
)
from bootprof.report.timeline import BINS, Row, Timeline
from bootprof.report.trace_figures import bars
from bootprof.units import byte_scale, quantity
from optimizer.analysis import Analysis
from optimizer.attribution import Cause

LANE_NAME_PIXELS, LANE_PIXELS = 24, 30
ROW_NAME_PIXELS, ROW_PIXELS, ROW_GAP_PIXELS = 17, 11, 6
# Heights of a mark in a row, from few accesses in a bin to many.
LEVELS = (0.35, 0.55, 0.75, 1.0)
# A bin is narrower than a pixel of a narrow page, where it could not be seen.
MARK_WIDTH = 1.6 * AREA / BINS
ROW_COLOUR = build_variable(1)
HOT, READ, COLD = "var(--hot)", "var(--read)", "var(--cold)"


def map_legend(knows_need: bool) -> str:
    """Return the legend of the maps."""
    entries = [(box_sign(READ), "read without need"), (box_sign(COLD), "not read")]
    if knows_need:
        return legend([(box_sign(HOT), "read and needed"), *entries])
    return legend([(box_sign(READ), "read"), entries[1]])


def image_map_svg(found: ImageMap, title: str, widest_bytes: int) -> str:
    """Return the map of an image: a lane for each kind of content, its place from left to right.

    Args:
        found: The map.
        title: Of the image.
        widest_bytes: Size of the largest image, which takes all of the width.
    """
    unit_bytes, unit = byte_scale(widest_bytes)
    offsets = linear_axis(widest_bytes / unit_bytes, f"offset on the image ({unit})")
    drawn, top = [], 0
    scale = found.image_bytes / widest_bytes
    column_bytes = found.image_bytes / COLUMNS
    for lane in found.lanes:
        held, read = lane.held_bytes.sum(), lane.read_bytes.sum()
        share = f"{quantity(read, 'bytes')} of {quantity(held, 'bytes')} read"
        drawn.append(text(0, 0, lane.title, kind="name", dy=top + LANE_NAME_PIXELS - 7))
        drawn.append(text(1, 0, share, kind="value end", dy=top + LANE_NAME_PIXELS - 7))
        top += LANE_NAME_PIXELS
        drawn.append(
            f'<svg class="area" y="{top}" width="{percent(scale)}" height="{LANE_PIXELS}"'
            f' viewBox="0 0 {COLUMNS} 100" preserveAspectRatio="none">'
            f'<rect class="paper" width="{COLUMNS}" height="100"/>{lane_boxes(lane, column_bytes)}'
            "</svg>"
        )
        top += LANE_PIXELS
    lines = "".join(
        f'<line x1="{percent(offsets.share(value))}" x2="{percent(offsets.share(value))}"'
        f' y1="{top}" y2="{top + 5}"/>'
        for value, _ in offsets.ticks
    )
    labels = "".join(
        text(offsets.share(value), 0, label, kind="tick middle", dy=top + 19)
        for value, label in offsets.ticks
    )
    axis = text(1, 0, offsets.title, kind="title end", dy=top + 37)
    description = f"{title}: " + "; ".join(
        f"{lane.title}: {quantity(lane.read_bytes.sum(), 'bytes')} of "
        f"{quantity(lane.held_bytes.sum(), 'bytes')} read, "
        f"{quantity(lane.needed_bytes.sum(), 'bytes')} of that needed"
        for lane in found.lanes
    )
    return figure_svg(
        f'{"".join(drawn)}<g class="grid">{lines}</g>{labels}{axis}',
        description=description + ".",
        height_pixels=top + 42,
        kind="bars",
    )


def lane_boxes(lane: Lane, column_bytes: float) -> str:
    """Return the content of a lane: in each column needed at the bottom, then read, then unread."""
    layers = (
        (HOT, np.zeros(COLUMNS), lane.needed_bytes),
        (READ, lane.needed_bytes, lane.read_bytes),
        (COLD, lane.read_bytes, lane.held_bytes),
    )
    drawn = []
    for colour, low_bytes, high_bytes in layers:
        low = np.rint(100 * np.clip(low_bytes / column_bytes, 0, 1)).astype(int)
        high = np.rint(100 * np.clip(high_bytes / column_bytes, 0, 1)).astype(int)
        # Everything that exists is drawn at least as a sliver.
        high = np.where((high_bytes - low_bytes >= 512) & (high <= low), low + 1, high)
        # Columns that look alike are one box.
        turns = np.flatnonzero(np.diff(low, prepend=-1) | np.diff(high, prepend=-1)).tolist()
        places = [
            (left, 100 - int(high[left]), right - left, int(high[left] - low[left]))
            for left, right in zip(turns, [*turns[1:], COLUMNS], strict=True)
            if high[left] > low[left]
        ]
        drawn.append(f'<path d="{boxes(places)}" style="fill:{colour}"/>')
    return "".join(drawn)


def cause_bars(builds: Sequence[Build], causes: Sequence[Analysis | None]) -> str:
    """Return the modelled time by cause as bars, for those builds that it is known for."""
    groups = []
    for cause in Cause:
        row = tuple(
            Bar(None, "not known")
            if known is None
            else seconds_bar(
                float(known.found.positioning_seconds[cause] + known.found.transfer_seconds[cause]),
                "",
            )
            for known in causes
        )
        if any(bar.value for bar in row):
            groups.append(BarGroup(cause.label, row))
    totals = "; ".join(
        f"{build.label}: {quantity(known.modelled_seconds, 'seconds')}, "
        f"{known.modelled_seconds / known.limit_seconds:.2f} times the limit"
        for build, known in zip(builds, causes, strict=True)
        if known is not None and known.limit_seconds
    )
    return bars(groups, description=f"Modelled time by cause. {totals}.", share_of_group=False)


def timeline_svg(
    timeline: Timeline, rows: Sequence[Row], title: str, *, end_ns: int, time_title: str
) -> str:
    """Return the accesses over time: a row for each process or folder, a mark for each bin of time.

    Args:
        timeline: Where the rows are from.
        rows: Its processes, or its folders.
        title: What is shown.
        end_ns: End of the axis of time, which all timelines of a page share.
        time_title: Title of that axis.
    """
    seconds = linear_axis(end_ns / 1e9, time_title)
    step = ROW_NAME_PIXELS + ROW_PIXELS + ROW_GAP_PIXELS
    height = step * len(rows)
    lines = "".join(
        f'<line x1="{percent(seconds.share(value))}" x2="{percent(seconds.share(value))}"'
        f' y1="0" y2="{height + 6}"/>'
        for value, _ in seconds.ticks
    )
    labels = "".join(
        text(seconds.share(value), 0, label, kind="tick middle", dy=height + 20)
        for value, label in seconds.ticks
    )
    axis = text(1, 0, seconds.title, kind="title end", dy=height + 38)
    busiest = max(int(row.events.max()) for row in rows)
    drawn = []
    for place, row in enumerate(rows):
        top = place * step
        counts = f"{int(row.events.sum()):,} accesses, files: {row.files:,}"
        drawn.append(
            f"<g><title>{escape(tooltip(row))}</title>"
            + text(0, 0, row.title, kind="name halo", dy=top + ROW_NAME_PIXELS - 4)
            + text(1, 0, counts, kind="value end halo", dy=top + ROW_NAME_PIXELS - 4)
            + f'<svg class="area" y="{top + ROW_NAME_PIXELS}" width="100%" height="{ROW_PIXELS}"'
            f' viewBox="0 0 {AREA} 10" preserveAspectRatio="none">'
            f"{row_marks(row, timeline.end_ns, seconds, busiest)}</svg></g>"
        )
    end = quantity(timeline.end_ns / 1e9, "seconds")
    description = f"{title}, {len(rows)} in {end}; the table below has their values."
    return figure_svg(
        f'<g class="grid">{lines}</g>{"".join(drawn)}{labels}{axis}',
        description=description,
        height_pixels=height + 42,
        kind="bars",
    )


def row_marks(row: Row, end_ns: int, seconds: Axis, busiest: int) -> str:
    """Return the marks of one row: a line from its first to its last access, and the bins."""
    first, last = (AREA * seconds.share(moment / 1e9) for moment in (row.first_ns, row.last_ns))
    drawn = [f'<path d="{boxes([(first, 4, max(last - first, 1), 2)])}" style="fill:var(--life)"/>']
    # Logarithmic: next to a burst of thousands, all other marks would have the minimal height.
    level = np.ceil(len(LEVELS) * np.log1p(row.events) / np.log1p(max(busiest, 1))).astype(int)
    places = [
        (
            AREA * seconds.share(place * end_ns / BINS / 1e9),
            10 - 10 * height,
            MARK_WIDTH,
            10 * height,
        )
        for number, height in enumerate(LEVELS, 1)
        for place in np.flatnonzero(level == number).tolist()
    ]
    if places:
        drawn.append(f'<path d="{boxes(places)}" style="fill:{ROW_COLOUR}"/>')
    return "".join(drawn)


def tooltip(row: Row) -> str:
    """Return the text that a browser shows when the pointer rests on a row."""
    size = "" if row.new_bytes is None else f" of {quantity(row.new_bytes, 'bytes')}"
    return (
        f"{row.title}: first {row.first_ns / 1e9:.2f} s, last {row.last_ns / 1e9:.2f} s\n"
        f"first to touch {row.new_files:,} files{size}\n" + "\n".join(row.examples)
    )


def timeline_legend() -> str:
    """Return the legend of the marks of a timeline."""
    few, many = (
        f'<rect x="10" y="{12 - 12 * height:g}" width="4" height="{12 * height:g}"'
        f' style="fill:{ROW_COLOUR}"/>'
        for height in (LEVELS[0], LEVELS[-1])
    )
    return legend(
        [
            (few, "few accesses"),
            (many, "many"),
            (line_sign("var(--life)"), "from first to last access"),
        ]
    )
