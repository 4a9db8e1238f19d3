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

Neither has a way to write a newline in a path.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final, Literal

Place = Literal["start", "end"]
"""Where the listed files go: before all others, or behind them, beside the tables, which follow
the data in a squashfs. In both cases in order of first access."""

MKSQUASHFS_PRIORITIES: Final = range(-32768, 32768)
"""What mksquashfs accepts as a priority."""

_MKSQUASHFS_WHITE_SPACE = (b" ", b"\t", b"\r", b"\v", b"\f")
_GENSQUASHFS_START = re.compile(rb"[\s\"\[]")


# A path, in which a backslash protects what follows it, white space, and a priority.
_SORT_LINE = re.compile(rb"\s*((?:\\.|[^\s\\])+)\s+-?\d+\s*$")


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

    What cannot be a line of such a file is passed over: mksquashfs complains about it.
    """
    paths = []
    for line in content.split(b"\n"):
        words = _SORT_LINE.match(line)
        if words and not line.lstrip().startswith(b"#"):
            paths.append(b"/" + re.sub(rb"\\(.)", rb"\1", words[1]).lstrip(b"/"))
    return paths


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
        # The root has no name that could be asked for.
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
