"""Files on disk: whole or not at all, removed without crossing a mount, named by their digest."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bootprof.errors import BootprofError

TEMPORARY_PREFIX = ".unfinished-"


def file_digest(path: Path) -> str:
    """Return the SHA-256 digest of a file in hexadecimal."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def remove(path: Path) -> None:
    """Remove a file or a whole folder; nothing if it is not there.

    Raises:
        BootprofError: Something is mounted below it, which must not be emptied.
    """
    if path.is_symlink() or path.is_file():
        path.unlink()
    elif path.is_dir():
        absolute = str(path.resolve()).encode() + b"/"
        for line in Path("/proc/self/mountinfo").read_bytes().splitlines():
            mount_point = line.split()[4]
            if (mount_point + b"/").startswith(absolute):
                raise BootprofError(
                    f"{path}: not removed, because {os.fsdecode(mount_point)} is mounted there",
                    hint="unmount it first",
                )
        shutil.rmtree(path)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a temporary path beside ``path`` that takes its place if the block ends well."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.parent / f"{TEMPORARY_PREFIX}{path.name}-{os.getpid()}"
    try:
        yield temporary
        temporary.replace(path)
    except OSError as error:
        # A failed write (a full disk) does not know its file.
        if error.filename is None and error.errno is not None:
            raise OSError(error.errno, error.strerror, str(path)) from error
        raise
    finally:
        remove(temporary)
