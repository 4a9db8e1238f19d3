# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""The two file formats of a bootlog; docs/bootlog.md describes them, nothing else handles them.

A bootlog is in the **list** format (distinct paths, one a line, in order of first access) or in the
**events** format (every event with all of its fields). The first line shows which. Everything is
bytes: a path may hold any byte but NUL, and a carriage return is a byte like any other.

Only the functions that need numpy import it, so that a list is read at once.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Container, Iterable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, BinaryIO, Final, NoReturn

from optimizer.errors import FormatError
from optimizer.formats import EVENTS_MAGIC
from optimizer.formats.text import escape, escape_line, unescape, unescape_line

if TYPE_CHECKING:
    from optimizer.formats.events import Bootlog

log = logging.getLogger(__name__)

SCHEMA_VERSION: Final = 1
OPERATIONS: Final = (b"open", b"exec", b"map", b"read", b"fault", b"cache", b"block")
"""Names of :class:`optimizer.formats.events.Operation`, in the order of their values."""

_OTHER_MAGIC = b"#bootprof-"
_BLOCK_BYTES = 1 << 16
# A path of PATH_MAX bytes, all of them escaped, has 16 KiB: a longer line is not from a bootlog.
_LINE_LIMIT_BYTES = 1 << 20
_EVENT_FIELDS = (
    (rb"\d{1,19}", "time in nanoseconds"),
    (rb"\d{1,10}", "pid"),
    (rb"[^\t\n]*", "command"),
    (b"|".join(OPERATIONS), "operation"),
    (rb"\d{1,19}", "offset in bytes"),
    (rb"\d{1,19}", "length in bytes"),
    (rb"\d{1,10}:\d{1,10}", "device as major:minor"),
    (rb"\d{1,20}", "inode"),
    (rb"[^\t\n]*", "type of the file system"),
    (rb"[^\t\n]*", "path"),
)
_EVENT = re.compile(
    b"^" + rb"\t".join(b"(" + pattern + b")" for pattern, _ in _EVENT_FIELDS) + b"$", re.MULTILINE
)
# A recorder may write a wrong event now and then; with more of them it is not a log of events.
_RIGHT_FOR_EACH_WRONG = 10
_HEADER_KEY = re.compile(r"[A-Za-z0-9_.-]+\Z")

_Row = tuple[bytes, ...]


def distinct_paths(
    stream: BinaryIO,
    name: str,
    *,
    skip: Container[bytes] = (),
    skipped: set[bytes] | None = None,
) -> dict[bytes, None]:
    """Read the distinct paths of a bootlog in either format, in the order of first access.

    Args:
        stream: The bootlog, read to its end in blocks of 64 KiB.
        name: What to call it in errors.
        skip: Types of file systems whose events are left out. A list does not name the file
            system, so nothing of it is left out.
        skipped: If given, the paths that were left out are added to it.

    Raises:
        FormatError: Not a bootlog, or a line of it is wrong.
    """
    paths: dict[bytes, None] = {}
    for block in _path_blocks(stream, name, skip, skipped):
        paths.update(dict.fromkeys(block))
    return paths


