# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""Text of blkparse: block reads recorded by blktrace.

The default format of blkparse(1), ``8,0 3 1 0.000000000 697 G R 223490 + 8 [kjournald]``: device,
processor, sequence, seconds, pid, action, operation, first sector (of 512 bytes, from the start of
the disk) and number of sectors, process. Requests count where they were queued (Q); a trace that
was filtered to what the drive got has only issued ones (D).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from bootprof.imports import Import
from bootprof.imports.common.blocks import device_read, locate
from bootprof.imports.common.source import Counts, Source, header_of, nanoseconds, number

if TYPE_CHECKING:
    from bootprof.backends.block_files import Located
    from bootprof.backends.devices import DeviceRead

_LINE = re.compile(
    rb"\s*+(?P<major>\d{1,10}+),(?P<minor>\d{1,10}+)\s++\d++\s++\d++\s++(?P<time>\d{1,12}+\.\d{9})\s++"
    rb"(?P<pid>\d++)\s++(?P<action>[A-Z]{1,2})\s++(?P<operation>[A-Z]{1,12}+)\s++"
    rb"(?P<sector>\d++) \+ (?P<sectors>\d++) (?:\([^)]{0,64}+\) )?\[(?P<command>.*)\]\s*\Z",
    re.DOTALL,
)
LOOP_MAJOR = b"7"
"""Stands for the same driver everywhere (Documentation/admin-guide/devices.txt)."""


def is_read(operation: bytes, sectors: bytes) -> bool:
    """Return whether a request of the block layer reads anything.

    F in front is a flush before the request; behind the operation stand flags (readahead, sync).
    """
    return operation.removeprefix(b"F")[:1] == b"R" and bool(sectors.strip(b"0"))


def _parse(line: bytes) -> Iterator[tuple[bytes, DeviceRead]]:
    """Yield the action and the read of a line, if it is about one."""
    found = _LINE.match(line)
    if found is None or found["action"] not in (b"Q", b"D"):
        return
    if not is_read(found["operation"], found["sectors"]):
        return
    major, minor = number(found["major"]), number(found["minor"])
    name = b"loop%d" % minor if found["major"] == LOOP_MAJOR else b"%d:%d" % (major, minor)
    yield (
        found["action"],
        device_read(
            nanoseconds(found["time"]),
            name,
            found["sector"],
            found["sectors"],
            found["pid"],
            found["command"],
        ),
    )


def _reads(source: Source, counts: Counts) -> Iterator[DeviceRead]:
    """Yield the reads; of each device those that were queued, if it has any."""
    seen = list(source.records(counts, _parse))
    queued = {one.device for action, one in seen if action == b"Q"}
    for action, one in seen:
        if action == b"Q" or one.device not in queued:
            yield one


def _locate(source: Source, image: Path | None) -> Located:
    counts = Counts()
    return locate(
        source,
        image,
        _reads(source, counts),
        counts,
        header_of("blkparse", [source]),
        expected="no line like '8,0 3 1 0.000000000 697 Q R 223490 + 8 [bash]'",
        hint="the text of blkparse in its default format is expected: blkparse -i TRACE",
        from_partition=False,
    )


IMPORT = Import(
    name="blkparse",
    summary="text of blkparse in its default format",
    gives="block",
    record="blktrace -d DEVICE -o - | blkparse -i - > FILE",
    looks_like=lambda source: source.has_line(_LINE.match),
    locate=_locate,
)
