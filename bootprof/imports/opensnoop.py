# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""Output of opensnoop: of bcc, of its libbpf-tools, and of bpftrace.

A header line names the columns (``PID COMM FD ERR PATH``, and TIME, TIME(s), UID, TID or FLAGS in
any combination); then a line for each call. The path is the argument of the call: bcc prints full
paths with ``--full-path`` only, so relative ones are counted as lost. Tested with bcc 0.26 (libbpf)
and bpftrace 0.17; the columns of bcc are from the format strings of its source.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Final

from bootprof.imports import Import
from bootprof.imports.common.clock import CLOCK, Clock, of_day
from bootprof.imports.common.source import (
    PID_LIMIT,
    Counts,
    RecordError,
    Source,
    access,
    gathered,
    header_of,
    nanoseconds,
    number,
)

if TYPE_CHECKING:
    from optimizer.formats.events import Bootlog, Event

_HEAD = re.compile(
    rb"\s*(?:TIME(?:\(s\)|\(ms\))?\s+)?(?:UID\s+)?(?:PID|TID)\s+COMM\s+FD\s+ERR\s+"
    rb"(?:FLAGS\s+)?(?:MODE\s+)?PATH\s*\Z"
)
_CLOCK = re.compile(CLOCK + rb"\Z")
# FD, ERR, then FLAGS and MODE, and one space before a path: names may begin with more.
_VALUES = re.compile(rb" (?P<fd>-?\d{1,10}+) +(?P<error>\d{1,5}+) ")
_O_DIRECTORY: Final = 0o200000
_O_PATH: Final = 0o10000000


class _Log:
    """Follows a text, line by line."""

    def __init__(self, counts: Counts) -> None:
        self.counts = counts
        # The columns without a header line.
        self.columns = [b"PID", b"COMM", b"FD", b"ERR", b"PATH"]
        self.rest = re.compile(b"")
        self.clock = Clock()

    def parse(self, line: bytes) -> Iterator[Event]:
        """Yield the event of a line, if its call succeeded."""
        if _HEAD.match(line):
            self.columns = line.split()
            flags = rb"(?P<flags>[0-7]{6,12}+) {1,2}" if b"FLAGS" in self.columns else b""
            mode = rb"(?P<mode>[0-7n/a]{1,8}+) {1,5}" if b"MODE" in self.columns else b""
            self.rest = re.compile(flags + mode)
            return
        position, before = 0, {}
        for column in self.columns[: self.columns.index(b"COMM")]:
            found = re.compile(rb"\s*+(\S{1,32}+)").match(line, position)
            if found is None:
                return
            before[column], position = found[1], found.end()
        values = _VALUES.search(line, position)
        if values is None or not before.get(b"PID", before.get(b"TID", b"x")).isdigit():
            return
        self.counts.records += 1
        rest = self.rest.match(line, values.end())
        if rest is None:
            raise RecordError
        if number(values["error"]) or values["fd"].startswith(b"-"):
            return
        if b"FLAGS" in self.columns and number(rest["flags"], base=8) & (_O_PATH | _O_DIRECTORY):
            return
        yield self._event(before, line[position : values.start()].strip(), line[rest.end() :])

    def _event(self, before: dict[bytes, bytes], command: bytes, path: bytes) -> Event:
        from optimizer.formats.events import Operation

        if not path.startswith(b"/"):
            raise RecordError
        time_ns = 0
        if clock := before.get(b"TIME"):
            found = _CLOCK.match(clock)
            if found is not None:
                now = of_day(found["hour"], found["minute"], found["clock"])
                time_ns = self.clock.since_start(now, wraps=True)
        elif seconds := before.get(b"TIME(s)"):
            time_ns = self.clock.since_start(nanoseconds(seconds), wraps=False)
        pid = number(before.get(b"PID", before.get(b"TID", b"0")), PID_LIMIT)
        return access(path, Operation.OPEN, time_ns=time_ns, pid=pid, command=command)


def read(sources: Sequence[Source]) -> Bootlog:
    """Read the output of opensnoop.

    Raises:
        FormatError: It is not the output of opensnoop.
    """
    counts = Counts()
    return gathered(
        header_of("opensnoop", sources),
        sources[0].records(counts, _Log(counts).parse),
        counts,
        "no line like '123 cat 3 0 /etc/fstab' below 'PID COMM FD ERR PATH'",
        "the output of opensnoop is expected, its head line included: opensnoop -T > FILE",
    )


IMPORT = Import(
    name="opensnoop",
    summary="output of opensnoop (bcc, libbpf-tools, bpftrace), with its head line",
    gives="open",
    record="opensnoop -T > FILE",
    looks_like=lambda source: source.has_line(_HEAD.match),
    read=read,
)
