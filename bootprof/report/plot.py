# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""The seek plot: head travel during the boot, for several builds side by side.

Above is a panel for each build: a dot for each read (time and offset), and a stroke for each seek,
from the end of one read to the start of the next. The total length of the strokes is the seek
distance. Below are the seek distance over time, and the modelled time of the reads on each drive.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D

from bootprof.files import open_output
from bootprof.report.comparison import Comparison
from bootprof.report.headline import headline
from bootprof.report.palette import THEMES, Theme, build_colour
from bootprof.report.plotdata import (
    DASHES,
    LABEL_CHARACTERS,
    MARGIN,
    STROKE_INK,
    TARGET_DASHES,
    PlotData,
    Scale,
    SeekPanel,
    plot_data,
    stroke_ink,
)

DOTS_PER_INCH = 150
PANELS_IN_A_ROW = 4
TITLE_INCHES = 0.75
PANEL_INCHES = 3.9
# Heights of a bar, and of the name of a drive above its bars, that leave room for their text.
BAR_INCHES = 0.19
DRIVE_INCHES = 0.27
LINE_WIDTH = 2.0


def write_plots(comparison: Comparison, prefix: Path, themes: Sequence[str]) -> list[Path]:
    """Write the seek plot as PNG and SVG.

    Equal input gives equal bytes. A file appears under its name when it is whole.

    Args:
        comparison: The comparison to draw.
        prefix: Path and beginning of the file names; a suffix ``.png`` or ``.svg`` is cut.
        themes: Names in :data:`bootprof.report.palette.THEMES`.

    Returns:
        The files that were written.

    Raises:
        OSError: A file could not be written; the error has its name.
    """
    if prefix.suffix in (".png", ".svg"):
        prefix = prefix.with_suffix("")
    written = []
    for theme in (THEMES[name] for name in themes):
        settings: Any = {
            "svg.hashsalt": "bootprof",
            "svg.fonttype": "path",
            # A label may have a dollar sign.
            "text.parse_math": False,
            "font.family": "DejaVu Sans",
            "font.size": 10,
            "text.color": theme.ink,
            "axes.labelcolor": theme.ink,
            "axes.edgecolor": theme.grid,
            "axes.facecolor": theme.paper,
            "figure.facecolor": theme.paper,
            "savefig.facecolor": theme.paper,
            "legend.edgecolor": theme.grid,
            "legend.facecolor": theme.paper,
            "xtick.color": theme.faint,
            "ytick.color": theme.faint,
            "grid.color": theme.grid,
            "axes.grid": True,
            "axes.axisbelow": True,
            "axes.spines.top": False,
            "axes.spines.right": False,
        }
        with mpl.rc_context(settings), warnings.catch_warnings():
            # A label in a script that the font lacks is drawn as boxes.
            warnings.filterwarnings("ignore", message="Glyph .* missing")
            figure = draw(comparison, theme)
            for kind, metadata in (("png", {"Software": None}), ("svg", {"Date": None})):
                path = prefix.with_name(f"{prefix.name}{theme.suffix}.{kind}")
                with open_output(path) as stream:
                    figure.savefig(stream, format=kind, dpi=DOTS_PER_INCH, metadata=metadata)
                written.append(path)
    return written


