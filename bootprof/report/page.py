# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""The report: one HTML file that needs neither network nor script."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple
from pathlib import Path

from bootprof.files import write_output
from bootprof.report.comparison import Change, Comparison
from bootprof.report.conditions import accelerators_of
from bootprof.report.details import Details, cost_cells
from bootprof.report.details_figures import (
    cause_bars,
    image_map_svg,
    map_legend,
    timeline_legend,
    timeline_svg,
)
from bootprof.report.headline import headline
from bootprof.report.imagemap import ImageMap
from bootprof.report.plotdata import plot_data, time_title
from bootprof.report.seeks import seek_histogram
from bootprof.report.style import style_sheet
from bootprof.report.svg import escape
from bootprof.report.timeline import Row
from bootprof.report.trace_figures import (
    build_legend,
    drive_bars,
    figure,
    histogram_panels,
    panel,
    seek_panels,
    seek_sums,
)
from bootprof.units import quantity
from optimizer.analysis import Analysis, CauseRow, cause_rows

# The browser loads nothing, for any content of a label.
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
SIGNS = {"less": "▼", "more": "▲"}
TITLES = {
    "metrics": "Metrics",
    "seeks": "Offset over time",
    "sums": "Seek distance over time",
    "lengths": "Seeks by length",
    "drives": "Modelled I/O time",
    "map": "Map of the image",
    "causes": "Causes of the reads",
    "processes": "Accesses by process and folder",
}


def write_report(comparison: Comparison, details: Sequence[Details], path: Path) -> None:
    """Write the report; equal input gives equal bytes.

    Args:
        comparison: The metrics of the builds.
        details: What else is known of each of them, in their order.
        path: Where it goes; it appears there when it is whole.

    Raises:
        OSError: It could not be written; the error has its name.
    """
    write_output(path, report(comparison, details).encode())


def report(comparison: Comparison, details: Sequence[Details]) -> str:
    """Return the report as HTML."""
    title, _ = headline(comparison)
    data = plot_data(comparison)
    names = ", ".join(build.label for build in comparison.builds)
    contents = {
        "metrics": metrics_section(comparison),
        "seeks": seek_panels(data),
        "sums": seek_sums(data),
        "lengths": histogram_panels(
            comparison.builds, data.labels, seek_histogram(comparison.builds)
        ),
        "drives": drive_bars(data),
        "map": map_section(comparison, details),
        "causes": causes_section(comparison, details, data.labels),
        "processes": processes_section(comparison, details),
    }
    links = "".join(f'<li><a href="#{key}">{TITLES[key]}</a></li>' for key in contents)
    sections = "".join(
        f'<section id="{key}" aria-labelledby="{key}-title">'
        f'<h2 id="{key}-title">{TITLES[key]}</h2>{content}</section>'
        for key, content in contents.items()
    )
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{escape(POLICY)}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>bootprof: {escape(names)}</title><style>\n{style_sheet()}</style></head>\n"
        f'<body><header><h1>{escape(title)}</h1><p class="lead">Block traces of '
        f"{len(comparison.builds)} builds compared by bootprof: {escape(names)}. Changes are "
        "relative to the first build. Lower is better for every metric.</p>"
        f'<nav aria-label="Contents"><ul>{links}</ul></nav></header>\n'
        f"<main>{sections}</main></body></html>\n"
    )


def table(
    caption: str,
    head: Sequence[str],
    rows: Sequence[Sequence[str]],
    foot: Sequence[str] = (),
    *,
    prose: int = 0,
) -> str:
    """Return a table.

    Args:
        caption: Title of the table, as text.
        head: Titles of the columns, as text; the first column names the rows.
        rows: Cells as HTML.
        foot: Cells of the last row, likewise.
        prose: How many of the last columns are text rather than numbers.
    """
    first_prose = len(head) - prose

    def kind(place: int) -> str:
        return ' class="prose"' if place >= first_prose else ""

    def cells(row: Sequence[str]) -> str:
        rest = "".join(f"<td{kind(place)}>{row[place]}</td>" for place in range(1, len(row)))
        return f'<tr><th scope="row">{row[0]}</th>{rest}</tr>'

    titles = "".join(
        f'<th scope="col"{kind(place)}>{escape(name)}</th>' for place, name in enumerate(head)
    )
    end = f"<tfoot>{cells(foot)}</tfoot>" if foot else ""
    return (
        f'<div class="scroll" role="region" tabindex="0" aria-label="{escape(caption)}">'
        f"<table><caption>{escape(caption)}</caption><thead><tr>{titles}</tr></thead>"
        f"<tbody>{''.join(cells(row) for row in rows)}</tbody>{end}</table></div>"
    )


