# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""The files of an image as a value, so that two images can be compared."""

import hashlib
import os
import subprocess
from pathlib import Path


def unpacked(image: Path, folder: Path, offset_bytes: int = 0) -> dict[str, tuple[object, ...]]:
    """Unpack a squashfs; return everything that there is to know of each of its files, by path.

    Not mounted: the kernel that runs the tests may have no extended attributes in squashfs.
    """
    options = ["-quiet", "-no-progress", "-offset", str(offset_bytes)]
    subprocess.run(
        ["unsquashfs", *options, "-dest", folder, image], check=True, capture_output=True
    )
    names: dict[int, str] = {}
    found: dict[str, tuple[object, ...]] = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        status = path.lstat()
        content: object = None
        if path.is_symlink():
            content = path.readlink()
        elif path.is_file():
            with path.open("rb") as stream:
                content = hashlib.file_digest(stream, "sha256").digest()
        xattrs = {
            key: os.getxattr(path, key, follow_symlinks=False)
            for key in os.listxattr(path, follow_symlinks=False)
        }
        found[name] = (
            *(status.st_mode, status.st_uid, status.st_gid, status.st_mtime_ns, status.st_rdev),
            # Which other name the same file has.
            names.setdefault(status.st_ino, name),
            content,
            xattrs,
        )
    return found
