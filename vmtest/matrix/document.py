# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""Tables of Markdown, and where they go in docs/matrix.md."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from vmtest.matrix.agreement import Agreement


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table; all columns but the first are right-aligned."""
    lines = [head, ["---", *["--:"] * (len(head) - 1)], *rows]
    return "".join("| " + " | ".join(line) + " |\n" for line in lines)


def share(value: float | None) -> str:
    """Return a share or a correlation for a table; a 1 is exact, never rounded to."""
    if value is None:
        return "-"
    if value == 1:
        return "**1**"
    return f"{min(value, 0.999):.3f}"


def shown(path: bytes) -> str:
    """Return a path for a text, of moderate length."""
    text = ascii(path.decode(errors="surrogateescape"))[1:-1]
    return f"`{text if len(text) <= 64 else text[:40] + '...' + text[-14:]}`"


def listing(paths: Sequence[bytes], limit: int = 6) -> str:
    """Return the first of some paths, and how many more there are."""
    more = f" and {len(paths) - limit} more" if len(paths) > limit else ""
    return ", ".join(shown(path) for path in paths[:limit]) + more


def differences(agreement: Agreement, names: tuple[str, str]) -> str:
    """Return how two bootlogs of one boot differ, and why."""
    text = f"{agreement.both:,} paths are in both.\n\n"
    for name, only in zip(names, (agreement.only_first, agreement.only_second), strict=True):
        for reason, paths in only.items():
            text += f"- in {name} alone, {len(paths)}: {reason}: {listing(paths)}\n"
    rows = [
        [operation, *(f"{count:,}" for count in counts)]
        for operation, counts in agreement.operations.items()
    ]
    head = ["operation (paths of both)", "both", *(f"{name} alone" for name in names)]
    return f"{text}\n" + table(head, rows)


def replace_section(document: Path, name: str, content: str) -> None:
    """Put generated text between the marks of its section.

    Raises:
        ValueError: The document has no such marks.
    """
    text = document.read_text()
    begin, end = f"<!-- begin {name} -->\n", f"<!-- end {name} -->\n"
    before, found, rest = text.partition(begin)
    _, closed, after = rest.partition(end)
    if not found or not closed:
        raise ValueError(f"{document}: no marks of a section {name}")
    temporary = document.with_name(document.name + ".partial")
    temporary.write_text(f"{before}{begin}\n{content.strip()}\n\n{end}{after}")
    temporary.replace(document)