def read_bootlog(stream: BinaryIO, name: str) -> Bootlog:
    """Read a bootlog in the events format whole.

    A last line without its newline is what a killed recorder or a full disk leaves: it is left out,
    counted in ``Bootlog.truncated`` and logged as a warning. So are wrong events, in
    ``Bootlog.wrong``, as long as there are ten right ones for each.

    Args:
        stream: The bootlog.
        name: What to call it in errors.

    Raises:
        FormatError: Not an events file, a wrong header line, or too many wrong events.
    """
    import numpy as np

    from optimizer.formats.events import EVENT_DTYPE, Bootlog

    first = _first_of_events(stream, name)
    notes = _Notes()
    commands: dict[bytes, int] = {}
    file_systems: dict[bytes, int] = {}
    paths: dict[bytes, int] = {}
    operations = {operation: value for value, operation in enumerate(OPERATIONS)}
    parts = []
    for rows in _rows(stream, name, first, notes):
        columns = list(zip(*rows, strict=True))
        part = np.empty(len(rows), EVENT_DTYPE)
        devices = [device.split(b":") for device in columns[6]]
        part["time_ns"] = list(map(int, columns[0]))
        part["pid"] = list(map(int, columns[1]))
        part["command"] = _indices(columns[2], commands)
        part["operation"] = [operations[operation] for operation in columns[3]]
        part["offset_bytes"] = list(map(int, columns[4]))
        part["length_bytes"] = list(map(int, columns[5]))
        part["device_major"] = [int(major) for major, _ in devices]
        part["device_minor"] = [int(minor) for _, minor in devices]
        part["inode"] = np.array(list(map(int, columns[7])), np.uint64)
        part["file_system"] = _indices(columns[8], file_systems)
        part["path"] = _indices(columns[9], paths)
        parts.append(part)
    lost = int(notes.header.pop("lost", "0"))
    return Bootlog(
        header=notes.header,
        lost=lost,
        events=np.concatenate(parts) if parts else np.empty(0, EVENT_DTYPE),
        commands=list(commands),
        file_systems=list(file_systems),
        paths=list(paths),
        truncated=notes.truncated,
        wrong=notes.wrong,
    )


def write_list(stream: BinaryIO, paths: Iterable[bytes]) -> None:
    """Write a bootlog in the list format.

    Args:
        stream: Where to.
        paths: Absolute paths in the order of access; repeats are left out.

    Raises:
        ValueError: A path is not absolute or holds a NUL.
    """
    distinct = dict.fromkeys(paths)
    for path in distinct:
        if not path.startswith(b"/") or b"\0" in path:
            raise ValueError(f"not an absolute path: {path!r}")
    stream.writelines(escape_line(path) + b"\n" for path in distinct)


def write_events(stream: BinaryIO, bootlog: Bootlog) -> None:
    """Write an events file.

    Args:
        stream: Where to.
        bootlog: The events, with a header whose keys are of letters, digits, ``_``, ``.``, ``-``.

    Raises:
        ValueError: A key of the header has other characters, or a text holds a NUL.
    """
    stream.write(EVENTS_MAGIC + b"%d\n" % SCHEMA_VERSION)
    for key, value in [*bootlog.header.items(), ("lost", str(bootlog.lost))]:
        if not _HEADER_KEY.match(key):
            raise ValueError(f"not a header key: {key!r}")
        text = escape(value.encode(errors="surrogateescape"))
        stream.write(b"#" + key.encode() + b": " + text + b"\n")
    commands = [escape(text) for text in bootlog.commands]
    types = [escape(text) for text in bootlog.file_systems]
    paths = [escape(text) for text in bootlog.paths]
    for start in range(0, len(bootlog.events), 65536):
        rows = bootlog.events[start : start + 65536].tolist()
        stream.writelines(
            b"%d\t%d\t%b\t%b\t%d\t%d\t%d:%d\t%d\t%b\t%b\n"
            % (
                *row[:2],
                commands[row[2]],
                OPERATIONS[row[3]],
                *row[4:9],
                types[row[9]],
                paths[row[10]],
            )
            for row in rows
        )


@dataclass
class _Notes:
    """Data gathered in addition to the events while an events file is read."""

    header: dict[str, str] = field(default_factory=dict)
    truncated: int = 0
    events: int = 0
    wrong: int = 0


def _is_events(first: bytes, name: str) -> bool:
    """Return from the first line whether a bootlog has the events format."""
    if not first.startswith(_OTHER_MAGIC):
        return False
    if not first.startswith(EVENTS_MAGIC):
        kind = first[1:].split()[0].decode(errors="replace")
        raise FormatError(
            f"{name}:1: this is a file of kind {kind}, not a bootlog",
            hint="give the bootlog.list or bootlog.events of the profile",
        )
    version = first[len(EVENTS_MAGIC) :].removesuffix(b"\n")
    if version != b"%d" % SCHEMA_VERSION:
        raise FormatError(
            f"{name}:1: bootlog of schema version {_shown(version)}; "
            f"this program reads version {SCHEMA_VERSION}",
            hint="read it with the version of bootprof that wrote it, or record it again",
        )
    return True


