# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""The figures of the report that come from block traces: each is a piece of HTML."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from bootprof.report.comparison import Build
from bootprof.report.palette import build_variable
from bootprof.report.plotdata import (
    DASHES,
    MARGIN,
    TARGET_DASHES,
    BarGroup,
    PlotData,
    Scale,
    SeekPanel,
)
from bootprof.report.raster import dot_picture, png_uri, seek_picture
from bootprof.report.seeks import SeekHistogram
from bootprof.report.svg import (
    AREA,
    Axis,
    box_sign,
    boxes,
    dash_array,
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
from bootprof.units import byte_scale, quantity

GROUP_PIXELS, BAR_PIXELS = 26, 17
# Space that the longest bar leaves for the text behind it.
BAR_SHARE = 0.8


def figure(body: str, caption: str) -> str:
    """Return a figure; the caption is HTML."""
    return f"<figure>{body}<figcaption>{caption}</figcaption></figure>"


def panel(title: str, body: str) -> str:
    """Return one of several pictures, side by side if there is space."""
    return f'<div class="panel"><h3>{escape(title)}</h3>{body}</div>'


def build_legend(labels: Sequence[str], *, lines: bool) -> str:
    """Return a legend of the builds: their lines, or their areas."""
    return legend(
        [
            (
                line_sign(build_variable(place), DASHES[place % len(DASHES)])
                if lines
                else box_sign(build_variable(place)),
                label,
            )
            for place, label in enumerate(labels)
        ]
    )


def axis_of(scale: Scale) -> Axis:
    """Return the axis of a scale, with room for the marks at both ends."""
    return linear_axis(scale.high, scale.title, margin=MARGIN)


def seek_panels(data: PlotData) -> str:
    """Return the seek plot: offset over time, a panel for each build."""
    seconds, offsets = axis_of(data.seconds), axis_of(data.offsets)
    panels = []
    for place, found in enumerate(data.panels):
        share = seconds.share(found.target_seconds)
        # The label is on the side of its line with more space.
        side, shift = ("end", 3) if share > 0.5 else ("start", -3)
        drawn = plot(
            seconds,
            offsets,
            seek_marks(found, seconds, offsets, f"seek-{place}", build_variable(place)),
            description=found.description,
            height_pixels=300,
            above=(
                f'<line class="target" x1="{percent(share)}" x2="{percent(share)}" y1="0"'
                f' y2="100%"{dash_array(TARGET_DASHES)}/>'
                + text(share, 0, found.target_label, kind=f"tick {side}", dx=shift, dy=-5)
            ),
        )
        panels.append(panel(found.title, drawn))
    signs = legend(
        [
            (dot_sign("var(--faint)"), "read"),
            ('<path class="line thin" d="M13 0V12" style="stroke:var(--faint)"/>', "seek"),
            (line_sign("var(--ink)", TARGET_DASHES), "boot target"),
        ]
    )
    return figure(
        f'{signs}<div class="panels">{"".join(panels)}</div>',
        "A dot is a read. A stroke is a seek from the end of one read to the start of the next: "
        "the ink of all strokes is the seek distance. Time is by the clock of the host.",
    )


def seek_marks(found: SeekPanel, seconds: Axis, offsets: Axis, name: str, colour: str) -> str:
    """Return the reads and seeks of a build as pictures, which stay small for any number."""

    def across(values: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray((values - seconds.low) / (seconds.high - seconds.low), np.float64)

    def up(values: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray((values - offsets.low) / (offsets.high - offsets.low), np.float64)

    strokes = seek_picture(across(found.seek_seconds), up(found.seek_starts), up(found.seek_ends))
    dots = dot_picture(across(found.read_seconds), up(found.read_offsets))
    return inked(png_uri(strokes), f"{name}-strokes", colour) + inked(
        png_uri(dots), f"{name}-dots", colour
    )


def seek_sums(data: PlotData) -> str:
    """Return the seek distance so far over time, a line for each build."""
    seconds, distance = axis_of(data.seconds), axis_of(data.distances)
    lines = [
        line(
            [
                (AREA * seconds.share(second), AREA * (1 - distance.share(height)))
                for second, height in zip(
                    found.seconds.tolist(), found.heights.tolist(), strict=True
                )
            ],
            colour=build_variable(place),
            dashes=DASHES[place % len(DASHES)],
        )
        for place, found in enumerate(data.sums)
    ]
    ends = "; ".join(f"{found.label} ends at {found.total}" for found in data.sums)
    drawn = plot(seconds, distance, "".join(lines), description=f"Seek distance over time: {ends}.")
    return figure(
        build_legend(data.labels, lines=True) + drawn,
        "Sum of all seeks up to each moment of the boot.",
    )


def histogram_panels(
    builds: Sequence[Build], labels: Sequence[str], histogram: SeekHistogram
) -> str:
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
    scale_bytes, unit = byte_scale(float(histogram.distances_bytes.max(initial=0)))
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
        most = "; ".join(
            f"{build.label}: most in seeks from "
            f"{quantity(float(edges[int(row.argmax())]), 'bytes')} up"
            for build, row in zip(builds, heights, strict=True)
        )
        drawn = plot(
            lengths,
            up,
            histogram_bars(lengths, up, edges, heights),
            description=f"{axis_title} by length of the seek. {most}.",
            height_pixels=220,
        )
        panels.append(panel(title, drawn))
    contiguous = "; ".join(
        f"{escape(build.label)}: {count:,} of {len(build.trace.reads):,}"
        for build, count in zip(builds, histogram.contiguous.tolist(), strict=True)
    )
    signs = build_legend(labels, lines=False)
    return figure(
        f'{signs}<div class="panels">{"".join(panels)}</div>',
        f"Three bins for each power of ten. Reads without any seek are not in it ({contiguous}).",
    )


def power_of_ten(size_bytes: int) -> str:
    """Write 1, 10, 100, 1000 ... bytes without decimals."""
    value, unit = quantity(size_bytes, "bytes").split()
    return f"{float(value):.0f} {unit}"


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
        drawn.append(f'<path d="{boxes(bars)}" style="fill:{build_variable(place)}"/>')
    return "".join(drawn)


def bars(groups: Sequence[BarGroup], *, description: str, share_of_group: bool) -> str:
    """Return horizontal bars, those of one group under its title.

    Args:
        groups: The bars.
        description: What they show, for screen readers.
        share_of_group: Whether the longest bar of each group is as long as any can be; otherwise
            the longest of all.
    """
    values = [[bar.value or 0.0 for bar in group.bars] for group in groups]
    longest_of_all = max((value for row in values for value in row), default=0.0)
    drawn, top = [], 0
    for group, row in zip(groups, values, strict=True):
        drawn.append(text(0, 0, group.title, kind="name", dy=top + GROUP_PIXELS - 9))
        top += GROUP_PIXELS
        longest = (max(row) if share_of_group else longest_of_all) or 1
        for place, bar in enumerate(group.bars):
            length = BAR_SHARE * row[place] / longest
            drawn.append(
                f'<rect y="{number(top + 1)}" width="{percent(length)}" height="{BAR_PIXELS - 3}"'
                f' style="fill:{build_variable(place)}"/>'
            )
            drawn.append(text(length, 0, bar.text, kind="value", dx=6, dy=top + BAR_PIXELS - 5))
            top += BAR_PIXELS
    return figure_svg("".join(drawn), description=description, height_pixels=top + 6, kind="bars")


def drive_bars(data: PlotData) -> str:
    """Return the modelled time on each drive as bars."""
    drawn = bars(
        data.drives,
        description="Modelled time of the reads on each drive; the table above has the values.",
        share_of_group=True,
    )
    return figure(
        build_legend(data.labels, lines=False) + drawn,
        "How long a drive is busy with the reads, by its model; the longest bar of each drive has "
        "the same length.",
    )
