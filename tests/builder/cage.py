# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""Running what may escape from a root tree where it can harm nothing but a folder."""

import ctypes
import os
import traceback
from collections.abc import Callable
from pathlib import Path

LIBC = ctypes.CDLL(None, use_errno=True)
# linux/sched.h and linux/mount.h.
CLONE_NEWNS = 0x00020000
MS_BIND, MS_REC, MS_PRIVATE = 4096, 16384, 1 << 18


def mount(source: str, target: str, flags: int) -> None:
    if LIBC.mount(source.encode(), target.encode(), None, flags, None):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), target)


def caged(folder: Path, body: Callable[[Path], None]) -> None:
    """Call ``body`` with the folder in a child whose root directory is that folder.

    If a guard fails, an absolute link or ``..`` leads to the folder's own top, and not to the
    machine that runs the test. Without root the child could not be made, and could do little harm:
    then ``body`` is called here.

    Raises:
        AssertionError: ``body`` raised; the message is its traceback.
    """
    if os.geteuid() != 0:
        body(folder)
        return
    (folder / "proc").mkdir()
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            if LIBC.unshare(CLONE_NEWNS):
                raise OSError(ctypes.get_errno(), "unshare")
            mount("none", "/", MS_REC | MS_PRIVATE)
            mount("/proc", str(folder / "proc"), MS_BIND | MS_REC)
            os.chroot(folder)
            os.chdir("/")
            body(Path("/"))
            os._exit(0)
        except BaseException:
            os.write(writer, traceback.format_exc().encode()[-60000:])
            os._exit(1)
    os.close(writer)
    with os.fdopen(reader, "rb") as stream:
        said = stream.read()
    _, status = os.waitpid(child, 0)
    assert status == 0, said.decode(errors="replace")