def metrics_section(comparison: Comparison) -> str:
    """Return the table of all metrics, that of the builds, and how they were recorded."""
    builds = comparison.builds
    head = [""]
    for place, build in enumerate(builds):
        head += [build.label, "change"] if place else [build.label]
    drives = {drive.name: drive.title for drive in comparison.drives}
    rows = []
    for metric in comparison.metrics:
        title = metric.title
        if metric.is_bound:
            title = f"bound on {drives[metric.name.removesuffix('-bound')]}"
        row = [escape(title)]
        for place in range(len(builds)):
            row.append(escape(comparison.value_text(place, metric)))
            if place:
                row.append(change_cell(comparison.change(place, metric)))
        rows.append(row)
    remarks = "".join(f'<p class="note">{escape(text)}</p>' for text in comparison.remarks())
    images = [
        [
            escape(build.label),
            escape(build.trace.image),
            quantity(build.trace.image_bytes, "bytes"),
            f'<span class="digest">{escape(build.trace.image_sha256[:12]) or "not known"}</span>',
        ]
        for build in builds
    ]
    conditions = [build.conditions.rows() for build in builds]
    recorded = [
        [escape(title), *(escape(row[title]) for row in conditions)] for title in conditions[0]
    ]
    return (
        table("Metrics of all builds", head, rows)
        + remarks
        + table("Images", ["", "file", "size", "SHA-256 begins"], images)
        + table(
            "Recorded with", ["", *(build.label for build in builds)], recorded, prose=len(builds)
        )
    )


def change_cell(change: Change) -> str:
    """Return a change, with a sign that does not need its colour."""
    content = escape(change.text)
    if not change.direction:
        return content
    return f'<span class="{change.direction}">{SIGNS[change.direction]} {content}</span>'


def absent(comparison: Comparison, details: Sequence[Details], part: str, what: str) -> str:
    """Return a note for each build that a part is not there for, and why."""
    return "".join(
        f'<p class="note">{escape(build.label)}: {what}, because {escape(known.absent[part])}.</p>'
        for build, known in zip(comparison.builds, details, strict=True)
        if part in known.absent
    )


def map_section(comparison: Comparison, details: Sequence[Details]) -> str:
    """Return the maps of the available images."""
    notes = absent(comparison, details, "image_map", "no map")
    maps = [
        (build.label, known.image_map)
        for build, known in zip(comparison.builds, details, strict=True)
        if known.image_map is not None
    ]
    if not maps:
        return notes
    widest_bytes = max(found.image_bytes for _, found in maps)
    panels = "".join(
        panel(label, image_map_svg(found, label, widest_bytes)) for label, found in maps
    )
    knows_need = any(found.knows_need for _, found in maps)
    drawn = figure(
        f'{map_legend(knows_need)}<div class="panels">{panels}</div>',
        "The whole image from left to right, a lane for each kind of content. The height of a "
        "colour is its share of that place. A compressed block of which a part was needed counts "
        "as needed."
        + ("" if all(found.knows_need for _, found in maps) else " Only a bootlog shows what a "
           "boot needed; without one, everything that was read has one colour."),
    )  # fmt: skip
    return notes + drawn + "".join(map_table(label, found) for label, found in maps)


def map_table(label: str, found: ImageMap) -> str:
    """Return the sums of a map as a table."""
    rows = []
    for lane in found.lanes:
        held, read, needed = (
            float(part.sum()) for part in (lane.held_bytes, lane.read_bytes, lane.needed_bytes)
        )
        rows.append(
            [
                escape(lane.title),
                quantity(held, "bytes"),
                quantity(read, "bytes"),
                f"{100 * read / held:.1f} %",
                quantity(needed, "bytes") if found.knows_need else "not known",
            ]
        )
    head = ["", "on the image", "read", "share", "needed of these"]
    return table(f"Contents of the image: {label}", head, rows)


