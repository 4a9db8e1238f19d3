# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""A file to import: its name, its lines, and the sample from which its format is detected.

All imports read their lines, numbers and paths through this module. Its limits keep every import
linear in time and memory.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Final, TypeVar

from bootprof.errors import FormatError

if TYPE_CHECKING:
    from optimizer.formats.events import Bootlog, Event, Operation

_Record = TypeVar("_Record")

LINE_BYTES: Final = 1 << 20
"""Longest line that is read. A path of PATH_MAX bytes, each of them escaped, takes 16 KiB."""
PATH_BYTES: Final = 4096
"""PATH_MAX of the kernel: no system call takes a longer path."""
SAMPLE_BYTES: Final = 1 << 18
"""How much of a file is looked at to find out which tool wrote it."""
SAMPLE_LINES: Final = 4000
COMMAND_BYTES: Final = 64
"""Longest name of a process that is kept. The kernel's own have 15 bytes."""

PID_LIMIT: Final = 1 << 31
INT64_LIMIT: Final = 1 << 63
UINT32_LIMIT: Final = 1 << 32


class RecordError(Exception):
    """A record has a value that no tool writes: the record is left out and counted."""


def number(text: bytes, limit: int = INT64_LIMIT, base: int = 10) -> int:
    """Return a number of a log.

    Args:
        text: Digits of the base, with a minus sign in front or without; 0x in front for base 16.
        limit: The first value that is too large; -limit is the last one that is not too small.
        base: 8, 10 or 16.

    Raises:
        RecordError: It is no such number, or it is out of range. (Python refuses numbers of more
            than 4,300 digits with another error, and reads long ones in quadratic time.)
    """
    digits = text.lstrip(b"-").removeprefix(b"0x" if base == 16 else b"").lstrip(b"0")
    if len(digits) > 22 or not (digits.isalnum() or not digits):
        raise RecordError
    try:
        value = int(digits or b"0", base)
    except ValueError:
        raise RecordError from None
    if value >= limit:
        raise RecordError
    return -value if text.startswith(b"-") else value