def _path_blocks(
    stream: BinaryIO, name: str, skip: Container[bytes], skipped: set[bytes] | None
) -> Iterator[Iterable[bytes]]:
    """Return the paths of either kind, a block at a time."""
    first = stream.readline(_LINE_LIMIT_BYTES)
    if _is_events(first, name):
        notes = _Notes()
        return (_events_paths(rows, skip, skipped) for rows in _rows(stream, name, first, notes))
    return _list_blocks(stream, name, first)


def _first_of_events(stream: BinaryIO, name: str) -> bytes:
    first = stream.readline(_LINE_LIMIT_BYTES)
    if not _is_events(first, name):
        raise FormatError(
            f"{name}:1: not an events file: the first line is not {_shown(EVENTS_MAGIC + b'1')}",
            hint="a list of paths has no times and offsets; give bootlog.events",
        )
    return first


def _blocks(stream: BinaryIO, name: str, first: bytes) -> Iterator[tuple[int, bytes]]:
    """Cut a stream into blocks of whole lines.

    Yields:
        Number of the first line of the block, and the block. Each one ends with a newline, but
        the last one if the stream does not.
    """
    number = 1
    rest = first
    while chunk := stream.read(_BLOCK_BYTES):
        data = rest + chunk
        end = data.rfind(b"\n") + 1
        if len(data) - end > _LINE_LIMIT_BYTES:
            _wrong(name, number + data.count(b"\n"), "the line is too long for a path")
        if end:
            block = data[:end]
            _refuse_nul(block, name, number)
            yield number, block
            number += block.count(b"\n")
        rest = data[end:]
    if rest:
        _refuse_nul(rest, name, number)
        yield number, rest


def _refuse_nul(block: bytes, name: str, number: int) -> None:
    position = block.find(b"\0")
    if position >= 0:
        _wrong(name, number + block.count(b"\n", 0, position), "NUL byte: this is not a text file")


def _list_blocks(stream: BinaryIO, name: str, first: bytes) -> Iterator[list[bytes]]:
    for _, block in _blocks(stream, name, first):
        lines = block.split(b"\n")
        if not lines[-1]:
            lines.pop()
        if b"\n\n" in block or block.startswith(b"\n"):
            lines = [line for line in lines if line]
        if rb"\012" in block or rb"\134" in block:
            lines = [unescape_line(line) if b"\\" in line else line for line in lines]
        yield lines


def _events_paths(
    rows: list[_Row], skip: Container[bytes], skipped: set[bytes] | None
) -> Iterator[bytes]:
    for row in rows:
        path = row[9]
        if not path:
            continue
        if row[8] not in skip:
            yield unescape(path)
        elif skipped is not None:
            skipped.add(unescape(path))


def _rows(stream: BinaryIO, name: str, first: bytes, notes: _Notes) -> Iterator[list[_Row]]:
    """Cut an events file into the ten fields of each event, as bytes.

    Header lines are gathered in ``notes`` wherever they stand: a recorder knows at its end only
    what it lost.
    """
    for number, block in _blocks(stream, name, first):
        if not block.endswith(b"\n"):
            end = block.rfind(b"\n") + 1
            last = number + block.count(b"\n")
            log.warning("%s:%d: the last line is cut short and left out", name, last)
            notes.truncated = 1
            block = block[:end]
        lines = block.count(b"\n")
        if block.startswith(b"#") or b"\n#" in block:
            headers = _read_header(block, name, number, notes.header)
        else:
            headers = 0
        rows: list[_Row] = _EVENT.findall(block)
        if len(rows) != lines - headers or any(_out_of_range(row) is not None for row in rows):
            rows = [row for row in rows if _out_of_range(row) is None]
            _leave_out(block, name, number, notes, lines - headers - len(rows), len(rows))
        notes.events += len(rows)
        if rows:
            yield rows
    if notes.wrong > 1:
        log.warning("%s: %d wrong events are left out", name, notes.wrong)


