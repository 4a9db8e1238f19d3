"""The figures of the report that come from images and bootlogs: each is a piece of HTML."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from bootprof.report.comparison import Build
from bootprof.report.details import Causes
from bootprof.report.figures import MIB, bars
from bootprof.report.imagemap import COLUMNS, ImageMap, Lane
from bootprof.report.svg import (
    AREA,
    Axis,
    box_sign,
    boxes,
    escape,
    figure_svg,
    legend,
    linear_axis,
    number,
    percent,
    text,
)
from bootprof.report.timeline import BINS, Row, Timeline
from bootprof.units import quantity
from optimizer.attribution import Cause

LANE_NAME_PIXELS, LANE_PIXELS = 24, 30
ROW_NAME_PIXELS, ROW_PIXELS, ROW_GAP_PIXELS = 17, 11, 6
# Shades of a row, from few accesses in a bin to many.
SHADES = (0.35, 0.55, 0.75, 1.0)
# A bin is narrower than a pixel of a narrow page, where it could not be seen.
MARK_WIDTH = 1.6 * AREA / BINS
HOT, READ, COLD = "var(--hot)", "var(--read)", "var(--cold)"


def map_legend(knows_need: bool) -> str:
    """Return the legend of the maps."""
    entries = [(box_sign(READ), "read, though not needed"), (box_sign(COLD), "not read")]
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
    offsets = linear_axis(widest_bytes / MIB, "offset on the image (MiB)")
    drawn, top = [], 0
    scale = found.image_bytes / widest_bytes
    column_bytes = found.image_bytes / COLUMNS
    for lane in found.lanes:
        held, read = lane.held_bytes.sum(), lane.read_bytes.sum()
        words = f"{quantity(read, 'bytes')} of {quantity(held, 'bytes')} read"
        drawn.append(text(0, 0, lane.title, kind="name", dy=top + LANE_NAME_PIXELS - 7))
        drawn.append(text(1, 0, words, kind="value end", dy=top + LANE_NAME_PIXELS - 7))
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
    says = f"{title}: " + "; ".join(
        f"{lane.title}: {quantity(lane.read_bytes.sum(), 'bytes')} of "
        f"{quantity(lane.held_bytes.sum(), 'bytes')} read, "
        f"{quantity(lane.needed_bytes.sum(), 'bytes')} of that needed"
        for lane in found.lanes
    )
    return figure_svg(
        f'{"".join(drawn)}<g class="grid">{lines}</g>{labels}{axis}',
        says=says + ".",
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
        # What is there at all is at least a sliver.
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


def cause_bars(builds: Sequence[Build], causes: Sequence[Causes | None]) -> str:
    """Return the modelled time by cause as bars, for those builds that it is known for."""
    groups = []
    for cause in Cause:
        row: list[tuple[float | None, str]] = []
        for known in causes:
            if known is None:
                row.append((None, "not known"))
                continue
            found = known.found
            seconds = float(found.positioning_seconds[cause] + found.transfer_seconds[cause])
            row.append((seconds, quantity(seconds, "seconds")))
        if any(value for value, _ in row):
            groups.append((cause.label, row))
    totals = "; ".join(
        f"{build.label}: {quantity(known.modelled_seconds, 'seconds')}, "
        f"{known.modelled_seconds / known.limit_seconds:.2f} times the limit"
        for build, known in zip(builds, causes, strict=True)
        if known is not None and known.limit_seconds
    )
    return bars(groups, says=f"Modelled time by cause. {totals}.", share_of_group=False)


def timeline_svg(timeline: Timeline, rows: Sequence[Row], title: str) -> str:
    """Return who (or what) was read when: a row for each, a shade for each bin of time.

    Args:
        timeline: Where the rows are from.
        rows: Its processes, or its folders.
        title: What is shown.
    """
    seconds = linear_axis(timeline.end_ns / 1e9, "time since the kernel started (s)")
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
        words = f"{int(row.events.sum()):,} accesses, files: {row.files:,}"
        drawn.append(
            f"<g><title>{escape(tooltip(row))}</title>"
            + text(0, 0, row.title, kind="name halo", dy=top + ROW_NAME_PIXELS - 4)
            + text(1, 0, words, kind="value end halo", dy=top + ROW_NAME_PIXELS - 4)
            + f'<svg class="area" y="{top + ROW_NAME_PIXELS}" width="100%" height="{ROW_PIXELS}"'
            f' viewBox="0 0 {AREA} 10" preserveAspectRatio="none">'
            f"{row_marks(row, timeline.end_ns, seconds, busiest)}</svg></g>"
        )
    end = quantity(timeline.end_ns / 1e9, "seconds")
    says = f"{title}: {len(rows)} rows over {end}; the table below says the same in figures."
    return figure_svg(
        f'<g class="grid">{lines}</g>{"".join(drawn)}{labels}{axis}',
        says=says,
        height_pixels=height + 42,
        kind="bars",
    )


def row_marks(row: Row, end_ns: int, seconds: Axis, busiest: int) -> str:
    """Return the marks of one row: a line from its first to its last access, and the shades."""
    first, last = (AREA * seconds.share(moment / 1e9) for moment in (row.first_ns, row.last_ns))
    drawn = [f'<path d="{boxes([(first, 4, max(last - first, 1), 2)])}" style="fill:var(--life)"/>']
    # By the logarithm: a burst of thousands would leave all else in the lightest shade.
    level = np.ceil(len(SHADES) * np.log1p(row.events) / np.log1p(max(busiest, 1))).astype(int)
    for number_of_shade, opacity in enumerate(SHADES, 1):
        places = [
            (AREA * seconds.share(bin_ * end_ns / BINS / 1e9), 0, MARK_WIDTH, 10)
            for bin_ in np.flatnonzero(level == number_of_shade).tolist()
        ]
        if places:
            drawn.append(
                f'<path d="{boxes(places)}" style="fill:var(--build-1)"'
                f' fill-opacity="{number(opacity)}"/>'
            )
    return "".join(drawn)


def tooltip(row: Row) -> str:
    """Return what a pointer that rests on a row is told."""
    size = "" if row.new_bytes is None else f" of {quantity(row.new_bytes, 'bytes')}"
    return (
        f"{row.title}: first {row.first_ns / 1e9:.2f} s, last {row.last_ns / 1e9:.2f} s\n"
        f"first to touch {row.new_files:,} files{size}\n" + "\n".join(row.examples)
    )


def shade_legend() -> str:
    """Return the legend of the shades of a timeline."""
    few, many = SHADES[0], SHADES[-1]
    signs = [
        f'<rect x="6" width="12" height="12" style="fill:var(--build-1)" fill-opacity="{shade}"/>'
        for shade in (few, many)
    ]
    life = '<path class="line" d="M0 6H26" style="stroke:var(--life)"/>'
    return legend(
        [
            (signs[0], "few accesses"),
            (signs[1], "many"),
            (life, "from first to last access"),
        ]
    )
