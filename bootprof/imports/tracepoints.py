# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""The block tracepoints of the kernel, as text.

``trace_pipe`` of tracefs, ``trace-cmd report`` and ``perf script`` print the formats of
include/trace/events/block.h: ``block_bio_queue: 7,0 R 1234 + 8 [systemd]`` and
``block_rq_issue: 254,0 RA 4096 () 64 + 8 be,0,4 [kworker/0:1H]`` (the priority since Linux 6.10),
with sectors of 512 bytes that count from the start of the disk, also where the device is a
partition. Lines ``#device MAJOR:MINOR NAME`` name devices.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from bootprof.imports import Import
from bootprof.imports.blkparse import LOOP_MAJOR, is_read
from bootprof.imports.common.blocks import device_read, locate
from bootprof.imports.common.source import Counts, Source, nanoseconds, number

if TYPE_CHECKING:
    from bootprof.backends.block_files import Located
    from bootprof.backends.devices import DeviceRead

_EVENT = re.compile(
    rb":\s++(?:\([^)]{0,30}+\)\s*+)?(?:block:)?(?P<event>block_rq_issue|block_bio_queue):\s++"
    rb"(?P<major>\d{1,10}+),(?P<minor>\d{1,10}+) (?P<operation>[A-Z]{1,12}+) "
    rb"(?:\d++ \([^)]{0,200}+\) )?(?P<sector>\d++) \+ (?P<sectors>\d++) "
    rb"(?:[^\s,]{1,12}+,\d++,\d++ )?\[(?P<task>.*)\]\s*\Z",
    re.DOTALL,
)
# trace_pipe and trace-cmd: task-pid, perf script: task pid or pid/tid.
_PID = re.compile(rb"(?:\A|.*-|\d{1,10}+/)(?P<pid>\d{1,10}+)\Z", re.DOTALL)
_TIME = re.compile(rb"\d{1,12}+\.\d{6,9}\Z")
_DEVICE = re.compile(rb"#device (\d{1,10}+:\d{1,10}+) (\S{1,64}+)\s*\Z")
_LOST = re.compile(rb"CPU:\d{1,6}+ \[(?:LOST )?(\d++) EVENTS(?: DROPPED)?\]")


class _Log:
    """Reads the lines of a trace, and its header."""

    def __init__(self, counts: Counts) -> None:
        self.counts = counts
        self.events: dict[bytes, set[bytes]] = {}
        # By major:minor. A device may be named only after its first read.
        self.names: dict[bytes, bytes] = {}

    def parse(self, line: bytes) -> Iterator[tuple[bytes, DeviceRead]]:
        """Yield the event and the read of a line; devices are major:minor."""
        found = _EVENT.search(line)
        if found is None:
            if named := _DEVICE.match(line):
                self.names[named[1]] = named[2]
            elif lost := _LOST.match(line):
                self.counts.lost += number(lost[1], 1 << 62)
            return
        if not is_read(found["operation"], found["sectors"]):
            return
        device = found["major"] + b":" + found["minor"]
        time_ns, pid = _head(line[: found.start()])
        read = device_read(time_ns, device, found["sector"], found["sectors"], pid, found["task"])
        self.events.setdefault(device, set()).add(found["event"])
        yield found["event"], read

    def reads(self, source: Source) -> Iterator[DeviceRead]:
        """Yield the reads, their devices named."""
        # Both events of one read would count twice. The former has the request and its process.
        for event, one in list(source.records(self.counts, self.parse)):
            if event == b"block_bio_queue" or b"block_bio_queue" not in self.events[one.device]:
                yield one._replace(device=self._name(one.device))

    def _name(self, device: bytes) -> bytes:
        """Return the name of a device, if known."""
        major, _, minor = device.partition(b":")
        return self.names.get(device, b"loop" + minor if major == LOOP_MAJOR else device)


def _head(head: bytes) -> tuple[int, bytes]:
    """Return the time and the pid from the prefix of an event."""
    words = head.split()
    time = words.pop() if words else b""
    time_ns = nanoseconds(time) if _TIME.match(time) else 0
    # Flags of the processor, its number, the thread group; before them task and pid.
    for word in reversed(words[-5:]):
        if (found := _PID.match(word)) is not None:
            return time_ns, found["pid"]
    return time_ns, b"0"


def _locate(source: Source, image: Path | None) -> Located:
    counts = Counts()
    return locate(
        source,
        image,
        _Log(counts).reads(source),
        counts,
        {"backend": "tracepoints"},
        expected="no line like 'sh-123 [000] ..... 1.234567: block_bio_queue: 7,0 R 64 + 8 [sh]'",
        hint="text of trace_pipe, trace-cmd report or perf script with block_bio_queue or "
        "block_rq_issue is expected",
        from_partition=False,
    )


IMPORT = Import(
    name="tracepoints",
    summary="trace_pipe, trace-cmd report or perf script with block_bio_queue or block_rq_issue",
    gives="block",
    record="trace-cmd record -e block:block_bio_queue; trace-cmd report > FILE",
    looks_like=lambda source: source.has_line(_EVENT.search),
    locate=_locate,
)
