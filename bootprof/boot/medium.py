# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""The image of a boot: its state at power-on, and whether it has changed since.

A profile identifies its image by size and digest. Both are computed before the boot and compared
after it. If the image is rebuilt or truncated during the boot, the boot fails, and gives no profile
of a mixture of two images.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from bootprof.errors import BootprofError, InputError
from bootprof.files import file_digest


@dataclass(frozen=True)
class Medium:
    """An image at one moment.

    Attributes:
        path: Where it is.
        size_bytes: Its size.
        sha256: SHA-256 digest in hexadecimal.
        stamp: What changes with the file: device, inode, size, time of the last change (ns).
    """

    path: Path
    size_bytes: int
    sha256: str
    stamp: tuple[int, int, int, int]


def stamp_of(path: Path) -> tuple[int, int, int, int]:
    """Return device, inode, size in bytes and time of the last change (ns) of a file."""
    status = path.stat()
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


def examine(path: Path) -> Medium:
    """Take size and digest of an image.

    Raises:
        InputError: There is no such image.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such image", hint="build one with bootprof build")
    stamp = stamp_of(path)
    return Medium(path, stamp[2], file_digest(path), stamp)


def require_unchanged(medium: Medium, *, content: bool) -> None:
    """Check that an image has not changed.

    Args:
        medium: The image as it was.
        content: Whether to compare the digest too, which reads the whole image.

    Raises:
        BootprofError: It was changed, replaced or removed.
    """
    try:
        same = stamp_of(medium.path) == medium.stamp
    except FileNotFoundError:
        raise BootprofError(f"{medium.path}: removed during the boot", hint=_AGAIN) from None
    if not same or (content and file_digest(medium.path) != medium.sha256):
        raise BootprofError(f"{medium.path}: changed during the boot", hint=_AGAIN)


_AGAIN = "profile the image again when nothing else writes to it"
