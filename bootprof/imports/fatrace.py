# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""Output of fatrace: which process opened, read, wrote or closed a file.

``comm(pid): TYPES /path`` with types of O (opened), R (read), W (written), C (closed), + (created),
D (deleted), < and > (moved), in any combination. With ``-t`` a line starts with the time of day,
with ``-t -t`` with seconds since 1970. Later versions put ``[uid:gid]`` behind the process
(``--user``), the program and the parents behind the path (``--exe``, ``--parents``), or print JSON
(``--json``). Tested with 0.17.0; the later forms are from the tests of its source.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

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

_STAMP = re.compile(rb"(?:" + CLOCK + rb"|(?P<epoch>\d{1,11}+\.\d{6})) ")
_EVENT = re.compile(
    rb"(?P<command>[^\n]{0,100}?)\((?P<pid>\d{1,10}+)\)(?: \[\d{1,10}+:\d{1,10}+\])?: "
    rb"(?P<types>[RCWO+D<>]{1,9}+) {1,3}(?P<path>/[^\n]*+|\(deleted\)|device [^\n]*+)\Z",
    re.DOTALL,
)
_MORE = (b", parents=(pid=", b" exe=/")


class _Log:
    """Follows a text, line by line."""

    def __init__(self, counts: Counts) -> None:
        self.counts = counts
        self.clock = Clock()

    def parse(self, line: bytes) -> Iterator[Event]:
        """Yield the event of a line, if a file was opened or read."""
        if line.startswith(b"{"):
            yield from self._from_json(line)
            return
        stamp = _STAMP.match(line)
        found = _EVENT.match(line, stamp.end() if stamp is not None else 0)
        if found is None:
            return
        self.counts.records += 1
        time_ns = 0
        if stamp is not None and stamp["hour"]:
            now = of_day(stamp["hour"], stamp["minute"], stamp["clock"])
            time_ns = self.clock.since_start(now, wraps=True)
        elif stamp is not None:
            time_ns = self.clock.since_start(nanoseconds(stamp["epoch"]), wraps=False)
        path = found["path"]
        for end in _MORE:
            path = path.partition(end)[0]
        yield from self._event(found["types"], path, time_ns, found["pid"], found["command"])

    def _from_json(self, line: bytes) -> Iterator[Event]:
        try:
            record = json.loads(line)
        except (ValueError, RecursionError):
            raise RecordError from None
        if not isinstance(record, dict) or "types" not in record:
            return
        self.counts.records += 1
        seconds = record.get("timestamp")
        time_ns = 0
        if isinstance(seconds, int | float) and 0 <= seconds < 1 << 33:
            time_ns = self.clock.since_start(int(seconds * 1_000_000_000), wraps=False)
        path, command = (_text(record, key) for key in ("path", "comm"))
        yield from self._event(
            _text(record, "types"),
            path,
            time_ns,
            b"%b" % str(record.get("pid", 0)).encode(),
            command,
        )

    def _event(
        self, types: bytes, path: bytes, time_ns: int, pid: bytes, command: bytes
    ) -> Iterator[Event]:
        from optimizer.formats.events import Operation

        if b"O" in types or b"R" in types:
            operation = Operation.OPEN if b"O" in types else Operation.READ
            yield access(
                path.removesuffix(b" (deleted)"),
                operation,
                time_ns=time_ns,
                pid=number(pid, PID_LIMIT),
                command=b"" if command == b"unknown" else command,
            )


def _text(record: dict[str, object], key: str) -> bytes:
    """Return a text of a record; one that is not UTF-8 is a list of its bytes."""
    plain, raw = record.get(key), record.get(f"{key}_raw")
    if isinstance(plain, str):
        return plain.encode(errors="surrogateescape")
    if isinstance(raw, list) and all(isinstance(byte, int) and 0 <= byte < 256 for byte in raw):
        return bytes(raw)
    return b""


def read(sources: Sequence[Source]) -> Bootlog:
    """Read the output of fatrace.

    Raises:
        FormatError: It is not the output of fatrace.
    """
    counts = Counts()
    return gathered(
        header_of("fatrace", sources),
        sources[0].records(counts, _Log(counts).parse),
        counts,
        "no line like 'cat(123): RO /etc/fstab'",
        "the output of fatrace is expected: fatrace -t -o FILE",
    )


def _is_event(line: bytes) -> bool:
    """Return whether fatrace wrote a line."""
    stamp = _STAMP.match(line)
    if _EVENT.match(line, stamp.end() if stamp is not None else 0):
        return True
    return line.startswith(b"{") and b'"types":"' in line and b'"pid":' in line


IMPORT = Import(
    name="fatrace",
    summary="output of fatrace, with times or without, or as JSON",
    gives="open, read",
    record="fatrace -t -o FILE",
    looks_like=lambda source: source.has_line(_is_event),
    read=read,
)
