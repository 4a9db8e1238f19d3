# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""Lines and files of strace: the prefix of a call, and the order of several files."""

from __future__ import annotations

import contextlib
import heapq
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from bootprof.imports.common.clock import CLOCK, DAY_NS, of_day
from bootprof.imports.common.prefix import logged_text
from bootprof.imports.common.source import Counts, RecordError, Source, nanoseconds

EPOCH_NS: Final = 1_000_000_000 * 1_000_000
"""Seconds below this are since the line before (-r), others since 1970 (-ttt)."""
_PREFIX = re.compile(
    # With -Y the name of the process follows its pid; strace escapes < and > in it.
    rb"(?:\[pid +(?P<bracketed>\d{1,10}+)(?:<(?P<named>[^<>]*+)>)?\] +"
    rb"|(?P<pid>\d{1,7}+)(?:<(?P<called>[^<>]*+)>)?(?: /\*[^*]{0,60}+\*/)? +"
    rb"(?=\D|\d{1,11}+[:.]|\d{9,11} )"
    rb"| +)?"
    rb"(?:" + CLOCK + rb" +"
    rb"|(?P<epoch>\d{1,11}+\.\d{1,9}+|\d{9,11}+) +)?"
    rb"(?:\(\+ +\d{1,11}+(?:\.\d{1,9}+)?\) +)?"
    # -n, -i, --secontext.
    rb"(?:\[[^\]\n]{0,300}+\] +){0,3}+"
)
_SUFFIX = re.compile(r"\.(\d{1,7})\Z")


def split_line(line: bytes) -> tuple[re.Match[bytes], bytes]:
    """Return the prefix of a call, and the rest."""
    text = logged_text(line)
    prefix = _PREFIX.match(text)
    assert prefix is not None  # all of it is optional
    return prefix, text[prefix.end() :]


def clock_of(prefix: re.Match[bytes]) -> int | None:
    """Return the time in front of a line in nanoseconds; None if there is none."""
    if prefix["hour"]:
        return of_day(prefix["hour"], prefix["minute"], prefix["clock"])
    with contextlib.suppress(RecordError):
        return nanoseconds(prefix["epoch"]) if prefix["epoch"] else None
    return None


def pid_of_file(source: Source, several: bool) -> int:
    """Return the pid that the name of a file ends with; 0 if it ends with none."""
    found = _SUFFIX.search(source.name)
    # A single file that ends with .1 may as well be a rotated log.
    return int(found[1]) if found and (several or int(found[1]) > 1) else 0


def _timed(source: Source, counts: Counts, days: int) -> Iterator[tuple[int, bytes]]:
    """Yield the lines of one process with their times, which never go back.

    Args:
        source: The file of the process.
        counts: Counters of the reader.
        days: Added to times of day, in nanoseconds.
    """
    latest = 0
    for line in source.lines(counts):
        prefix = split_line(line)[0]
        now = (clock_of(prefix) or 0) + (days if prefix["hour"] else 0)
        if prefix["hour"] and now < latest - DAY_NS // 2:
            days += DAY_NS
            now += DAY_NS
        latest = max(latest, now)
        yield latest, line


def woven(
    sources: Sequence[Source], counts: Counts, made: Sequence[int]
) -> Iterator[tuple[bytes, int]]:
    """Yield the lines of all files of -ff, each with its pid.

    By their times if they have any; otherwise each process runs when its parent has made it.

    Args:
        sources: The files.
        counts: Counters of the reader.
        made: Children that the line before has made; its reader fills it.
    """
    order = sorted(sources, key=lambda source: pid_of_file(source, True))
    firsts = [split_line(source.sample[0])[0] for source in order if source.sample]
    # A file whose name does not end with a pid gets a number that no process has.
    waiting = {pid_of_file(source, True) or -place: source for place, source in enumerate(order)}
    if firsts and all(first["hour"] or (clock_of(first) or 0) >= EPOCH_NS for first in firsts):
        yield from _by_time(waiting, counts, made)
        return
    while waiting:
        first = next(iter(waiting))
        running = [(first, waiting.pop(first).lines(counts))]
        while running:
            pid, lines = running[-1]
            for line in lines:
                yield line, max(pid, 0)
                born = [child for child in made if child in waiting]
                if born:
                    running += [(child, waiting.pop(child).lines(counts)) for child in born]
                    break
            else:
                running.pop()


def _by_time(
    sources: Mapping[int, Source], counts: Counts, made: Sequence[int]
) -> Iterator[tuple[bytes, int]]:
    """Yield the lines of all processes by their times.

    At equal times (-t has whole seconds) a child comes before what its parent did later.
    """
    starts = {
        pid: clock_of(split_line(source.sample[0])[0]) or 0 if source.sample else 0
        for pid, source in sources.items()
    }
    # Of times of day, those half a day before others are of the next day.
    of_next_day = max(starts.values()) - DAY_NS // 2
    streams = {
        pid: _timed(source, counts, DAY_NS if starts[pid] < min(of_next_day, DAY_NS) else 0)
        for pid, source in sources.items()
    }
    # The last created come first; those not yet created come last.
    ranks = dict.fromkeys(sources, 0)
    latest = 0
    pending: dict[int, tuple[int, bytes]] = {}
    heap: list[tuple[int, int, int]] = []

    def advance(pid: int) -> None:
        following = next(streams[pid], None)
        if following is not None:
            pending[pid] = following
            heapq.heappush(heap, (following[0], -ranks[pid], pid))

    for pid in sources:
        advance(pid)
    while heap:
        time_ns, rank, pid = heapq.heappop(heap)
        if rank != -ranks[pid] or pid not in pending or pending[pid][0] != time_ns:
            continue  # An entry from before the process was made.
        yield pending.pop(pid)[1], max(pid, 0)
        for child in made:
            if child in ranks:
                latest += 1
                ranks[child] = latest
                if child in pending:
                    heapq.heappush(heap, (pending[child][0], -latest, child))
        advance(pid)
