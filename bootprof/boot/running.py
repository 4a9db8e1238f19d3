# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""The recording of the boot of the running system, taken from the kernel module in it.

This needs no virtual machine and no port of one: the module's files in debugfs are read.
"""

from __future__ import annotations

import os
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Final

from bootprof import backends
from bootprof.boot.folder import GUEST, profile_folder
from bootprof.boot.harvest import TOTAL_LIMIT_BYTES
from bootprof.boot.profile import finish, write_bootlog
from bootprof.errors import BootprofError, UnsupportedError
from optimizer.formats.events import Bootlog

BACKEND: Final = "kmod"
DEBUGFS: Final = Path("/sys/kernel/debug/bootprof")
COPY_BYTES: Final = 1 << 20


def profile_running(folder: Path, debugfs: Path = DEBUGFS) -> tuple[Bootlog, int]:
    """Stop the recording of the running system, and write its profile.

    It has no block trace, and times are those of the kernel's clock.

    Args:
        folder: Where the profile goes; an earlier profile there is replaced.
        debugfs: The module's folder in debugfs.

    Returns:
        The bootlog, and the number of its paths.

    Raises:
        InputError: The folder has something else in it.
        UnsupportedError: The boot was not recorded, or this user may not read the recording.
        BootprofError: The recording is too large.
    """
    if os.geteuid() != 0 and debugfs == DEBUGFS:
        raise UnsupportedError("only root can read a recording", hint="sudo bootprof ...")
    if not debugfs.is_dir():
        raise UnsupportedError(
            f"{debugfs}: not found: this boot is not recorded",
            hint="restart, and choose the entry that records the boot (docs/key.md); with Secure "
            "Boot, the kernel refuses the module: dmesg says so",
        )
    # What is read from here on is no part of the boot.
    (debugfs / "control").write_text("stop\n")
    uptime_ns = int(time.clock_gettime(time.CLOCK_BOOTTIME) * 1e9)
    backend = backends.load(BACKEND)
    with profile_folder(folder) as temporary:
        guest = temporary / GUEST
        guest.mkdir()
        files = {name: guest / name for name in backend.recorded}
        left = TOTAL_LIMIT_BYTES
        for name, path in files.items():
            with (debugfs / name).open("rb") as source, path.open("xb") as target:
                left -= copy_at_most(source, target, left)
        bootlog = backend.read(backends.Recording(files=files))
        paths = write_bootlog(temporary, bootlog)
        description = {
            "backend": BACKEND,
            "reason": "recorded by the running system",
            "kernel": os.uname().release,
            "target_ns": uptime_ns,
            "paths": paths,
            "events": len(bootlog.events),
            "lost": bootlog.lost,
        }
        finish(temporary, BACKEND, datetime.fromtimestamp(time.time(), UTC), description)
    return bootlog, paths


def copy_at_most(source: IO[bytes], target: IO[bytes], limit_bytes: int) -> int:
    """Copy a file; return its size in bytes.

    Raises:
        BootprofError: It is larger than the limit.
    """
    copied = 0
    while part := source.read(COPY_BYTES):
        copied += len(part)
        if copied > limit_bytes:
            raise BootprofError(
                f"the recording exceeds the limit of {TOTAL_LIMIT_BYTES >> 20} MiB",
                hint=f"stop it earlier after a boot: echo stop > {DEBUGFS}/control",
            )
        target.write(part)
    return copied
