# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""A comparison as a table on a terminal or in a pipe."""

from __future__ import annotations

from typing import TextIO

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from bootprof.report.comparison import Comparison
from bootprof.report.conditions import NOT_RECORDED

# Wider than any table; a table uses only the width that it needs.
PIPE_WIDTH_COLUMNS = 10_000
SHORT = ["accelerator"]
STYLES = {"less": "green", "more": "red", "": ""}


def print_table(comparison: Comparison, stream: TextIO, *, bounds: bool = False) -> None:
    """Print a comparison: the metrics of each build with their change, and how it was recorded.

    On a terminal it has colours and is as wide as that; elsewhere it is plain and never cut.

    Args:
        comparison: What is printed.
        stream: Where to.
        bounds: Also print what each trace would cost at best.
    """
    metrics = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    metrics.add_column("")
    for place, build in enumerate(comparison.builds):
        metrics.add_column(Text(build.label), justify="right")
        if place:
            metrics.add_column("change", justify="right")
    for metric in comparison.metrics:
        if metric.is_bound and not bounds:
            continue
        cells = [Text(metric.title)]
        for place in range(len(comparison.builds)):
            cells.append(Text(comparison.value_text(place, metric)))
            if place:
                change = comparison.change(place, metric)
                cells.append(Text(change.text, style=STYLES[change.direction]))
        metrics.add_row(*cells)
    width = None if stream.isatty() else PIPE_WIDTH_COLUMNS
    console = Console(file=stream, width=width, highlight=False, markup=False, emoji=False)
    with console.capture() as captured:
        console.print(metrics)
        console.print(conditions_table(comparison))
        for remark in comparison.remarks():
            console.print(Text(remark))
    for line in captured.get().strip("\n").splitlines():
        stream.write(line.rstrip() + "\n")


def conditions_table(comparison: Comparison) -> Table:
    """Return how each build was recorded, as a table."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("recorded with")
    for build in comparison.builds:
        table.add_column(Text(build.label))
    rows = [build.conditions.rows() for build in comparison.builds]
    # Block traces alone have no such record: one row states that.
    titles = list(rows[0]) if any(set(row.values()) != {NOT_RECORDED} for row in rows) else SHORT
    for title in titles:
        table.add_row(Text(title), *(Text(row[title]) for row in rows))
    return table
