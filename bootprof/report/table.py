"""A comparison as a table on a terminal or in a pipe."""

from __future__ import annotations

from typing import TextIO

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from bootprof.report.comparison import Comparison
from bootprof.units import NOTABLE, change, quantity

# Wider than any table; a table takes what it needs of it.
PIPE_WIDTH_COLUMNS = 10_000


def print_table(comparison: Comparison, stream: TextIO, *, bounds: bool = False) -> None:
    """Print a comparison: a row for each metric, a column for each build and its change.

    On a terminal it has colours and is as wide as that; elsewhere it is plain and never cut.

    Args:
        comparison: What is printed.
        stream: Where to.
        bounds: Also print what each trace could cost at best.
    """
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("")
    for number, build in enumerate(comparison.builds):
        table.add_column(Text(build.label), justify="right")
        if number:
            table.add_column("change", justify="right")
    for metric in comparison.metrics:
        if metric.is_bound and not bounds:
            continue
        cells = [Text(metric.title)]
        for number in range(len(comparison.builds)):
            value = comparison.value(number, metric.name)
            cells.append(Text("does not fit" if value is None else quantity(value, metric.unit)))
            if number:
                cells.append(change_cell(comparison.ratio(number, metric.name)))
        table.add_row(*cells)
    width = None if stream.isatty() else PIPE_WIDTH_COLUMNS
    console = Console(file=stream, width=width, highlight=False, markup=False, emoji=False)
    with console.capture() as captured:
        console.print(table)
    for line in captured.get().strip("\n").splitlines():
        stream.write(line.rstrip() + "\n")


def change_cell(ratio: float | None) -> Text:
    """Return the cell of a change: green for less, red for more."""
    if ratio is None:
        return Text("")
    style = "green" if ratio < 1 - NOTABLE else "red" if ratio > 1 + NOTABLE else ""
    return Text(change(ratio), style=style)