def nanoseconds(seconds: bytes) -> int:
    """Return seconds with a decimal fraction, or without one, in nanoseconds.

    Raises:
        RecordError: They are no such number, or out of range.
    """
    whole, _, fraction = seconds.partition(b".")
    value = number(whole, INT64_LIMIT // 1_000_000_000) * 1_000_000_000
    part = number(fraction[:9].ljust(9, b"0"))
    return value - part if whole.startswith(b"-") else value + part


def access(
    path: bytes,
    operation: Operation,
    *,
    time_ns: int = 0,
    pid: int = 0,
    command: bytes = b"",
    offset_bytes: int = 0,
    length_bytes: int = 0,
    device: tuple[int, int] = (0, 0),
    inode: int = 0,
) -> Event:
    """Return one access as an event.

    Raises:
        RecordError: The path is not absolute, longer than PATH_MAX, or holds a NUL; or a number is
            not one that an event can hold.
    """
    from optimizer.formats.events import Event

    if not path.startswith(b"/") or len(path) > PATH_BYTES or b"\0" in path:
        raise RecordError
    if (
        not 0 <= pid < PID_LIMIT
        or not 0 <= inode < 1 << 64
        or not all(0 <= part < UINT32_LIMIT for part in device)
        or not all(0 <= part < INT64_LIMIT for part in (time_ns, offset_bytes, length_bytes))
    ):
        raise RecordError
    return Event(
        time_ns=time_ns,
        pid=pid,
        command=command[:COMMAND_BYTES].replace(b"\0", b""),
        operation=operation,
        offset_bytes=offset_bytes,
        length_bytes=length_bytes,
        device_major=device[0],
        device_minor=device[1],
        inode=inode,
        file_system=b"",
        path=path,
    )


@dataclass
class Counts:
    """Counters of an import.

    Attributes:
        records: Records of the tool, whether they name a file or not.
        lost: Records that could not be used: no path, a path that counts from an unknown
            directory, a number out of range, a line that is too long.
    """

    records: int = 0
    lost: int = 0


def guarded(counts: Counts, records: Iterable[_Record]) -> Iterator[_Record]:
    """Yield records up to one that raises RecordError, which is counted."""
    try:
        yield from records
    except RecordError:
        counts.lost += 1


class Source:
    """A file to import."""

    def __init__(self, name: str, stream: BinaryIO) -> None:
        """Take a stream that can be read again from its start.

        Args:
            name: What to call it in errors; the name of a file may contain a pid (strace -ff).
            stream: Its content.
        """
        self.name = name
        self.stream = stream

    @cached_property
    def head(self) -> bytes:
        """The first bytes of the file."""
        self.stream.seek(0)
        return self.stream.read(SAMPLE_BYTES)

    @cached_property
    def sample(self) -> list[bytes]:
        """The first whole lines of the file, without their ends."""
        lines = self.head.split(b"\n", SAMPLE_LINES)
        if len(lines) > SAMPLE_LINES or len(self.head) == SAMPLE_BYTES or not lines[-1]:
            lines.pop()
        end = b"\r" if self.has_crlf else b""
        return [line.removesuffix(end) for line in lines if line]

    @cached_property
    def has_crlf(self) -> bool:
        """Whether every line ends with a carriage return and a newline."""
        ends = self.head.count(b"\n")
        return ends > 0 and self.head.count(b"\r\n") == ends

    def share_of_lines(self, fits: Callable[[bytes], object]) -> float:
        """Return which share of the sample's lines fits, from 0 to 1; unreadable ones do not."""
        hits = 0
        for line in self.sample:
            with contextlib.suppress(RecordError):
                hits += bool(fits(line))
        return hits / len(self.sample) if hits else 0.0

    def has_line(self, fits: Callable[[bytes], object]) -> bool:
        """Return whether a line of the sample fits; unreadable ones do not."""
        for line in self.sample:
            with contextlib.suppress(RecordError):
                if fits(line):
                    return True
        return False

    def lines(self, counts: Counts) -> Iterator[bytes]:
        """Yield all lines without their ends; one that is too long is left out and counted."""
        end = b"\r\n" if self.has_crlf else b"\n"
        self.stream.seek(0)
        while line := self.stream.readline(LINE_BYTES):
            if len(line) == LINE_BYTES and not line.endswith(b"\n"):
                counts.lost += 1
                while (rest := self.stream.readline(LINE_BYTES)) and not rest.endswith(b"\n"):
                    pass
                continue
            yield line.removesuffix(end) if line.endswith(end) else line.removesuffix(b"\n")

    def records(
        self, counts: Counts, parse: Callable[[bytes], Iterable[_Record]]
    ) -> Iterator[_Record]:
        """Yield the results of a parser for each line; count lines that raise RecordError."""
        for line in self.lines(counts):
            yield from guarded(counts, parse(line))


def header_of(name: str, sources: Sequence[Source]) -> dict[str, str]:
    """Return the header of a bootlog that was imported."""
    return {"backend": name, "imported": " ".join(Path(source.name).name for source in sources)}


def gathered(
    header: Mapping[str, str], events: Iterable[Event], counts: Counts, expected: str, hint: str
) -> Bootlog:
    """Return the events as a bootlog, with what was lost.

    Args:
        header: As :func:`header_of` gives it.
        events: In the order of access; they are read before ``counts`` is looked at.
        counts: Counters of the reader.
        expected: Text of the error if the file has no records of the tool.
        hint: How to go on then.

    Raises:
        FormatError: There are no records.
    """
    from optimizer.formats.events import Bootlog

    bootlog = Bootlog.of(header, events)
    if not counts.records:
        raise FormatError(f"{header['imported']}: {expected}", hint=hint)
    return dataclasses.replace(bootlog, lost=counts.lost)