def draw(comparison: Comparison, theme: Theme) -> Figure:
    """Draw the whole picture."""
    data = plot_data(comparison)
    columns = min(len(data.panels), PANELS_IN_A_ROW)
    rows = math.ceil(len(data.panels) / columns)
    group_inches = DRIVE_INCHES + BAR_INCHES * len(data.panels)
    lower_inches = max(3.2, 1.2 + group_inches * len(data.drives))
    height_inches = TITLE_INCHES + PANEL_INCHES * rows + lower_inches
    below_title = (0, 0, 1, 1 - TITLE_INCHES / height_inches)
    figure = Figure(
        figsize=(6.0 + 3.0 * columns, height_inches),
        layout=ConstrainedLayoutEngine(h_pad=0.12, w_pad=0.12, rect=below_title),
    )
    FigureCanvasAgg(figure)
    draw_title(figure, comparison, theme)
    # Two places below each panel, so that the lower row can be divided in two however many
    # panels there are above it.
    grid = figure.add_gridspec(
        rows + 1, 2 * columns, height_ratios=[PANEL_INCHES] * rows + [lower_inches]
    )
    places = [
        grid[row, 2 * column : 2 * column + 2] for row in range(rows) for column in range(columns)
    ]
    panels: list[Axes] = []
    for number, found in enumerate(data.panels):
        shared = panels[0] if panels else None
        axes = figure.add_subplot(places[number], sharex=shared, sharey=shared)
        draw_seeks(axes, found, theme, build_colour(theme, number))
        draw_target(axes, found, theme, late=found.target_seconds > data.seconds.high / 2)
        axes.set_title(
            found.title,
            loc="left",
            fontsize=10.5,
            fontweight="bold",
            # Leaves a line for the label of the boot target.
            pad=16,
        )
        axes.set_xlabel(data.seconds.title)
        if number % columns == 0:
            axes.set_ylabel(data.offsets.title)
        else:
            axes.tick_params(labelleft=False)
        panels.append(axes)
    panels[0].set_xlim(limits(data.seconds))
    panels[0].set_ylim(limits(data.offsets))
    sums = figure.add_subplot(grid[rows, :columns])
    times = figure.add_subplot(grid[rows, columns:])
    draw_sums(sums, data, theme)
    draw_times(times, data, theme)
    # The solver behind the layout may end a last digit apart from run to run.
    figure.draw_without_rendering()
    figure.set_layout_engine("none")
    for axes in figure.axes:
        axes.set_position(tuple(round(side, 4) for side in axes.get_position().bounds))
    return figure


def limits(scale: Scale) -> tuple[float, float]:
    """Return both ends of an axis, with room for the marks there."""
    return -MARGIN * scale.high, (1 + MARGIN) * scale.high


def line_style(dashes: Sequence[int], width: float) -> Any:
    """Return dashes as matplotlib takes them: in widths of the line."""
    return (0, tuple(length / width for length in dashes)) if dashes else "solid"


def draw_title(figure: Figure, comparison: Comparison, theme: Theme) -> None:
    """Write title and subtitle at the top."""
    title, subtitle = headline(comparison)
    width_inches, height_inches = (float(side) for side in figure.get_size_inches())

    def write(text: str, below_top_inches: float, **style: Any) -> None:
        height = 1 - below_top_inches / height_inches
        figure.text(0.012, height, text, va="center", in_layout=False, **style)

    # A bold letter is about 0.0097 of its size wide, in inches; 3.2 inches are for the signs.
    largest = (width_inches - 3.2) / (0.0097 * len(title))
    write(title, 0.3, fontsize=min(16.0, largest), fontweight="bold")
    write(subtitle, 0.63, fontsize=10.5, color=theme.faint)
    # Reads can be anywhere in a panel, so one legend for all panels is above them.
    signs = [
        Line2D([], [], color=theme.faint, marker="o", markersize=4, linestyle="none", label="read"),
        Line2D([], [], color=theme.faint, linewidth=1, label="seek"),
        Line2D(
            [],
            [],
            color=theme.ink,
            linewidth=1,
            linestyle=line_style(TARGET_DASHES, 1),
            label="boot target",
        ),
    ]
    legend = figure.legend(
        handles=signs,
        loc="upper right",
        bbox_to_anchor=(1.0, 1 - 0.1 / height_inches),
        ncols=3,
        fontsize=9,
        frameon=False,
    )
    legend.set_in_layout(False)


