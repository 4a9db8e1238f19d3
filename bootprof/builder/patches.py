# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""Unified diffs (``system.patches``) that are applied to a root tree.

Every file is read and written through the tree's jail, so no name in a patch leads out of the tree.
The lines of a hunk must match exactly (no fuzz); they may have moved, which is reported.

Format: GNU diffutils, "Detailed Description of Unified Format", and the extended headers of git
for new, removed and executable files. The first folder of each name is stripped (``patch -p1``).
"""

from __future__ import annotations

import io
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from bootprof import progress
from bootprof.builder.roottree import Attributes, RootTree
from bootprof.errors import InputError
from bootprof.files import file_digest
from optimizer.formats.text import printable

SUFFIXES = (".patch", ".diff")
NO_FILE = "/dev/null"
HUNK = re.compile(rb"@@ -(\d{1,9})(?:,(\d{1,9}))? \+(\d{1,9})(?:,(\d{1,9}))? @@")
MODE = re.compile(rb"(?:new file mode|new mode) 100(\d{3})")
# What git writes of changes that a text cannot express.
REFUSED = (b"GIT binary patch", b"Binary files ", b"rename from ", b"copy from ")


@dataclass(frozen=True)
class Hunk:
    """One hunk.

    Attributes:
        number: Which of its file, from 1.
        line: Line of the patch that it begins at.
        start: Line of the file that the old lines begin at, from 1; 0 for none.
        old: The lines before, with their ends.
        new: The lines after.
    """

    number: int
    line: int
    start: int
    old: tuple[bytes, ...]
    new: tuple[bytes, ...]


@dataclass(frozen=True)
class Change:
    """What a patch does to one file.

    Attributes:
        patch: The patch.
        path: Path of the file in the tree.
        creates: Whether the file is new.
        removes: Whether the file is removed.
        mode: Permission bits that the patch sets, or None.
        hunks: Its hunks, in the order of the file.
    """

    patch: Path
    path: str
    creates: bool = False
    removes: bool = False
    mode: int | None = None
    hunks: tuple[Hunk, ...] = ()

    def error(self, what: str, hunk: Hunk | None = None) -> InputError:
        """Return an error that names patch, line, file and hunk."""
        where = f"{self.patch}: " + (f"line {hunk.line}: " if hunk else "") + printable(self.path)
        return InputError(
            f"{where}: " + (f"hunk {hunk.number} " if hunk else "") + what,
            hint="make the patch again from the root tree of the last build, <output>/root",
        )


@dataclass(frozen=True)
class Patches:
    """The patches of a configuration.

    Attributes:
        folder: Their folder.
        files: The patches, in the order of their names.
        changes: What they change, in this order.
    """

    folder: Path
    files: tuple[Path, ...]
    changes: tuple[Change, ...] = field(repr=False)

    def digest(self) -> tuple[str, ...]:
        """Return the digests of the patches."""
        return tuple(file_digest(path) for path in self.files)


def scan(folder: Path) -> Patches:
    """Read all patches of a folder (``*.patch``, ``*.diff``), in the order of their names.

    Raises:
        InputError: There is no such folder, or a patch cannot be used.
    """
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder", hint="check system.patches")
    files = tuple(sorted(path for path in folder.iterdir() if path.suffix in SUFFIXES))
    changes = [change for path in files for change in parse(path)]
    return Patches(folder, files, tuple(changes))


def apply(patches: Patches, tree: RootTree) -> None:
    """Apply patches to a root tree.

    Raises:
        InputError: One does not apply; the text names patch, file and hunk.
    """
    for change in patches.changes:
        found = tree.status(change.path)
        if change.creates:
            if found is not None:
                raise change.error("the patch creates this file, but it exists")
            tree.write_file(change.path, patched(change, []), change.mode or 0o644)
            continue
        if found is None:
            raise change.error("no such file in the root tree")
        if stat.S_ISLNK(found.st_mode):
            raise change.error("a symbolic link; patch the file that it leads to")
        content = patched(change, lines_of(tree.read_file(change.path)))
        if change.removes:
            if content:
                raise change.error("the patch removes this file, but leaves lines of it")
            tree.remove(change.path)
            continue
        tree.rewrite_file(change.path, content)
        if change.mode is not None:
            owner = (found.st_uid, found.st_gid)
            tree.set_attributes(change.path, Attributes(change.mode, owner, None))


def lines_of(content: bytes) -> list[bytes]:
    """Return the lines of a text with their ends; a carriage return alone ends none."""
    return io.BytesIO(content).readlines()


def patched(change: Change, lines: list[bytes]) -> bytes:
    """Return the content of a file after its hunks; where one has moved, say so."""
    moved = 0
    done = 0
    result: list[bytes] = []
    for hunk in change.hunks:
        # A hunk without old lines stands behind the line that it names.
        wanted = hunk.start - 1 if hunk.old else hunk.start
        place = find(lines, hunk.old, wanted + moved, done)
        if place is None:
            raise change.error("does not match the file", hunk)
        if place != wanted + moved:
            progress.note(
                f"bootprof: note: {change.patch}: {change.path}: hunk {hunk.number} applied "
                f"{place - wanted:+d} lines from its place"
            )
        moved = place - wanted
        result += [*lines[done:place], *hunk.new]
        done = place + len(hunk.old)
    return b"".join(result + lines[done:])


def find(lines: list[bytes], old: tuple[bytes, ...], wanted: int, first: int) -> int | None:
    """Return the place nearest to the wanted one at which lines stand, or None."""
    last = len(lines) - len(old)
    if not old:
        return wanted if first <= wanted <= last else None
    places = [at for at in range(first, last + 1) if lines[at] == old[0]]
    for place in sorted(places, key=lambda at: abs(at - wanted)):
        if tuple(lines[place : place + len(old)]) == old:
            return place
    return None


def parse(path: Path) -> Iterator[Change]:
    """Read a patch.

    Raises:
        InputError: It is no unified diff, or does something that is not supported.
    """
    lines = lines_of(path.read_bytes())
    at, count, mode = 0, 0, None
    while at < len(lines):
        line = lines[at]
        if line.startswith(REFUSED):
            raise InputError(
                f"{path}: line {at + 1}: {printable(line.decode(errors='replace').strip(), 60)}: "
                "not supported",
                hint="copy such files with system.files instead",
            )
        if line.startswith(b"diff "):
            mode = None
        elif found := MODE.match(line):
            mode = int(found[1], 8) & 0o777
        follows = lines[at + 1] if at + 1 < len(lines) else b""
        # Text between the changes is a comment; a removed line "-- x" is inside a hunk.
        if not (line.startswith(b"--- ") and follows.startswith(b"+++ ")):
            at += 1
            continue
        change = replace(named(path, at + 1, line[4:], follows[4:]), mode=mode)
        hunks: list[Hunk] = []
        at += 2
        while at < len(lines) and (header := HUNK.match(lines[at])):
            hunk, at = read_hunk(path, lines, at, header, len(hunks) + 1)
            hunks.append(hunk)
        if not hunks:
            raise InputError(f"{path}: line {at + 1}: expected a hunk (@@ -1 +1 @@)")
        count, mode = count + 1, None
        yield replace(change, hunks=tuple(hunks))
    if not count:
        raise InputError(f"{path}: no unified diff", hint="make one with diff -u or git diff")


def named(path: Path, line: int, old: bytes, new: bytes) -> Change:
    """Return a change without its hunks, from the two names of the file."""
    names = []
    for text in (old, new):
        # diff puts a tab and a time behind the name; git quotes names with special characters.
        name = text.split(b"\t")[0].rstrip(b"\r\n")
        if name.startswith(b'"'):
            raise InputError(f"{path}: line {line}: quoted names are not supported")
        names.append(name.decode(errors="surrogateescape"))
    creates, removes = names[0] == NO_FILE, names[1] == NO_FILE
    if creates and removes:
        raise InputError(f"{path}: line {line}: neither name is that of a file")
    stripped = names[0 if removes else 1].partition("/")[2].strip("/")
    if not stripped or ".." in stripped.split("/"):
        raise InputError(
            f"{path}: line {line}: cannot strip the first folder of "
            f"{printable(names[0 if removes else 1], 80)}, as patch -p1 does",
            hint="names must be like a/etc/motd and b/etc/motd",
        )
    return Change(path, stripped, creates, removes)


def read_hunk(
    path: Path, lines: list[bytes], at: int, header: re.Match[bytes], number: int
) -> tuple[Hunk, int]:
    """Read a hunk; return it and the number of the line behind it, from 0."""
    start, old_count, _, new_count = (1 if text is None else int(text) for text in header.groups())
    old: list[bytes] = []
    new: list[bytes] = []
    first = at + 1
    at += 1
    while len(old) < old_count or len(new) < new_count:
        line = lines[at] if at < len(lines) else b""
        sign, text = line[:1], line[1:]
        # Some mailers remove the space of an empty line.
        if line in (b"\n", b"\r\n"):
            sign, text = b" ", line
        if sign not in (b" ", b"-", b"+") or not sign:
            raise InputError(f"{path}: line {at + 1}: hunk {number} is shorter than it says")
        if sign != b"+":
            old.append(text)
        if sign != b"-":
            new.append(text)
        at += 1
        if at < len(lines) and lines[at].startswith(b"\\"):
            # "\ No newline at end of file", of the side or the sides that the line before is on.
            for sided, side in ((sign != b"+", old), (sign != b"-", new)):
                if sided:
                    side[-1] = side[-1].removesuffix(b"\n")
            at += 1
    if len(old) != old_count or len(new) != new_count:
        raise InputError(f"{path}: line {at}: hunk {number} is longer than it says")
    return Hunk(number, first, start, tuple(old), tuple(new)), at
