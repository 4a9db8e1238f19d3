# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""Opening and removing entries relative to an open folder.

Source: openat2(2), since Linux 5.6.
"""

# ruff: noqa: PTH208
# Works with descriptors and names relative to them, which pathlib has no calls for.
from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import secrets
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bootprof.errors import InputError, UnsupportedError

# linux/openat2.h and asm-generic/unistd.h; the number is the same on every architecture.
OPENAT2 = 437
OPEN_HOW = struct.Struct("=QQQ")
RESOLVE_NO_XDEV = 0x01
RESOLVE_NO_SYMLINKS = 0x04
RESOLVE_IN_ROOT = 0x10
# openat2 gives up on a path with ".." when anything in the system is renamed or mounted meanwhile.
TRIES = 10_000

LIBC = ctypes.CDLL(None, use_errno=True)
LIBC.syscall.restype = ctypes.c_long


def openat2(folder: int, path: str, flags: int, resolve: int, shown: Path) -> int:
    """Open a path below a folder as the kernel's call of this name does.

    Args:
        folder: Descriptor of the folder.
        path: Path relative to it.
        flags: As for :func:`os.open`.
        resolve: How links and ``..`` are resolved; nothing mounted is ever entered.
        shown: The path to name in an error.
    """
    encoded = os.fsencode(path)
    if b"\0" in encoded:
        raise InputError(f"{shown!s:.200}: a path cannot hold a NUL character")
    how = OPEN_HOW.pack(flags | os.O_CLOEXEC, 0, resolve | RESOLVE_NO_XDEV)
    for _ in range(TRIES):
        descriptor = int(
            LIBC.syscall(ctypes.c_long(OPENAT2), folder, encoded, how, ctypes.c_size_t(len(how)))
        )
        if descriptor >= 0:
            return descriptor
        number = ctypes.get_errno()
        if number == errno.ENOSYS:
            raise UnsupportedError(
                "this kernel lacks openat2, which confines a build to its root tree",
                hint="run on Linux 5.6 or newer",
            )
        if number not in (errno.EAGAIN, errno.EINTR):
            break
    raise OSError(number, os.strerror(number), str(shown))


def remove_entry(folder: int, name: str) -> None:
    """Remove an entry of an open folder, with all that is in it, however deep.

    Each folder below is emptied of its files and its folders moved up, so that neither the depth
    of a tree nor the length of its paths counts.

    Raises:
        OSError: Something is mounted in it.
    """
    try:
        os.unlink(name, dir_fd=folder)
    except IsADirectoryError:
        pass
    else:
        return
    moved = 0
    with below(folder, name) as top:
        # The name is random, so no name in the tree can be chosen to collide with it.
        prefix = secrets.token_hex(8)
        while names := os.listdir(top):
            for child in names:
                try:
                    os.unlink(child, dir_fd=top)
                    continue
                except IsADirectoryError:
                    pass
                with below(top, child) as inner:
                    for entry in os.listdir(inner):
                        try:
                            os.unlink(entry, dir_fd=inner)
                        except IsADirectoryError:
                            # Who is not root cannot move a folder that he may not write to.
                            with contextlib.suppress(OSError):
                                os.rmdir(entry, dir_fd=inner)
                                continue
                            moved += 1
                            os.rename(entry, f"{prefix}{moved}", src_dir_fd=inner, dst_dir_fd=top)
                os.rmdir(child, dir_fd=top)
    os.rmdir(name, dir_fd=folder)


@contextmanager
def below(folder: int, name: str) -> Iterator[int]:
    """Open a folder in an open folder for the length of a block: no link, and no mount point."""
    descriptor = openat2(
        folder, name, os.O_RDONLY | os.O_DIRECTORY, RESOLVE_NO_SYMLINKS, Path(name)
    )
    try:
        yield descriptor
    finally:
        os.close(descriptor)
