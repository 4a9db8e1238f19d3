# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""Output of ``inotifywait -m`` and ``fsnotifywait -m``: opens and reads in watched directories.

``DIRECTORY/ EVENTS FILE`` by default, ``DIRECTORY/,"EVENTS",FILE`` with ``--csv``, and ``%w``,
``%f``, ``%e`` and ``%T`` in any order with ``--format``, if the events are between spaces.
Processes are not recorded. The base of a relative watch (``inotifywait -m .``) is unknown: its
events are counted as lost. Tested with inotify-tools 3.22.6.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from bootprof.imports import Import
from bootprof.imports.common.clock import CLOCK, Clock, of_day
from bootprof.imports.common.source import (
    Counts,
    RecordError,
    Source,
    access,
    gathered,
    header_of,
    nanoseconds,
)

if TYPE_CHECKING:
    from optimizer.formats.events import Bootlog, Event

_EVENT = (
    rb"(?:ACCESS|MODIFY|ATTRIB|CLOSE_WRITE|CLOSE_NOWRITE|CLOSE|OPEN|MOVED_TO|MOVED_FROM|MOVE_SELF|MOVE"
    rb"|CREATE|DELETE_SELF|DELETE|UNMOUNT|ISDIR|IGNORED|Q_OVERFLOW)"
)
_EVENTS = re.compile(
    rb"(?:^|(?<=[ \t;|]))(" + _EVENT + rb"(?:[,:|;+]" + _EVENT + rb"){0,5}+)(?=[ \t;|]|$)"
)
_CSV = re.compile(rb'(?:[^,"\n]*+|"[^"\n]*+(?:""[^"\n]*+)*+"),"?' + _EVENT + rb'[,"A-Z_]{0,60},')
_STAMP = re.compile(
    rb"\[?(?:\d{4}-\d\d-\d\d[T ]|\d\d[./-]\d\d[./-]\d\d(?:\d\d)? )?"
    rb"(?:"
    + CLOCK
    + rb"(?:Z| ?[+-]\d\d:?\d\d)?|(?P<epoch>\d{9,11}+(?:\.\d{1,9}+)?))\]?(?:[ \t;|,]|\Z)"
)


class _Log:
    """Follows a text, line by line."""

    def __init__(self, counts: Counts) -> None:
        self.counts = counts
        self.clock = Clock()

    def parse(self, line: bytes) -> Iterator[Event]:
        """Yield the event of a line, if a file was opened or read."""
        from optimizer.formats.events import Operation

        found = _fields(line)
        if found is None:
            return
        events, path, stamp = found
        self.counts.records += 1
        if b"Q_OVERFLOW" in events:
            raise RecordError
        if b"ISDIR" in events or not events & {b"OPEN", b"ACCESS"}:
            return
        time_ns = 0
        if stamp is not None and stamp["epoch"]:
            time_ns = self.clock.since_start(nanoseconds(stamp["epoch"]), wraps=False)
        elif stamp is not None:
            now = of_day(stamp["hour"], stamp["minute"], stamp["clock"])
            time_ns = self.clock.since_start(now, wraps=True)
        yield access(path, Operation.OPEN if b"OPEN" in events else Operation.READ, time_ns=time_ns)


def _fields(line: bytes) -> tuple[set[bytes], bytes, re.Match[bytes] | None] | None:
    """Return events, path and time of a line; None if it is not one of inotifywait."""
    if _CSV.match(line):
        try:
            where, events, *names = next(csv.reader([line.decode(errors="surrogateescape")]))
        except (csv.Error, ValueError):
            raise RecordError from None
        path = (where + ",".join(names)).encode(errors="surrogateescape")
        named = events.encode(errors="surrogateescape")
        return set(named.split(b",")), path, None
    found = _EVENTS.search(line)
    if found is None:
        return None
    before, after = line[: found.start()], line[found.end() :]
    stamp = _STAMP.match(before)
    if stamp is not None:
        before = before[stamp.end() :]
    elif (stamp := _STAMP.match(after.lstrip())) is not None:
        after = after.lstrip()[stamp.end() :]
    folder, name = before.strip(b" \t;|"), after.strip(b" \t;|")
    if not folder:
        # %e %w%f, or %e %w %f.
        folder, name = name, b""
    if not name:
        # %w %f: the watched directory ends with a slash.
        folder = folder.replace(b"/ ", b"/", 1) if b"/ " in folder else folder
    if b"/" not in folder and b"Q_OVERFLOW" not in found[1]:
        return None
    if name and not folder.endswith(b"/"):
        return None
    return set(re.split(rb"[,:|;+]", found[1])), folder + name, stamp


def read(sources: Sequence[Source]) -> Bootlog:
    """Read the output of inotifywait.

    Raises:
        FormatError: It is not the output of inotifywait.
    """
    counts = Counts()
    return gathered(
        header_of("inotifywait", sources),
        sources[0].records(counts, _Log(counts).parse),
        counts,
        "no line like '/etc/ OPEN fstab'",
        "the output of inotifywait -m is expected: inotifywait -m -r -e open /usr > FILE",
    )


def _is_expected(line: bytes) -> bool:
    """Return whether inotifywait wrote a line."""
    return line.startswith((b"Setting up", b"Watches est")) or _fields(line) is not None


def _looks_like(source: Source) -> bool:
    # Most lines have to fit: the events are words that stand in other texts too.
    return source.has_line(_fields) and source.share_of_lines(_is_expected) > 0.5


IMPORT = Import(
    name="inotifywait",
    summary="output of inotifywait -m: as it comes, with --csv, or with --format",
    gives="open, read",
    record="inotifywait -m -r -e open -o FILE /usr",
    # Most lines: its events are words that stand in other texts too.
    looks_like=lambda source: (
        source.has_line(_fields) and source.share_of_lines(_is_expected) > 0.5
    ),
    read=read,
)
