"""A tree of files as a value, so that two of them can be compared."""

import hashlib
import os
from pathlib import Path


def described(folder: Path) -> dict[str, tuple[object, ...]]:
    """Everything that there is to know of each file below a folder, by path."""
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
