# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""Sort files for the programs that make squashfs images.

How each program reads its file, as tried with mksquashfs 4.5.1 and gensquashfs 1.2.0:

**mksquashfs** (``-sort FILE``): ``path priority``, the path relative to the source directory. The
priority is a 16-bit number, a file that is not listed has 0, the highest comes first; a number out
of range ends the build. A backslash takes the special meaning from the character behind it; white
space and backslash need one, and so does a ``#`` at the start, which makes a comment otherwise. Two
entries that are the same inode: the last one counts. **Files of equal priority come out in the
reverse of the order in which the directories were scanned. A sort file cannot control that**: it
concerns the files that are not listed and, beyond 32,767 files (32,768 at the end of the image),
neighbours in rank.

**gensquashfs** (``--sort-file FILE``): ``priority path``, a 64-bit number, the lowest comes first,
others have 0; equal ones keep their order. Quotes are documented, but version 1.2.0 takes rubbish
for the name behind them, so none are written: the name goes to the end of the line, without white
space at either end, and must start neither with a quote nor with ``[``. Since the program ignores
a slash at the start and at the end of a path, one is written where it keeps such a name apart.

**mkdwarfs** (not tried; its manual says): ``--order=explicit:file=FILE`` takes "the paths in the
desired order", relative to the input, a line each. ``--hotness-list=FILE`` takes such a list, too.

None can have a newline in a path.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Container, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import BinaryIO, Final, Literal

from optimizer.errors import FormatError
from optimizer.formats.bootlog import distinct_paths
from optimizer.formats.text import printable

Place = Literal["start", "end"]
"""Place of the listed files: before all others, or behind them, next to the tables, which follow
the data in a squashfs. In both cases in order of first access."""

MKSQUASHFS_PRIORITIES: Final = range(-32768, 32768)
"""What mksquashfs accepts as a priority."""

_MKSQUASHFS_WHITE_SPACE = (b" ", b"\t", b"\r", b"\v", b"\f")
_GENSQUASHFS_START = re.compile(rb"[\s\"\[]")


_SORT_LINE = re.compile(rb"\s*((?:\\.|[^\s\\])+)\s+-?\d+\s*$")
"""A path, in which a backslash protects what follows it, white space, and a priority."""

Kind = Literal["empty", "list", "events", "inodes", "mksquashfs", "gensquashfs", "draklive"]
"""Kinds of lists of paths: a bootlog in either format, a list of e4rat-collect (``DEVICE INODE
PATH``), or a sort file. Sort files of genisoimage read like those of mksquashfs. ``draklive`` is
what the one-line command of the live-system builder of 2007 printed: ``PRIORITY PATH``, the highest
first."""
_SAMPLE_BYTES = 1 << 16
_LINE_BYTES = 1 << 20
_INODES = re.compile(rb"\d{1,20}+ \d{1,20}+ /")
# No image has a billion files; such numbers are times, in logs of other kinds.
_NUMBER = re.compile(rb"[-+]?\d{1,9}\Z")
# Logs whose lines begin with the pid: strace, and tables.
_LOG = re.compile(rb"  |\w\(|<\.\.\. |\+\+\+ |--- ")
_WHITE_SPACE = b" \t\r\v\f"
# A call with its result, in logs of strace and perf.
_RESULT = (b") =", b" = -", b")\t=")
_UNESCAPED = re.compile(rb"\\(.)", re.DOTALL)
_QUOTED = re.compile(rb'"([^"\\]*+(?:\\.[^"\\]*+)*+)"', re.DOTALL)
_DRAKLIVE_FIRST = 32767


@dataclass(frozen=True)
class PathList:
    """The paths of a bootlog or of a sort file.

    Attributes:
        paths: Distinct paths in the order of access, or of falling priority; those of a sort file
            are absolute.
        kind: Kind of the file.
        said: Remarks about the reading, a sentence each.
    """

    paths: dict[bytes, None]
    kind: Kind
    said: tuple[str, ...] = ()


def split_expressible(paths: Sequence[bytes]) -> tuple[list[bytes], list[bytes]]:
    """Part the paths that a sort file can hold from those that it cannot, which have a newline."""
    if b"\n" not in b"\0".join(paths):
        return list(paths), []
    return [path for path in paths if b"\n" not in path], [path for path in paths if b"\n" in path]


def mksquashfs_priorities(count: int, place: Place = "start") -> Sequence[int]:
    """Return the priority of each rank for mksquashfs.

    At the start they count down from 32767 and end above 0, the priority of files that are not
    listed; at the end of the image they count down from -1. If there are more files than
    priorities, neighbours in rank share one; all priorities are used then, for groups that differ
    by one file at most.

    Args:
        count: Number of files.
        place: Where they go.

    Returns:
        Shape (count,), never rising.
    """
    first, available = (32767, 32767) if place == "start" else (-1, 32768)
    if count <= available:
        return range(first, first - count, -1)
    return [first - rank * available // count for rank in range(count)]


def gensquashfs_priorities(count: int, place: Place = "start") -> Sequence[int]:
    """Return the priority of each rank for gensquashfs: distinct, rising, on one side of 0.

    Args:
        count: Number of files.
        place: Where they go.
    """
    return range(-count, 0) if place == "start" else range(1, count + 1)


def mksquashfs_lines(paths: Sequence[bytes], place: Place = "start") -> list[bytes]:
    """Return the lines of a sort file for ``mksquashfs -sort``, each with its newline.

    Args:
        paths: Absolute paths below the source directory, without a newline, in order of access.
        place: Where they go.
    """
    return [
        b"%b %d\n" % line
        for line in zip(_escaped(paths), mksquashfs_priorities(len(paths), place), strict=True)
    ]


def paths_of_sort_file(content: bytes) -> list[bytes]:
    """Return the absolute paths of a sort file for mksquashfs, in the order of its lines.

    What cannot be a line of such a file is ignored: mksquashfs complains about it.
    """
    paths = []
    for line in content.split(b"\n"):
        words = _SORT_LINE.match(line)
        if words and not line.lstrip().startswith(b"#"):
            paths.append(b"/" + re.sub(rb"\\(.)", rb"\1", words[1]).lstrip(b"/"))
    return paths


def distinct_paths_of(
    stream: BinaryIO,
    name: str,
    *,
    skip: Container[bytes] = (),
    skipped: set[bytes] | None = None,
) -> PathList:
    """Read the paths of a bootlog of either format, or of a sort file of either program.

    Args:
        stream: The file; it can be read again from its start.
        name: What to call it in errors.
        skip: Types of file systems whose events are left out; only the events format has them.
        skipped: If given, the paths that were left out are added to it.

    Raises:
        FormatError: It is neither, or a line of it is wrong.
    """
    stream.seek(0)
    sample = stream.read(_SAMPLE_BYTES)
    said: list[str] = []
    ends = sample.count(b"\n")
    if ends and sample.count(b"\r\n") == ends:
        said.append("lines end with CR LF: the CR is ignored")
        stream.seek(0)
        stream = io.BytesIO(stream.read().replace(b"\r\n", b"\n").removesuffix(b"\r"))
        sample = stream.read(_SAMPLE_BYTES)
    lines = sample.split(b"\n")
    if len(sample) == _SAMPLE_BYTES:
        lines.pop()
    kind = kind_of(lines)
    stream.seek(0)
    if kind == "inodes":
        raise FormatError(
            f"{name}: a list of e4rat-collect, not a bootlog",
            hint="turn it into a bootlog with bootprof convert",
        )
    if kind in ("list", "events", "empty"):
        paths = distinct_paths(stream, name, skip=skip, skipped=skipped)
        return PathList(paths, kind, tuple(said))
    entries, globs = _entries(stream, name, kind)
    if kind == "mksquashfs":
        # Of two entries for one file the last one counts.
        last = {path: priority for priority, path in entries}
        entries = [(priority, path) for path, priority in last.items()]
    order = "lowest" if kind == "gensquashfs" else "highest"
    said.append(
        f"{len(entries):,} lines of a sort file "
        f"({'PATH PRIORITY' if kind == 'mksquashfs' else 'PRIORITY PATH'}), {order} priority first"
    )
    if globs:
        said.append(f"{globs:,} lines with patterns are ignored")
    entries.sort(key=lambda entry: entry[0] if kind == "gensquashfs" else -entry[0])
    return PathList({path: None for _, path in entries}, kind, tuple(said))


def kind_of(lines: Sequence[bytes]) -> Kind:
    """Return the kind of a list of paths from its first lines, without their ends."""
    if lines and lines[0].startswith(b"#bootprof-"):
        return "events"
    texts = [line.strip() for line in lines]
    texts = [line for line in texts if line and not line.startswith(b"#")]
    if not texts:
        return "empty"
    if all(_INODES.match(line) for line in texts):
        return "inodes"
    behind = _all(_path_priority, texts)
    before = _all(_priority_path, texts)
    if behind and before:
        # Names of digits only: the side with the slashes is the path.
        behind, before = (behind, []) if _slashes(behind) >= _slashes(before) else ([], before)
    if behind:
        return "mksquashfs"
    if not before:
        return "list"
    priorities = [priority for priority, _ in before]
    falling = all(one > other for one, other in pairwise(priorities))
    absolute = all(path.startswith(b"/") for _, path in before)
    if falling and (priorities[0] == _DRAKLIVE_FIRST or (absolute and len(priorities) > 1)):
        return "draklive"
    return "gensquashfs"


def _all(
    parse: Callable[[bytes], tuple[int, bytes] | None], lines: Sequence[bytes]
) -> list[tuple[int, bytes]]:
    """Return the results of a parser for all lines; nothing if one does not match."""
    found = []
    for line in lines:
        entry = parse(line)
        if entry is None:
            return []
        found.append(entry)
    return found


def _slashes(entries: Sequence[tuple[int, bytes]]) -> int:
    return sum(path.count(b"/") for _, path in entries)


def _path_priority(line: bytes) -> tuple[int, bytes] | None:
    """Return priority and path of ``PATH PRIORITY``; None if the line is not of this form.

    White space that is not escaped is taken for a part of the path: mksquashfs would refuse the
    line, but what was meant is plain.
    """
    line = line.rstrip(_WHITE_SPACE)
    place = max(line.rfind(b" "), line.rfind(b"\t"))
    if place < 1 or not _NUMBER.match(line, place + 1):
        return None
    path = line[:place]
    bare = path.rstrip(b" \t")
    backslashes = len(bare) - len(bare.rstrip(b"\\"))
    # The first white space belongs to the path if a backslash precedes it.
    path = path[: len(bare) + backslashes % 2]
    path = path.lstrip(_WHITE_SPACE)
    if path.endswith(_RESULT):
        return None
    return (int(line[place + 1 :]), _UNESCAPED.sub(rb"\1", path)) if path else None


def _priority_path(line: bytes) -> tuple[int, bytes] | None:
    """Return priority and path of ``PRIORITY [FLAGS] PATH``; None if the line is not of this form.

    The path is empty where it is a pattern (flag ``glob``) that only the files could resolve.
    """
    parts = line.split(None, 1)
    if len(parts) < 2 or not _NUMBER.match(parts[0]):
        return None
    path = parts[1].strip(_WHITE_SPACE)
    flags, bracket, rest = path[1:].partition(b"]") if path.startswith(b"[") else (b"", b"", path)
    if bracket:
        path = rest.strip(_WHITE_SPACE)
        if b"glob" in flags:
            return int(parts[0]), b""
    quoted = _QUOTED.match(path)
    if quoted is not None:
        path = _UNESCAPED.sub(rb"\1", quoted[1])
    elif _LOG.search(path):
        return None
    return (int(parts[0]), path) if path else None


def _entries(stream: BinaryIO, name: str, kind: Kind) -> tuple[list[tuple[int, bytes]], int]:
    """Return priority and path of each line of a sort file, and the number of patterns.

    Raises:
        FormatError: A line of it is not of the form of the others.
    """
    parse = _path_priority if kind == "mksquashfs" else _priority_path
    entries: list[tuple[int, bytes]] = []
    globs = 0
    number = 0
    while line := stream.readline(_LINE_BYTES):
        number += 1
        text = line.strip(_WHITE_SPACE + b"\n") if kind != "mksquashfs" else line.strip(b"\n")
        if not text.strip() or text.lstrip().startswith(b"#"):
            continue
        entry = parse(text)
        if entry is None or b"\0" in line or (len(line) == _LINE_BYTES and line[-1:] != b"\n"):
            form = "PATH PRIORITY" if kind == "mksquashfs" else "PRIORITY PATH"
            raise FormatError(
                f"{name}:{number}: not '{form}' as the lines before: '{printable(text, 60)}'",
                hint="a sort file has one path and one number a line",
            )
        if entry[1]:
            entries.append((entry[0], b"/" + entry[1].removeprefix(b"./").lstrip(b"/")))
        else:
            globs += 1
    return entries, globs


def fragment_action(paths: Sequence[bytes]) -> bytes:
    """Return an action file (``mksquashfs -action-file``) that keeps the tails of files apart.

    The tails of these files fill fragment blocks of their own, and no block holds the tail of
    another file, too. What is left of both at the end is written behind all data, theirs last. An
    action has fragment blocks of its own, of whatever name: so this is one, with one expression.
    Its terms are grouped by folder, since mksquashfs evaluates it for each file of the image
    (squashfs-tools, ACTIONS-README 4.2, 4.3 and 5.2.1; the rules of quoting are those of 4.5.1).

    Args:
        paths: Absolute paths in the image, without a newline. None: an empty file, no action.
    """
    folders: dict[bytes, list[bytes]] = {}
    for path in paths:
        folders.setdefault(path.rpartition(b"/")[0], []).append(path)
    terms = []
    for folder, members in folders.items():
        files = b" || ".join(b"\\\n pathname(%b)" % _pattern(path) for path in members)
        # The root has no name to match.
        terms.append(
            b"(subpathname(%b) && (%b))" % (_pattern(folder), files) if folder else b"(%b)" % files
        )
    return b"fragment(listed)@%b\n" % b" || ".join(terms) if terms else b""


def gensquashfs_lines(paths: Sequence[bytes], place: Place = "start") -> list[bytes]:
    """Return the lines of a sort file for ``gensquashfs --sort-file``, each with its newline.

    Args:
        paths: Absolute paths in the image, without a newline, in order of access.
        place: Where they go.
    """
    return [
        b"%d %b\n" % (priority, _fence(path[1:]))
        for path, priority in zip(paths, gensquashfs_priorities(len(paths), place), strict=True)
    ]


def mkdwarfs_lines(paths: Sequence[bytes]) -> list[bytes]:
    """Return the lines of a list for mkdwarfs, each with its newline.

    Args:
        paths: Absolute paths in the image, without a newline, in order of access.
    """
    return [path[1:] + b"\n" for path in paths]


def _escaped(paths: Sequence[bytes]) -> list[bytes]:
    """Return paths relative to the source directory, escaped for mksquashfs."""
    if not paths:
        return []
    # All of them at once: that takes a tenth of the time of one at a time.
    text = b"".join([b"\n%b" % path for path in paths]).replace(b"\\", rb"\\")
    for character in _MKSQUASHFS_WHITE_SPACE:
        text = text.replace(character, b"\\" + character)
    return text.replace(b"\n/#", b"\n/\\#").split(b"\n/")[1:]


def _pattern(path: bytes) -> bytes:
    """Return a quoted pattern of mksquashfs that matches one path only."""
    literal = re.sub(rb"([^\w/.\x80-\xff-])", rb"\\\1", path)
    return b'"%b"' % re.sub(rb'([\\"])', rb"\\\1", literal)


def _fence(path: bytes) -> bytes:
    if _GENSQUASHFS_START.match(path):
        path = b"/" + path
    return path + b"/" if path[-1:].isspace() else path
