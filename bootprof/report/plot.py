"""The seek plot: where the head goes during the boot, for several builds side by side.

Above, a panel for each build: a dot for each read (time and offset), and a stroke for each jump,
from the end of one read to the start of the next. The ink of the strokes is the seek distance.
Below, the sum of those strokes over time, and what the reads cost on the modelled drives.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D

from bootprof.files import open_output
from bootprof.report.comparison import Build, Comparison
from bootprof.report.headline import headline, horizon_seconds, short
from bootprof.report.palette import THEMES, Theme
from bootprof.units import quantity
from optimizer.drives.seek import previous_ends, seek_distances

MIB = 1024 * 1024
DOTS_PER_INCH = 150
PANELS_IN_A_ROW = 4
# More points than pixels make a line slow and its file large, and no better to look at.
LINE_POINTS = 2000
TITLE_INCHES = 0.75
PANEL_INCHES = 3.9
# Heights of a bar, and of the name of a drive above its bars, that leave room for their text.
BAR_INCHES = 0.19
DRIVE_INCHES = 0.27
TARGET_DASHES = (0, (4, 3))
DASHES = ("-", "--", "-.", ":")


def write_plots(comparison: Comparison, prefix: Path, themes: Sequence[str]) -> list[Path]:
    """Write the seek plot as PNG and SVG.

    Equal input gives equal bytes. A file appears under its name when it is whole.

    Args:
        comparison: What is drawn.
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
    builds = comparison.builds
    columns = min(len(builds), PANELS_IN_A_ROW)
    rows = math.ceil(len(builds) / columns)
    group_inches = DRIVE_INCHES + BAR_INCHES * len(builds)
    lower_inches = max(3.2, 1.2 + group_inches * len(comparison.drives))
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
    for number, place in enumerate(places[: len(builds)]):
        shared = panels[0] if panels else None
        axes = figure.add_subplot(place, sharex=shared, sharey=shared)
        draw_seeks(axes, builds[number], theme, colour_of(theme, number))
        axes.set_title(
            panel_title(comparison, number),
            loc="left",
            fontsize=10.5,
            fontweight="bold",
            # Leaves a line for the label of the boot target.
            pad=16,
        )
        axes.set_xlabel("time since power-on (s)")
        if number % columns == 0:
            axes.set_ylabel("offset on the image (MiB)")
        else:
            axes.tick_params(labelleft=False)
        panels.append(axes)
    last_second = max(horizon_seconds(build) for build in builds)
    top_mib = max(build.trace.image_bytes for build in builds) / MIB
    panels[0].set_xlim(0, last_second * 1.02)
    panels[0].set_ylim(-0.02 * top_mib, 1.02 * top_mib)
    sums = figure.add_subplot(grid[rows, :columns])
    times = figure.add_subplot(grid[rows, columns:])
    draw_sums(sums, comparison, theme, last_second)
    draw_times(times, comparison, theme)
    # The solver behind the layout may end a last digit apart from run to run.
    figure.draw_without_rendering()
    figure.set_layout_engine("none")
    for axes in figure.axes:
        axes.set_position(tuple(round(side, 4) for side in axes.get_position().bounds))
    return figure


def colour_of(theme: Theme, number: int) -> str:
    """Return the colour of a build."""
    return theme.builds[number % len(theme.builds)]


