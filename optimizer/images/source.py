# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""Bytes of a file system on an image, and limits that hold for every format."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO, NoReturn, TypeVar

from optimizer.errors import FormatError

MEMORY_HINT = "the image is damaged, or made to fill the memory of what reads it"
# Depth makes paths long: a tree of a few thousand directories inside each other would make
# gigabytes of them. Real images have 50 to 100 bytes a path.
FREE_PATH_BYTES = 16 << 20
LARGEST_MEAN_PATH_BYTES = 256
COPY_BYTES = 1 << 20

AnyLayout = TypeVar("AnyLayout")


class Source:
    """Bytes of an image from the start of a file system on, with a name for messages.

    Attributes:
        name: Path of the file, or the name of a stream.
        offset_bytes: Where the file system begins in the file.
        size_bytes: From there to the end of the file or device, or of the file of an ISO.
    """

    def __init__(
        self, file: BinaryIO, name: str, offset_bytes: int, limit_bytes: int | None = None
    ) -> None:
        if offset_bytes < 0:
            raise FormatError(f"{name}: offset {offset_bytes} of the file system is negative")
        self.file = file
        self.name = name
        self.offset_bytes = offset_bytes
        self.size_bytes = max(0, file.seek(0, os.SEEK_END) - offset_bytes)
        if limit_bytes is not None:
            self.size_bytes = min(self.size_bytes, limit_bytes)

    def read(self, offset_bytes: int, length_bytes: int, what: str) -> bytes:
        """Return exactly the requested bytes.

        Raises:
            FormatError: The file ends before; the message says at what.
        """
        if offset_bytes + length_bytes > self.size_bytes:
            self.fail(f"{what} at {offset_bytes:#x}: the file ends at {self.size_bytes:#x}")
        self.file.seek(self.offset_bytes + offset_bytes)
        data = self.file.read(length_bytes)
        if len(data) != length_bytes:
            self.fail(f"{what} at {offset_bytes:#x}: the file ends after {len(data)} bytes of it")
        return data

    def fail(self, message: str, hint: str = "") -> NoReturn:
        """Raise FormatError; offsets in the message count from the start of the file system."""
        where = f"{self.name}+{self.offset_bytes:#x}" if self.offset_bytes else self.name
        raise FormatError(f"{where}: {message}", hint or "copy or build the image again")


def read_from(
    source: str | Path | BinaryIO, offset_bytes: int, read: Callable[[Source], AnyLayout]
) -> AnyLayout:
    """Read the layout of a file system.

    Args:
        source: Path of the image, or an open binary file that can seek (it stays open).
        offset_bytes: Where the file system begins in it; see
            :func:`optimizer.images.image.open_image` for ISO and disk images.
        read: Reads a format.

    Raises:
        FormatError: As ``read`` does.
        OSError: The file cannot be read.
    """
    if isinstance(source, str | Path):
        with Path(source).open("rb") as file:
            return read(Source(file, os.fspath(source), offset_bytes))
    return read(Source(source, str(getattr(source, "name", "image")), offset_bytes))


def copy_span(source: BinaryIO, offset_bytes: int, length_bytes: int, target: BinaryIO) -> None:
    """Append a range of a file to another one.

    Raises:
        EOFError: The file ended.
    """
    source.seek(offset_bytes)
    while length_bytes:
        data = source.read(min(length_bytes, COPY_BYTES))
        if not data:
            raise EOFError("the image ended while it was read")
        target.write(data)
        length_bytes -= len(data)