def _read_header(block: bytes, name: str, number: int, header: dict[str, str]) -> int:
    """Take in the header lines of a block; return how many there are."""
    count = 0
    for offset, line in enumerate(block.split(b"\n")):
        if not line.startswith(b"#"):
            continue
        count += 1
        if number + offset == 1:
            continue
        key, colon, value = line[1:].partition(b":")
        text = key.decode(errors="replace")
        if not colon or not _HEADER_KEY.match(text):
            _wrong(name, number + offset, f"not '#key: value': {_shown(line)}")
        if text == "lost" and not re.fullmatch(rb"\s*\d{1,18}\s*", value):
            _wrong(name, number + offset, f"lost: not a number of events: {_shown(value)}")
        header[text] = unescape(value.removeprefix(b" ")).decode(errors="surrogateescape")
    return count


# Ranges of the fields of EVENT_DTYPE: the pattern of an event accepts a few more digits.
_LIMITS = ((0, 2**63), (1, 2**31), (4, 2**63), (5, 2**63), (7, 2**64))


def _out_of_range(row: _Row) -> int | None:
    """Return the position of the first field whose value is too large, or None."""
    # Shorter numbers fit anyway; these checks keep the conversions below off the usual path.
    if (
        len(row[0]) < 19
        and len(row[1]) < 10
        and len(row[4]) < 19
        and len(row[5]) < 19
        and len(row[6]) < 11
        and len(row[7]) < 20
    ):
        return None
    for position, limit in _LIMITS:
        if int(row[position]) >= limit:
            return position
    return 6 if any(int(part) >= 2**32 for part in row[6].split(b":")) else None


def _leave_out(block: bytes, name: str, number: int, notes: _Notes, wrong: int, right: int) -> None:
    """Count the wrong events of a block, and name the first one of the file.

    Raises:
        FormatError: More than one event in :data:`_RIGHT_FOR_EACH_WRONG` is wrong up to here.
    """
    offset, what = _first_wrong(block)
    if (notes.wrong + wrong) * _RIGHT_FOR_EACH_WRONG > notes.events + right:
        _wrong(name, number + offset, what)
    if not notes.wrong:
        log.warning("%s:%d: this event is left out: %s", name, number + offset, what)
    notes.wrong += wrong


def _first_wrong(block: bytes) -> tuple[int, str]:
    """Return the first wrong event line of a block, counted from 0, and what is wrong with it."""
    for offset, line in enumerate(block.removesuffix(b"\n").split(b"\n")):
        if line.startswith(b"#"):
            continue
        fields = line.split(b"\t")
        if len(fields) != len(_EVENT_FIELDS):
            return offset, (
                f"an event has {len(_EVENT_FIELDS)} fields separated by tabs, this line has "
                f"{len(fields)}: {_shown(line)}"
            )
        for text, (pattern, meaning) in zip(fields, _EVENT_FIELDS, strict=True):
            if not re.fullmatch(pattern, text):
                return offset, f"{meaning} expected, found {_shown(text)}"
        position = _out_of_range(tuple(fields))
        if position is not None:
            meaning = _EVENT_FIELDS[position][1]
            return offset, f"{meaning} is out of range: {_shown(fields[position])}"
    raise AssertionError("called for a block without a wrong line")


def _indices(texts: Iterable[bytes], table: dict[bytes, int]) -> list[int]:
    """Return the position of each text in a table, which new ones are added to."""
    return [table.setdefault(text, len(table)) for text in map(unescape, texts)]


def _wrong(name: str, line: int, what: str) -> NoReturn:
    raise FormatError(f"{name}:{line}: {what}", hint="docs/bootlog.md describes both formats")


def _shown(text: bytes) -> str:
    """Return bytes as one line of printable text of moderate length."""
    cut = text[:80] + (b"..." if len(text) > 80 else b"")
    return ascii(cut.decode(errors="surrogateescape"))
