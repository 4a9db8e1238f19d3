"""The report: one HTML file that needs nothing but itself, no network and no script."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from bootprof.files import write_output
from bootprof.report.comparison import Comparison
from bootprof.report.details import Causes, Evidence
from bootprof.report.details_figures import (
    cause_bars,
    image_map_svg,
    map_legend,
    shade_legend,
    timeline_svg,
)
from bootprof.report.figures import (
    build_legend,
    drive_bars,
    figure,
    histogram_panels,
    panel,
    seek_panels,
    sums,
)
from bootprof.report.headline import headline
from bootprof.report.imagemap import ImageMap
from bootprof.report.seeks import seek_histogram
from bootprof.report.style import style_sheet
from bootprof.report.svg import escape
from bootprof.report.timeline import Row
from bootprof.units import NOTABLE, change, quantity
from optimizer.attribution import Cause

# Nothing may be fetched, whatever a label says; the browser holds to this.
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
TITLES = {
    "figures": "Figures",
    "seeks": "Offset over time",
    "sums": "Seek distance over time",
    "lengths": "Seeks by length",
    "drives": "Modelled I/O time",
    "map": "Map of the image",
    "causes": "What the reads were for",
    "processes": "Who read what",
}


def write_report(comparison: Comparison, evidence: Sequence[Evidence], path: Path) -> None:
    """Write the report; equal input gives equal bytes.

    Args:
        comparison: The figures of the builds.
        evidence: What else is known of each of them, in their order.
        path: Where it goes; it appears there when it is whole.

    Raises:
        OSError: It could not be written; the error has its name.
    """
    write_output(path, report(comparison, evidence).encode())


def report(comparison: Comparison, evidence: Sequence[Evidence]) -> str:
    """Return the report as HTML."""
    title, _ = headline(comparison)
    names = ", ".join(build.label for build in comparison.builds)
    contents = {
        "figures": figures_section(comparison),
        "seeks": seek_panels(comparison),
        "sums": sums(comparison),
        "lengths": histogram_panels(comparison, seek_histogram(comparison.builds)),
        "drives": drive_bars(comparison),
        "map": map_section(comparison, evidence),
        "causes": causes_section(comparison, evidence),
        "processes": processes_section(comparison, evidence),
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
        f"{len(comparison.builds)} builds compared by bootprof: {escape(names)}. The first one is "
        "what the others are compared with. Less is better everywhere.</p>"
        f'<nav aria-label="Contents"><ul>{links}</ul></nav></header>\n'
        f"<main>{sections}</main></body></html>\n"
    )


def table(
    caption: str,
    head: Sequence[str],
    rows: Sequence[Sequence[str]],
    foot: Sequence[str] = (),
    *,
    words: bool = False,
) -> str:
    """Return a table.

    Args:
        caption: What it shows, as text.
        head: Titles of the columns, as text; the first column names the rows.
        rows: Cells as HTML.
        foot: Cells of the last row, likewise.
        words: Whether the last column is words rather than figures.
    """

    def cells(row: Sequence[str]) -> str:
        kinds = ["" for _ in row]
        if words:
            kinds[-1] = ' class="words"'
        columns = zip(row[1:], kinds[1:], strict=True)
        rest = "".join(f"<td{kind}>{cell}</td>" for cell, kind in columns)
        return f'<tr><th scope="row">{row[0]}</th>{rest}</tr>'

    last = len(head) - 1
    titles = "".join(
        f'<th scope="col"{" class=words" if words and place == last else ""}>{escape(name)}</th>'
        for place, name in enumerate(head)
    )
    end = f"<tfoot>{cells(foot)}</tfoot>" if foot else ""
    return (
        f'<div class="scroll" role="region" tabindex="0" aria-label="{escape(caption)}">'
        f"<table><caption>{escape(caption)}</caption><thead><tr>{titles}</tr></thead>"
        f"<tbody>{''.join(cells(row) for row in rows)}</tbody>{end}</table></div>"
    )


def figures_section(comparison: Comparison) -> str:
    """Return the table of all metrics, and that of the builds."""
    head = [""]
    for place, build in enumerate(comparison.builds):
        head += [build.label, "change"] if place else [build.label]
    drives = {drive.name: drive.title for drive in comparison.drives}
    rows = []
    for metric in comparison.metrics:
        title = metric.title
        if metric.is_bound:
            title = f"{drives[metric.name.removesuffix('-bound')]}, one pass at best"
        row = [escape(title)]
        for place in range(len(comparison.builds)):
            value = comparison.value(place, metric.name)
            row.append("does not fit" if value is None else quantity(value, metric.unit))
            if place:
                row.append(change_cell(comparison.ratio(place, metric.name)))
        rows.append(row)
    builds = [
        [
            escape(build.label),
            escape(build.trace.image),
            f"{build.trace.image_bytes:,}",
            f'<span class="digest">{escape(build.trace.image_sha256[:16]) or "not known"}</span>',
            quantity(build.trace.target_ns / 1e9, "seconds"),
        ]
        for build in comparison.builds
    ]
    return table("Figures of all builds", head, rows) + table(
        "The builds", ["", "image", "bytes", "SHA-256 begins", "boot target after"], builds
    )


def change_cell(ratio: float | None) -> str:
    """Return a change, with a sign that does not need its colour."""
    if ratio is None:
        return ""
    if ratio < 1 - NOTABLE:
        return f'<span class="less">▼ {change(ratio)}</span>'
    if ratio > 1 + NOTABLE:
        return f'<span class="more">▲ {change(ratio)}</span>'
    return change(ratio)


def absent(comparison: Comparison, evidence: Sequence[Evidence], part: str, what: str) -> str:
    """Return a note for each build that a part is not there for, and why."""
    return "".join(
        f'<p class="note">{escape(build.label)}: {what}, because {escape(known.absent[part])}.</p>'
        for build, known in zip(comparison.builds, evidence, strict=True)
        if part in known.absent
    )


def map_section(comparison: Comparison, evidence: Sequence[Evidence]) -> str:
    """Return the maps of the images that are there."""
    notes = absent(comparison, evidence, "image_map", "no map")
    maps = [
        (build.label, known.image_map)
        for build, known in zip(comparison.builds, evidence, strict=True)
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
        "colour is its share of that place. Compressed blocks that hold something needed count as "
        "needed whole."
        + ("" if all(found.knows_need for _, found in maps) else " What a boot needed is known "
           "from its bootlog only; where there is none, all that was read is shown alike."),
    )  # fmt: skip
    return notes + drawn + "".join(map_table(label, found) for label, found in maps)


def map_table(label: str, found: ImageMap) -> str:
    """Return the figures of a map."""
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
    head = ["", "on the image", "read", "share", "of that needed"]
    return table(f"Contents of the image: {label}", head, rows)


def causes_section(comparison: Comparison, evidence: Sequence[Evidence]) -> str:
    """Return the attribution of each build, as bars and as tables."""
    notes = absent(comparison, evidence, "causes", "no causes")
    known = [each.causes for each in evidence]
    if not any(known):
        return notes
    drives = sorted({each.drive.title for each in known if each is not None})
    drawn = figure(
        build_legend(comparison.builds, lines=False) + cause_bars(comparison.builds, known),
        f"Modelled time on {escape(' and '.join(drives))}, positioning and transfer. A seek counts "
        "for what its read was needed for.",
    )
    tables = "".join(
        causes_table(build.label, causes)
        for build, causes in zip(comparison.builds, known, strict=True)
        if causes is not None
    )
    return notes + drawn + tables


def causes_table(label: str, causes: Causes) -> str:
    """Return the attribution of one build, and how far it is from the limit."""
    found = causes.found
    rows = []
    for cause in Cause:
        if found.bytes_read[cause] or found.seeks[cause]:
            seconds = float(found.positioning_seconds[cause] + found.transfer_seconds[cause])
            rows.append(
                [
                    cause.label,
                    quantity(int(found.bytes_read[cause]), "bytes"),
                    quantity(int(found.needed_bytes[cause]), "bytes"),
                    quantity(int(found.seeks[cause]), ""),
                    quantity(int(found.long_seeks[cause]), ""),
                    quantity(int(found.seek_distance_bytes[cause]), "bytes"),
                    quantity(float(found.positioning_seconds[cause]), "seconds"),
                    quantity(float(found.transfer_seconds[cause]), "seconds"),
                    f"{100 * seconds / causes.modelled_seconds:.1f} %",
                ]
            )
    foot = [
        "all",
        quantity(int(found.bytes_read.sum()), "bytes"),
        quantity(int(found.needed_bytes.sum()), "bytes"),
        quantity(int(found.seeks.sum()), ""),
        quantity(int(found.long_seeks.sum()), ""),
        quantity(int(found.seek_distance_bytes.sum()), "bytes"),
        quantity(float(found.positioning_seconds.sum()), "seconds"),
        quantity(float(found.transfer_seconds.sum()), "seconds"),
        "",
    ]
    head = ["", "read", "needed", "seeks", "over 1 MB", "distance", "positioning", "transfer",
            "share of time"]  # fmt: skip
    limit, read_limit = causes.limit_seconds, causes.read_limit_seconds
    sentences = [
        f"On {causes.drive.title} the reads take {quantity(causes.modelled_seconds, 'seconds')}. "
        f"One pass over all that the boot needs of {causes.files:,} files would take "
        f"{quantity(limit, 'seconds')}"
        + (f": the boot takes {causes.modelled_seconds / limit:.2f} times the limit." if limit
           else "."),
    ]  # fmt: skip
    if read_limit:
        sentences.append(
            f"Without what the boot did not read after all the limit is "
            f"{quantity(read_limit, 'seconds')}."
        )
    if causes.missing:
        sentences.append(f"{causes.missing:,} of the touched paths are not in the image.")
    return table(f"Causes: {label}", head, rows, foot) + f"<p>{escape(' '.join(sentences))}</p>"


def processes_section(comparison: Comparison, evidence: Sequence[Evidence]) -> str:
    """Return the timelines: by process and by folder."""
    notes = absent(comparison, evidence, "timeline", "no timeline")
    processes: list[str] = []
    folders: list[str] = []
    tables: list[str] = []
    for build, known in zip(comparison.builds, evidence, strict=True):
        timeline = known.timeline
        if timeline is None:
            continue
        if timeline.lost:
            notes += (
                f'<p class="note">{escape(build.label)}: the recorder lost {timeline.lost:,} '
                "accesses, which are missing here.</p>"
            )
        for title, rows, panels in (
            (f"{build.label}: processes", timeline.processes, processes),
            (f"{build.label}: folders", timeline.folders, folders),
        ):
            panels.append(panel(title, timeline_svg(timeline, rows, title)))
            tables.append(rows_table(title, rows))
    if not processes:
        return notes
    drawn = figure(
        f'{shade_legend()}<div class="panels">{"".join(processes + folders)}</div>',
        "Accesses to files of the image by process and by folder, those with the most accesses, in "
        "the order of their first one. A program that a process executes is a row of its own. "
        "Files that live in memory are left out.",
    )
    details = f"<details><summary>The timelines as tables</summary>{''.join(tables)}</details>"
    return notes + drawn + details


def rows_table(title: str, rows: Sequence[Row]) -> str:
    """Return the figures of the rows of a timeline."""
    cells = [
        [
            escape(row.title),
            f"{row.first_ns / 1e9:.2f} s",
            f"{row.last_ns / 1e9:.2f} s",
            f"{int(row.events.sum()):,}",
            f"{row.files:,}",
            f"{row.new_files:,}",
            "not known" if row.new_bytes is None else quantity(row.new_bytes, "bytes"),
            "<br>".join(escape(path) for path in row.examples),
        ]
        for row in rows
    ]
    head = ["", "first", "last", "accesses", "files", "first to touch", "size of these",
            "some of them"]  # fmt: skip
    return table(title, head, cells, words=True)
