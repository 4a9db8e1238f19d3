# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""Text of any bytes: escaped for a file of lines and fields, or made printable for a person.

Paths and names come from images, guests and logs, and may hold any byte but NUL. In the files that
bootprof writes they are escaped without loss; on a terminal, in a table or in a report they are
shown as one line of printable characters.
"""

from __future__ import annotations

import re
from typing import Final

_FIELD_SPECIAL = re.compile(rb"[\t\n\r\\]")
_FIELD_ESCAPED = re.compile(rb"\\(?!000)([0-3][0-7]{2})")
_LINE_SPECIAL = re.compile(rb"\n|\\(?=012|134)")
_LINE_ESCAPED = re.compile(rb"\\(012|134)")

SHOWN_CHARACTERS: Final = 200
"""What :func:`printable` shows of a longer text: its beginning and its end."""


def escape(text: bytes) -> bytes:
    """Return a text as a field of a line: in events, in block traces and in tables.

    Tab, newline, carriage return and backslash become a backslash and three octal digits, as in
    ``/proc/mounts``.

    Raises:
        ValueError: It holds a NUL.
    """
    if b"\0" in text:
        raise ValueError(f"a field cannot hold a NUL: {text!r}")
    return _FIELD_SPECIAL.sub(lambda found: b"\\%03o" % found[0][0], text)


def unescape(field: bytes) -> bytes:
    """Return the text of a field.

    Every backslash with three octal digits is decoded, whatever byte but NUL it stands for; any
    other backslash stands for itself.
    """
    if b"\\" not in field:
        return field
    return _FIELD_ESCAPED.sub(lambda found: bytes([int(found[1], 8)]), field)


def escape_line(path: bytes) -> bytes:
    r"""Return a path as a line of a list of paths.

    A newline becomes ``\012``; a backslash becomes ``\134`` only where reading it back would take
    it for the start of one of these two, so that ``\x2d`` in a unit's name stays unchanged.
    """
    if b"\n" not in path and b"\\" not in path:
        return path
    return _LINE_SPECIAL.sub(lambda found: rb"\012" if found[0] == b"\n" else rb"\134", path)


def unescape_line(line: bytes) -> bytes:
    """Return the path of a line of a list of paths, without its newline."""
    return _LINE_ESCAPED.sub(lambda found: b"\n" if found[1] == b"012" else b"\\", line)


def printable(text: bytes | str, limit: int | None = SHOWN_CHARACTERS) -> str:
    """Return a foreign text as one line of printable characters.

    Control characters, escape sequences, marks that change the direction of writing and bytes that
    are not UTF-8 become backslash escapes, so that nothing in the text can act on a terminal.

    Args:
        text: What came from an image, a guest, a log or a program.
        limit: Number of characters to show at most; None for all of them.
    """
    if isinstance(text, str):
        # Surrogates stand for bytes that are not UTF-8, unless there are some of another kind.
        text = text.encode(errors="surrogateescape" if _holds_bytes(text) else "surrogatepass")
    plain = text.decode(errors="backslashreplace")
    shown = "".join(
        letter if letter.isprintable() else letter.encode("unicode_escape").decode()
        for letter in plain
    )
    if limit is None or len(shown) <= limit:
        return shown
    return f"{shown[: limit // 2]}…{shown[len(shown) - limit + limit // 2 + 1 :]}"


def _holds_bytes(text: str) -> bool:
    """Return whether the surrogates of a text, if any, all stand for bytes (PEP 383)."""
    return all(
        not "\ud800" <= letter <= "\udfff" or "\udc80" <= letter <= "\udcff" for letter in text
    )