def draw_seeks(axes: Axes, found: SeekPanel, theme: Theme, colour: str) -> None:
    """Draw the reads of one build as dots, and its seeks as strokes."""
    crowd = len(found.read_seconds)
    axes.vlines(
        found.seek_seconds,
        found.seek_starts,
        found.seek_ends,
        colors=colour,
        linewidth=0.8 if crowd < 10_000 else 0.4,
        alpha=STROKE_INK * stroke_ink(len(found.seek_seconds)),
        rasterized=True,
    )
    axes.plot(
        found.read_seconds,
        found.read_offsets,
        linestyle="none",
        marker="o",
        markersize=3.2 if crowd < 3_000 else 2.2 if crowd < 30_000 else 0.8,
        markeredgewidth=0,
        alpha=0.9 if crowd < 30_000 else 0.5,
        color=colour,
        rasterized=True,
    )


def draw_target(axes: Axes, found: SeekPanel, theme: Theme, *, late: bool) -> None:
    """Draw the boot target, with its label on the side that has room for it."""
    axes.axvline(
        found.target_seconds, color=theme.ink, linewidth=1, linestyle=line_style(TARGET_DASHES, 1)
    )
    axes.annotate(
        found.target_label,
        (found.target_seconds, 1.0),
        xycoords=axes.get_xaxis_transform(),
        xytext=(0, 3),
        textcoords="offset points",
        ha="right" if late else "left",
        fontsize=8.5,
        color=theme.faint,
        annotation_clip=False,
    )


def draw_sums(axes: Axes, data: PlotData, theme: Theme) -> None:
    """Draw the seek distance so far over time, for all builds."""
    for number, found in enumerate(data.sums):
        axes.plot(
            found.seconds,
            found.heights,
            color=build_colour(theme, number),
            linewidth=LINE_WIDTH,
            linestyle=line_style(DASHES[number % len(DASHES)], LINE_WIDTH),
            drawstyle="steps-post",
            label=f"{found.label}, {found.total}",
        )
    axes.set_title("Seek distance so far", loc="left", fontsize=10.5, fontweight="bold")
    axes.set_xlabel(data.seconds.title)
    axes.set_ylabel(data.distances.title)
    axes.set_xlim(limits(data.seconds))
    axes.set_ylim(limits(data.distances))
    axes.legend(loc="best", fontsize=9, framealpha=0.85)


def draw_times(axes: Axes, data: PlotData, theme: Theme) -> None:
    """Draw the modelled time on each drive as bars, in percent of the first build's."""
    count = len(data.labels)
    # In units of a group: the name of the drive, then a bar for each build.
    thickness = BAR_INCHES / (DRIVE_INCHES + BAR_INCHES * count)
    widest = 100.0
    for row, group in enumerate(data.drives):
        # Names are above their bars: next to them they would need more width.
        name_place = row + (1 - thickness * count) * 0.55
        axes.annotate(
            group.title,
            (0, name_place),
            xytext=(2, 0),
            textcoords="offset points",
            va="center",
            fontsize=9,
        )
        first = group.bars[0].value
        for number, bar in enumerate(group.bars):
            place = row + 1 - thickness * (count - number - 0.5)
            percent = 100.0 * bar.value / first if bar.value is not None and first else 0.0
            widest = max(widest, percent)
            axes.barh(
                place,
                percent,
                height=thickness * 0.88,
                color=build_colour(theme, number),
                label=data.labels[number] if row == 0 else None,
            )
            axes.annotate(
                bar.text,
                (percent, place),
                xytext=(4, 0),
                textcoords="offset points",
                va="center",
                fontsize=8.5,
            )
    axes.set_yticks([])
    axes.set_ylim(len(data.drives) + 0.1, 0)
    axes.set_xlim(0, widest * 1.14)
    axes.set_title("Modelled I/O time", loc="left", fontsize=10.5, fontweight="bold")
    axes.set_xlabel(f"% of {data.labels[0]}")
    # Above the bars: no place among them is free of labels for certain. Two long labels side by
    # side would reach into the title.
    longest = max(map(len, data.labels))
    axes.legend(
        loc="lower right",
        bbox_to_anchor=(1.0, 0.99),
        ncols=2 if longest <= LABEL_CHARACTERS // 2 else 1,
        fontsize=9,
        frameon=False,
    )
