# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""Block reads in the log of kernels before 5.14 with ``vm.block_dump=1``.

Lines of submit_bio() in block/blk-core.c: ``bash(123): READ block 4096 on sda1 (8 sectors)``, with
sectors of 512 bytes that count from the start of the partition. They are read from /dev/kmsg,
dmesg, syslog, the journal or a console. Old kernels (2.6) do not print the number of sectors: each
of their reads counts as one page.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from bootprof.imports import Import
from bootprof.imports.common.blocks import device_read, locate
from bootprof.imports.common.prefix import kernel_text
from bootprof.imports.common.source import Counts, Source, number

if TYPE_CHECKING:
    from bootprof.backends.block_files import Located
    from bootprof.backends.devices import DeviceRead

# Documentation/ABI/testing/dev-kmsg: priority, sequence number, microseconds, flags; text.
_RECORD = re.compile(rb"(\d{1,10}+),(\d{1,20}+),(\d{1,20}+),[^;\n]*+;")
_READ = re.compile(
    rb"\((?P<pid>\d++)\): READ block (?P<sector>\d++) on (?P<device>\S{1,64}+)"
    rb"(?: \((?P<sectors>\d++) sectors\))?\s*\Z"
)
_ESCAPED = re.compile(rb"\\x([0-9a-f]{2})")
_PAGE_SECTORS = b"8"


class _Log:
    """Reads the lines of a log, and counts what of it is missing."""

    def __init__(self, counts: Counts) -> None:
        self.counts = counts
        self.expected = -1
        self.without_length = 0

    def parse(self, line: bytes) -> Iterator[DeviceRead]:
        """Yield the read of a line, if it is about one."""
        if b"): READ block " not in line and not line[:1].isdigit():
            return
        record = _RECORD.match(line)
        if record is not None:
            # The ring buffer of the kernel's log was overwritten before it was read.
            sequence = number(record[2])
            if 0 <= self.expected < sequence:
                self.counts.lost += sequence - self.expected
            self.expected = sequence + 1
            time_ns = number(record[3], (1 << 63) // 1000) * 1000
            text = line[record.end() :]
        else:
            time_ns, text = kernel_text(line)
        place = text.rfind(b"(", 0, max(text.rfind(b"): READ block "), 0))
        found = _READ.match(text, place) if place >= 0 else None
        if found is None:
            return
        command = text[:place]
        if record is not None and b"\\x" in command:
            command = _ESCAPED.sub(lambda part: bytes([int(part[1], 16)]), command)
        if found["sectors"] is None:
            self.without_length += 1
        yield device_read(
            time_ns,
            found["device"],
            found["sector"],
            found["sectors"] or _PAGE_SECTORS,
            found["pid"],
            command,
        )


def _locate(source: Source, image: Path | None) -> Located:
    from dataclasses import replace

    counts = Counts()
    log = _Log(counts)
    located = locate(
        source,
        image,
        source.records(counts, log.parse),
        counts,
        {"backend": "block_dump"},
        expected="no line like 'bash(123): READ block 4096 on sda1 (8 sectors)'",
        hint="the kernel's log of a boot with vm.block_dump=1 is expected (before Linux 5.14)",
        from_partition=True,
    )
    if log.without_length:
        note = f"{log.without_length} reads without a number of sectors count as one page each"
        located = replace(located, header={**located.header, "lengths": note})
    return located


def _looks_like(source: Source) -> bool:
    return any(b"): READ block " in line for line in source.sample)


IMPORT = Import(
    name="block_dump",
    summary="the kernel's log of a boot with vm.block_dump=1 (before Linux 5.14)",
    gives="block",
    record="sysctl vm.block_dump=1; dmesg > FILE",
    looks_like=_looks_like,
    locate=_locate,
)
