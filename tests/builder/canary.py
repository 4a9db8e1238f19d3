# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""A tree beside a root tree that must survive whatever is done in the root tree."""

import os
from pathlib import Path

SECRET = b"only the host may read this"


def plant(folder: Path) -> Path:
    """Make the tree: names that a root tree has too, so that a path that leads out finds one."""
    for name in (
        "etc/hostname",
        "etc/passwd",
        "usr/bin/sh",
        "log/dpkg.log",
        "lock/x",
        "boot/vmlinuz-1",
    ):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(SECRET)
    (folder / "boot/initrd.img-1").write_bytes(SECRET)
    (folder / "link").symlink_to("etc/passwd")
    return folder


def state(folder: Path) -> dict[str, tuple[object, ...]]:
    """Return all of the tree that can be changed; ctime tells a change of anything."""
    found: dict[str, tuple[object, ...]] = {}
    for path in (folder, *sorted(folder.rglob("*"))):
        status = path.lstat()
        content = path.read_bytes() if path.is_file() and not path.is_symlink() else b""
        found[os.fspath(path.relative_to(folder))] = (
            *(status.st_ino, status.st_mode, status.st_uid, status.st_gid, status.st_nlink),
            *(status.st_mtime_ns, status.st_ctime_ns, content),
        )
    return found
