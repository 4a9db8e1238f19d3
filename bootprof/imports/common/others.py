# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""Types of files that no import reads, and hints for them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from optimizer.formats import EVENTS_MAGIC
from optimizer.formats.text import printable

if TYPE_CHECKING:
    from bootprof.imports.common.source import Source

_FORMATS = "bootprof convert --formats lists what can be read; --from FORMAT overrides the look"
# First bytes of files that are often given by mistake, and what to give instead.
_MAGICS = (
    (b"\x7fELF", "a program", "give what the program printed or recorded"),
    (b"PERFILE2", "a perf.data file", "give its text: perf script -i FILE > TEXT"),
    (b"\x17\x08Dtracing", "a trace.dat file", "give its text: trace-cmd report -i FILE > TEXT"),
    (b"hsqs", "a squashfs image", "give the recording, and the image with --image"),
    (b"\x1f\x8b", "compressed with gzip", "zcat FILE | bootprof convert -"),
    (b"\x28\xb5\x2f\xfd", "compressed with zstd", "zstdcat FILE | bootprof convert -"),
    (b"\xfd7zXZ", "compressed with xz", "xzcat FILE | bootprof convert -"),
    (b"LPKSHHRH", "a binary journal", "give its text: journalctl --file FILE > TEXT"),
)
# struct blk_io_trace of linux/blktrace_api.h: a magic of three bytes and a version, either order.
_BLKTRACE = (b"\x07\x74\x61\x65", b"\x65\x61\x74\x07")


def describe(source: Source) -> tuple[str, str]:
    """Return the apparent type of a file, and a hint what to do with it."""
    head = source.head
    if not head:
        return "an empty file", "give what the tool wrote"
    if head.startswith(EVENTS_MAGIC):
        return (
            "a bootlog with events already",
            "bootprof sort, merge and check take it; bootprof sort --format list names its files",
        )
    for magic, what, hint in _MAGICS:
        if head.startswith(magic):
            return what, hint
    if head.startswith(_BLKTRACE):
        return "a binary trace of blktrace", "give its text: blkparse -i TRACE > TEXT"
    if head[32769:32774] == b"CD001":
        return "an ISO 9660 image", "give the recording, and the image with --image"
    if b"\0" in head:
        return "a binary file of an unknown kind", _FORMATS
    paths = sum(line.startswith(b"/") for line in source.sample)
    if source.sample and 2 * paths > len(source.sample):
        return (
            "a list of paths, which is a bootlog already",
            "bootprof sort, merge and check take it",
        )
    shown = printable(source.sample[0], 60) if source.sample else "no whole line"
    return f"not of a known tool; it begins with '{shown}'", _FORMATS
