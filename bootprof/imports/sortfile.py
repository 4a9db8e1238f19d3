# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""Sort files of mksquashfs, genisoimage and gensquashfs: paths in the order of their priorities."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from bootprof.imports import Import
from bootprof.imports.common.source import (
    Counts,
    Source,
    access,
    gathered,
    guarded,
    header_of,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from optimizer.formats.events import Bootlog, Event


def _events(source: Source, counts: Counts) -> Iterator[Event]:
    from optimizer.formats.events import Operation
    from optimizer.formats.sortfile import distinct_paths_of

    source.stream.seek(0)
    for path in distinct_paths_of(source.stream, source.name).paths:
        counts.records += 1
        yield from guarded(counts, (access(one, Operation.OPEN) for one in (path,)))


def read(sources: Sequence[Source]) -> Bootlog:
    """Read a sort file.

    Raises:
        FormatError: It is none, or a line of it is wrong.
    """
    counts = Counts()
    return gathered(
        header_of("sortfile", sources),
        _events(sources[0], counts),
        counts,
        "no line like 'usr/bin/sed 32767'",
        "a sort file of mksquashfs or gensquashfs is expected",
    )


def looks_like(source: Source) -> bool:
    """Return whether a file is a sort file."""
    from optimizer.formats.sortfile import kind_of

    return kind_of(source.sample) in ("mksquashfs", "gensquashfs", "draklive")


IMPORT = Import(
    name="sortfile",
    summary="sort file of mksquashfs, genisoimage or gensquashfs",
    gives="open",
    record="bootprof sort BOOTLOG -o FILE",
    looks_like=looks_like,
    read=read,
    is_fallback=True,
)
