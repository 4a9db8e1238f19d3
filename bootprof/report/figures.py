"""The figures of the report that come from block traces: each is a piece of HTML."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from bootprof.report.comparison import Build, Comparison
from bootprof.report.headline import horizon_seconds, short
from bootprof.report.raster import dot_picture, png_uri, seek_picture
from bootprof.report.seeks import SeekHistogram
from bootprof.report.svg import (
    AREA,
    DASHES,
    Axis,
    box_sign,
    boxes,
    dot_sign,
    escape,
    figure_svg,
    inked,
    legend,
    line,
    line_sign,
    linear_axis,
    number,
    percent,
    plot,
    text,
)
from bootprof.units import quantity
from optimizer.drives.seek import previous_ends, seek_distances

MIB = 1024 * 1024
BUILD_COLOURS = 6
# More points than pixels make a line no better to look at.
LINE_POINTS = 800
GROUP_PIXELS, BAR_PIXELS = 26, 17
# What the longest bar leaves for the words behind it.
BAR_SHARE = 0.8
TARGET_DASHES = "4 3"


def colour_of(place: int) -> str:
    """Return the colour of a build, by its number."""
    return f"var(--build-{place % BUILD_COLOURS})"


def figure(body: str, caption: str) -> str:
    """Return a figure; the caption is HTML."""
    return f"<figure>{body}<figcaption>{caption}</figcaption></figure>"


def panel(title: str, body: str) -> str:
    """Return one of several pictures that stand side by side where there is room."""
    return f'<div class="panel"><h3>{escape(title)}</h3>{body}</div>'


def build_legend(builds: Sequence[Build], *, lines: bool) -> str:
    """Return a legend of the builds: their lines, or their areas."""
    return legend(
        [
            (
                line_sign(colour_of(place), DASHES[place % len(DASHES)])
                if lines
                else box_sign(colour_of(place)),
                short(build.label),
            )
            for place, build in enumerate(builds)
        ]
    )


def seek_panels(comparison: Comparison) -> str:
    """Return the classic seek plot: offset over time, a panel for each build."""
    builds = comparison.builds
    seconds = linear_axis(
        max(horizon_seconds(build) for build in builds) * 1.02, "time since power-on (s)"
    )
    offsets = linear_axis(
        max(build.trace.image_bytes for build in builds) / MIB, "offset on the image (MiB)"
    )
    panels = []
    for place, build in enumerate(builds):
        reads = build.trace.reads
        distance = quantity(comparison.value(place, "seek-distance") or 0, "bytes")
        target_seconds = build.trace.target_ns / 1e9
        share = seconds.share(target_seconds)
        says = (
            f"{build.label}: offset of {len(reads):,} reads over time. "
            f"{distance} of seeks; boot target after {quantity(target_seconds, 'seconds')}."
        )
        drawn = plot(
            seconds,
            offsets,
            seek_marks(build, seconds, offsets, f"seek-{place}", colour_of(place)),
            says=says,
            height_pixels=300,
            above=(
                f'<line class="target" x1="{percent(share)}" x2="{percent(share)}" y1="0"'
                f' y2="100%" stroke-dasharray="{TARGET_DASHES}"/>'
                + text(share, 0, f"boot target {quantity(target_seconds, 'seconds')}",
                       kind="tick end", dy=-5)
            ),
        )  # fmt: skip
        panels.append(panel(f"{build.label}: {distance} of seeks", drawn))
    signs = legend(
        [
            (dot_sign("var(--faint)"), "read"),
            ('<path class="line thin" d="M13 0V12" style="stroke:var(--faint)"/>', "seek"),
            (line_sign("var(--ink)", TARGET_DASHES), "boot target"),
        ]
    )
    return figure(
        f'{signs}<div class="panels">{"".join(panels)}</div>',
        "A dot is a read. A stroke is a jump from the end of one read to the start of the next: "
        "the ink of all strokes is the seek distance.",
    )


def seek_marks(build: Build, seconds: Axis, offsets: Axis, name: str, colour: str) -> str:
    """Return the reads and jumps of a build as pictures, which stay small for any number."""
    reads = build.trace.reads
    jumps = seek_distances(reads) > 0
    across = reads["time_ns"] / 1e9 / seconds.high

    def up(offsets_bytes: NDArray[np.int64]) -> NDArray[np.float64]:
        return np.asarray(offsets_bytes / MIB / offsets.high, np.float64)

    strokes = seek_picture(
        across[jumps], up(previous_ends(reads)[jumps]), up(reads["offset_bytes"][jumps])
    )
    dots = dot_picture(across, up(reads["offset_bytes"] + reads["length_bytes"] // 2))
    return inked(png_uri(strokes), f"{name}-strokes", colour) + inked(
        png_uri(dots), f"{name}-dots", colour
    )


def sums(comparison: Comparison) -> str:
    """Return the seek distance so far over time, a line for each build."""
    builds = comparison.builds
    last_second = max(horizon_seconds(build) for build in builds)
    totals = [comparison.value(place, "seek-distance") or 0.0 for place in range(len(builds))]
    scale_bytes, unit = next(
        (known for known in ((1e12, "TB"), (1e9, "GB"), (1e6, "MB")) if max(totals) >= known[0]),
        (1e3, "kB"),
    )
    seconds = linear_axis(last_second * 1.02, "time since power-on (s)")
    distance = linear_axis(max(totals) / scale_bytes * 1.03, f"seek distance ({unit})")
    moments = np.linspace(0, last_second, LINE_POINTS)
    lines = []
    for place, build in enumerate(builds):
        reads = build.trace.reads
        so_far = np.concatenate(([0], np.cumsum(seek_distances(reads)))) / scale_bytes
        moment = moments[moments <= horizon_seconds(build)]
        heights = so_far[np.searchsorted(reads["time_ns"] / 1e9, moment, side="right")]
        # Of a level stretch its ends are enough.
        turns = np.flatnonzero(np.diff(heights, prepend=-1.0) + np.diff(heights, append=-1.0))
        lines.append(
            line(
                [
                    (AREA * seconds.share(second), AREA * (1 - distance.share(height)))
                    for second, height in zip(
                        moment[turns].tolist(), heights[turns].tolist(), strict=True
                    )
                ],
                colour=colour_of(place),
                dashes=DASHES[place % len(DASHES)],
            )
        )
    ends = "; ".join(
        f"{build.label} ends at {quantity(totals[place], 'bytes')}"
        for place, build in enumerate(builds)
    )
    drawn = plot(seconds, distance, "".join(lines), says=f"Seek distance over time: {ends}.")
    return figure(
        build_legend(builds, lines=True) + drawn,
        "Sum of all jumps up to each moment of the boot.",
    )


def histogram_panels(comparison: Comparison, histogram: SeekHistogram) -> str:
    """Return the seek-length histogram: number of seeks, and what they add up to."""
    edges = histogram.edges_bytes
    decades = [edge for edge in edges.tolist() if str(edge)[0] == "1"] or [int(edges[0])]
    lengths = Axis(
        low=float(edges[0]),
        high=float(edges[-1]),
        title="length of the seek",
        ticks=tuple((float(edge), power_of_ten(edge)) for edge in decades),
        logarithmic=True,
    )
    highest_bytes = float(histogram.distances_bytes.max(initial=0))
    scale_bytes, unit = next(
        (known for known in ((1e12, "TB"), (1e9, "GB"), (1e6, "MB")) if highest_bytes >= known[0]),
        (1e3, "kB"),
    )
    panels = []
    for title, axis_title, heights in (
        ("How many", "number of seeks", histogram.counts.astype(float)),
        (
            "What they add up to",
            f"seek distance ({unit})",
            histogram.distances_bytes / scale_bytes,
        ),
    ):
        up = linear_axis(float(heights.max(initial=0)) * 1.03, axis_title)
        says = "; ".join(
            f"{build.label}: most in seeks from "
            f"{quantity(float(edges[int(row.argmax())]), 'bytes')} up"
            for build, row in zip(comparison.builds, heights, strict=True)
        )
        drawn = plot(
            lengths,
            up,
            histogram_bars(lengths, up, edges, heights),
            says=f"{axis_title} by length of the seek. {says}.",
            height_pixels=220,
        )
        panels.append(panel(title, drawn))
    contiguous = "; ".join(
        f"{escape(build.label)}: {count:,} of {len(build.trace.reads):,}"
        for build, count in zip(comparison.builds, histogram.contiguous.tolist(), strict=True)
    )
    signs = build_legend(comparison.builds, lines=False)
    return figure(
        f'{signs}<div class="panels">{"".join(panels)}</div>',
        f"Three bins for each power of ten. Reads without any seek are not in it ({contiguous}).",
    )


def power_of_ten(size_bytes: int) -> str:
    """Write 1, 10, 100, 1000 ... bytes without decimals."""
    words = quantity(size_bytes, "bytes")
    figures, unit = words.split()
    return f"{float(figures):.0f} {unit}"


def histogram_bars(
    lengths: Axis, up: Axis, edges: NDArray[np.int64], heights: NDArray[np.float64]
) -> str:
    """Return the bars of a histogram, those of the builds side by side in each bin."""
    shares = [AREA * lengths.share(float(edge)) for edge in edges]
    drawn = []
    for place, row in enumerate(heights.tolist()):
        bars = []
        for left, right, height in zip(shares[:-1], shares[1:], row, strict=True):
            width = 0.86 * (right - left) / len(heights)
            start = left + 0.07 * (right - left) + place * width
            tall = AREA * up.share(height)
            if height:
                bars.append((start, AREA - tall, width, tall))
        drawn.append(f'<path d="{boxes(bars)}" style="fill:{colour_of(place)}"/>')
    return "".join(drawn)


def bars(
    groups: Sequence[tuple[str, Sequence[tuple[float | None, str]]]],
    *,
    says: str,
    share_of_group: bool,
) -> str:
    """Return horizontal bars, those of one group under its title.

    Args:
        groups: Title and, for each build, value and words; a value of None has no bar.
        says: What a person who does not see the bars is told.
        share_of_group: Whether the longest bar of each group is as long as any can be; otherwise
            the longest of all.
    """
    longest_of_all = max((value or 0 for _, row in groups for value, _ in row), default=0) or 1
    drawn, top = [], 0
    for title, row in groups:
        drawn.append(text(0, 0, title, kind="name", dy=top + GROUP_PIXELS - 9))
        top += GROUP_PIXELS
        longest = (max(value or 0 for value, _ in row) or 1) if share_of_group else longest_of_all
        for place, (value, words) in enumerate(row):
            length = BAR_SHARE * (value or 0) / longest
            drawn.append(
                f'<rect y="{number(top + 1)}" width="{percent(length)}" height="{BAR_PIXELS - 3}"'
                f' style="fill:{colour_of(place)}"/>'
            )
            drawn.append(text(length, 0, words, kind="value", dx=6, dy=top + BAR_PIXELS - 5))
            top += BAR_PIXELS
    return figure_svg("".join(drawn), says=says, height_pixels=top + 6, kind="bars")


def drive_bars(comparison: Comparison) -> str:
    """Return the modelled time on each drive as bars."""
    groups = []
    for drive in comparison.drives:
        row: list[tuple[float | None, str]] = []
        for place in range(len(comparison.builds)):
            value = comparison.value(place, drive.name)
            row.append((value, "does not fit" if value is None else quantity(value, "seconds")))
        groups.append((drive.title, row))
    drawn = bars(
        groups,
        says="Modelled time of the reads on each drive; the table above has the values.",
        share_of_group=True,
    )
    return figure(
        build_legend(comparison.builds, lines=False) + drawn,
        "How long a drive is busy with the reads, by its model; the longest bar of each drive has "
        "the same length.",
    )
