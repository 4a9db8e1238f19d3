# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""Lists of e4rat-collect, and any other list of one path a line.

``e4rat-collect`` writes device, inode and path of each file in the order of first access; the
device is a number as stat(2) gives it, major and minor packed in 32 bits. Lists that people made
by hand have the path alone; e4rat reads both.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from bootprof.imports import Import
from bootprof.imports.common.source import (
    Counts,
    Source,
    access,
    gathered,
    header_of,
    number,
)

if TYPE_CHECKING:
    from optimizer.formats.events import Bootlog, Event

_DETAILED = re.compile(rb"(\d{1,20}+) (\d{1,20}+) (/[^\0]*+)\Z", re.DOTALL)
_HINT = "a list of e4rat-collect is expected, or one absolute path a line"


def _event(line: bytes, counts: Counts) -> Iterator[Event]:
    from optimizer.formats.events import Operation

    if not line:
        return
    counts.records += 1
    found = _DETAILED.match(line)
    if found is None:
        yield access(line, Operation.OPEN)
        return
    device = number(found[1], 1 << 32)
    yield access(
        found[3],
        Operation.OPEN,
        device=(device >> 8 & 0xFFF, (device & 0xFF) | (device >> 12 & 0xFFF00)),
        inode=number(found[2], 1 << 64),
    )


def read(sources: Sequence[Source]) -> Bootlog:
    """Read a list; a sort file is one too.

    Raises:
        FormatError: It holds no paths.
    """
    from bootprof.imports import sortfile

    source = sources[0]
    if sortfile.IMPORT.looks_like(source):
        return sortfile.read(sources)
    for line_number, line in enumerate(source.sample, 1):
        if not line.startswith(b"/") and not _DETAILED.match(line):
            from bootprof.errors import FormatError
            from optimizer.formats.text import printable

            raise FormatError(
                f"{source.name}:{line_number}: neither 'DEVICE INODE /PATH' nor '/PATH': "
                f"'{printable(line, 60)}'",
                hint=_HINT,
            )
    counts = Counts()
    events = source.records(counts, lambda line: _event(line, counts))
    return gathered(header_of("e4rat", sources), events, counts, "holds no paths", _HINT)


def looks_like(source: Source) -> bool:
    """Return whether e4rat-collect wrote a file."""
    return bool(source.sample) and all(_DETAILED.match(line) for line in source.sample)


IMPORT = Import(
    name="e4rat",
    summary="list of e4rat-collect, or any list of one path a line",
    gives="open",
    record="e4rat-collect as init",
    looks_like=looks_like,
    read=read,
)