def causes_section(
    comparison: Comparison, details: Sequence[Details], labels: Sequence[str]
) -> str:
    """Return the attribution of each build, as bars and as tables."""
    notes = absent(comparison, details, "causes", "no causes")
    known = [each.causes for each in details]
    if not any(known):
        return notes
    drives = sorted({each.drive.title for each in known if each is not None})
    drawn = figure(
        build_legend(labels, lines=False) + cause_bars(comparison.builds, known),
        f"Modelled time on {escape(' and '.join(drives))}, positioning and transfer. A seek "
        "has the cause of the read that follows it.",
    )
    tables = "".join(
        causes_table(build.label, causes)
        for build, causes in zip(comparison.builds, known, strict=True)
        if causes is not None
    )
    return notes + drawn + tables


def causes_table(label: str, causes: Analysis) -> str:
    """Return the attribution of one build, and how far it is from the limit."""
    every = cause_rows(causes.found)
    rows = []
    for row in every:
        if row.bytes or row.seeks:
            seconds = row.positioning_seconds + row.transfer_seconds
            share = f"{100 * seconds / causes.modelled_seconds:.1f} %"
            rows.append([escape(row.title), *cost_cells(row), share])
    sums = (sum(column) for column in zip(*(astuple(row)[2:] for row in every), strict=True))
    foot = ["all", *cost_cells(CauseRow("all", "all", *sums)), ""]
    head = ["", "read", "needed", "seeks", "over 1 MB", "distance", "positioning", "transfer",
            "share of time"]  # fmt: skip
    limit, read_limit = causes.limit_seconds, causes.read_limit_seconds
    sentences = [
        f"On {causes.drive.title} the reads take {quantity(causes.modelled_seconds, 'seconds')}. "
        f"One pass over everything that the boot needs, {causes.files:,} files, takes "
        f"{quantity(limit, 'seconds')} (the limit)"
        + (f": the reads take {causes.modelled_seconds / limit:.2f} times the limit." if limit
           else "."),
    ]  # fmt: skip
    if read_limit:
        sentences.append(
            f"One pass over the part of these bytes that it read takes "
            f"{quantity(read_limit, 'seconds')} (the read limit)."
        )
    if causes.missing:
        sentences.append(f"{len(causes.missing):,} touched paths are not in the image.")
    return table(f"Causes: {label}", head, rows, foot) + f"<p>{escape(' '.join(sentences))}</p>"


def processes_section(comparison: Comparison, details: Sequence[Details]) -> str:
    """Return the timelines: by process and by folder."""
    notes = absent(comparison, details, "timeline", "no timeline")
    found = [
        (build, known.timeline)
        for build, known in zip(comparison.builds, details, strict=True)
        if known.timeline is not None
    ]
    if not found:
        return notes
    # Panels side by side share the axis of time.
    end_ns = max(timeline.end_ns for _, timeline in found)
    axis_title = time_title("time since the kernel started", [build for build, _ in found])
    processes: list[str] = []
    folders: list[str] = []
    tables: list[str] = []
    for build, timeline in found:
        if timeline.lost:
            notes += (
                f'<p class="note">{escape(build.label)}: the recorder lost {timeline.lost:,} '
                "accesses, which are missing below.</p>"
            )
        for title, rows, panels in (
            (f"{build.label}: processes", timeline.processes, processes),
            (f"{build.label}: folders", timeline.folders, folders),
        ):
            drawn = timeline_svg(timeline, rows, title, end_ns=end_ns, time_title=axis_title)
            panels.append(panel(title, drawn))
            machine = accelerators_of([build.conditions])
            times = f", times in seconds of {machine}" if machine else ""
            tables.append(rows_table(title + times, rows))
    shown = figure(
        f'{timeline_legend()}<div class="panels">{"".join(processes + folders)}</div>',
        "Accesses to files of the image by process and by folder, those with the most accesses, in "
        "the order of their first access. A program that a process executes has a row of its own. "
        "Files in memory are left out.",
    )
    hidden = f"<details><summary>The timelines as tables</summary>{''.join(tables)}</details>"
    return notes + shown + hidden


def rows_table(title: str, rows: Sequence[Row]) -> str:
    """Return the rows of a timeline as a table."""
    cells = [
        [
            escape(row.title),
            f"{row.first_ns / 1e9:.2f} s",
            f"{row.last_ns / 1e9:.2f} s",
            f"{int(row.events.sum()):,}",
            f"{row.files:,}",
            f"{row.new_files:,}",
            "unknown" if row.new_bytes is None else quantity(row.new_bytes, "bytes"),
            "<br>".join(escape(path) for path in row.examples),
        ]
        for row in rows
    ]
    head = ["", "first", "last", "accesses", "files", "first to touch", "size of these",
            "examples"]  # fmt: skip
    return table(title, head, cells, prose=1)