def panel_title(comparison: Comparison, number: int) -> str:
    """Return the title of the panel of a build."""
    distance = comparison.value(number, "seek-distance") or 0.0
    return f"{short(comparison.builds[number].label)}: {quantity(distance, 'bytes')} of seeks"


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
    # Reads can be anywhere in a panel, so what the signs mean is said up here, once for all.
    signs = [
        Line2D([], [], color=theme.faint, marker="o", markersize=4, linestyle="none", label="read"),
        Line2D([], [], color=theme.faint, linewidth=1, label="seek"),
        Line2D([], [], color=theme.ink, linewidth=1, linestyle=TARGET_DASHES, label="boot target"),
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


def draw_seeks(axes: Axes, build: Build, theme: Theme, colour: str) -> None:
    """Draw the reads of one build as dots, its jumps as strokes, and its boot target."""
    reads = build.trace.reads
    seconds = reads["time_ns"] / 1e9
    jumps = seek_distances(reads) > 0
    crowd = len(reads)
    axes.vlines(
        seconds[jumps],
        previous_ends(reads)[jumps] / MIB,
        reads["offset_bytes"][jumps] / MIB,
        colors=colour,
        linewidth=0.8 if crowd < 10_000 else 0.4,
        # A few hundred strokes can be told apart; of a hundred thousand only their density shows.
        alpha=float(np.clip(250 / max(int(np.count_nonzero(jumps)), 1), 0.02, 0.5)),
        rasterized=True,
    )
    axes.plot(
        seconds,
        (reads["offset_bytes"] + reads["length_bytes"] / 2) / MIB,
        linestyle="none",
        marker="o",
        markersize=3.2 if crowd < 3_000 else 2.2 if crowd < 30_000 else 0.8,
        markeredgewidth=0,
        alpha=0.9 if crowd < 30_000 else 0.5,
        color=colour,
        rasterized=True,
    )
    target_seconds = build.trace.target_ns / 1e9
    axes.axvline(target_seconds, color=theme.ink, linewidth=1, linestyle=TARGET_DASHES)
    axes.annotate(
        f"boot target {quantity(target_seconds, 'seconds')}",
        (target_seconds, 1.0),
        xycoords=axes.get_xaxis_transform(),
        xytext=(0, 3),
        textcoords="offset points",
        ha="right",
        fontsize=8.5,
        color=theme.faint,
        annotation_clip=False,
    )


def draw_sums(axes: Axes, comparison: Comparison, theme: Theme, last_second: float) -> None:
    """Draw the seek distance so far over time, for all builds."""
    moments = np.linspace(0, last_second, LINE_POINTS)
    totals = [
        comparison.value(number, "seek-distance") or 0.0 for number in range(len(comparison.builds))
    ]
    scale_bytes, unit = next(
        (known for known in ((1e12, "TB"), (1e9, "GB"), (1e6, "MB")) if max(totals) >= known[0]),
        (1e3, "kB"),
    )
    for number, build in enumerate(comparison.builds):
        reads = build.trace.reads
        sums = np.concatenate(([0], np.cumsum(seek_distances(reads)))) / scale_bytes
        moment = moments[moments <= horizon_seconds(build)]
        so_far = sums[np.searchsorted(reads["time_ns"] / 1e9, moment, side="right")]
        axes.plot(
            moment,
            so_far,
            color=colour_of(theme, number),
            linewidth=2,
            linestyle=DASHES[number % len(DASHES)],
            drawstyle="steps-post",
            label=f"{short(build.label)}, {quantity(totals[number], 'bytes')}",
        )
    axes.set_title("Seek distance so far", loc="left", fontsize=10.5, fontweight="bold")
    axes.set_xlabel("time since power-on (s)")
    axes.set_ylabel(f"seek distance ({unit})")
    axes.set_xlim(0, last_second * 1.02)
    axes.set_ylim(bottom=0)
    axes.legend(loc="best", fontsize=9, framealpha=0.85)


def draw_times(axes: Axes, comparison: Comparison, theme: Theme) -> None:
    """Draw the modelled time on each drive as bars, in percent of the first build's."""
    count = len(comparison.builds)
    # In units of a group: the name of the drive, then a bar for each build.
    thickness = BAR_INCHES / (DRIVE_INCHES + BAR_INCHES * count)
    widest = 100.0
    for row, drive in enumerate(comparison.drives):
        # Names stand above their bars: beside them they would push the panels apart.
        name_place = row + (1 - thickness * count) * 0.55
        axes.annotate(
            drive.title,
            (0, name_place),
            xytext=(2, 0),
            textcoords="offset points",
            va="center",
            fontsize=9,
        )
        first = comparison.value(0, drive.name)
        for number in range(count):
            value = comparison.value(number, drive.name)
            place = row + 1 - thickness * (count - number - 0.5)
            percent = 100.0 * value / first if value is not None and first else 0.0
            widest = max(widest, percent)
            axes.barh(
                place,
                percent,
                height=thickness * 0.88,
                color=colour_of(theme, number),
                label=short(comparison.builds[number].label) if row == 0 else None,
            )
            axes.annotate(
                "does not fit" if value is None else quantity(value, "seconds"),
                (percent, place),
                xytext=(4, 0),
                textcoords="offset points",
                va="center",
                fontsize=8.5,
            )
    axes.set_yticks([])
    axes.set_ylim(len(comparison.drives) + 0.1, 0)
    axes.set_xlim(0, widest * 1.14)
    axes.set_title("Modelled I/O time", loc="left", fontsize=10.5, fontweight="bold")
    axes.set_xlabel(f"% of {short(comparison.builds[0].label)}")
    # Above the bars: no place among them is free of labels for certain. Two long labels side by
    # side would reach into the title.
    longest = max(len(short(build.label)) for build in comparison.builds)
    axes.legend(
        loc="lower right",
        bbox_to_anchor=(1.0, 0.99),
        ncols=2 if longest <= 14 else 1,
        fontsize=9,
        frameon=False,
    )
