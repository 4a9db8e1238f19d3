# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""Cache of built files and folders, named by the digest of their inputs.

Each entry is made under a temporary name and renamed when it is complete, so an entry under its
final name is never half-written, even if a run is interrupted.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from bootprof import progress
from bootprof.builder import prepared
from bootprof.files import held_by_children, remove, remove_leftovers, replacing


def digest_of(*parts: object) -> str:
    """Return a short hexadecimal digest over the representations of some values.

    Paths to regular files count with their content, everything else with its ``repr``.
    """
    state = hashlib.sha256()
    for part in parts:
        if isinstance(part, Path) and part.is_file():
            state.update(part.read_bytes())
        else:
            state.update(repr(part).encode())
        state.update(b"\0")
    return state.hexdigest()[:16]


@contextmanager
def opened(folder: Path) -> Iterator[None]:
    """Work in a folder beside others, a build among them; only the same entry is waited for.

    What an interrupted run left unfinished is removed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / ".lock").touch()
    remove_leftovers(folder)
    yield


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Lock a folder for this process and its children, so that one build at a time works in it.

    Waits for another process that holds it, and says so. What an interrupted run left unfinished
    is removed. Those that only need an entry use :func:`opened`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            with progress.step(f"waiting for another bootprof that is at work in {folder}"):
                fcntl.flock(lock, fcntl.LOCK_EX)
        remove_leftovers(folder)
        with held_by_children(lock.fileno()):
            yield


def obtain(
    folder: Path,
    name: str,
    digest: str,
    make: Callable[[Path], None],
    suffix: str = "",
    *,
    again: bool = False,
) -> tuple[Path, bool]:
    """Return the thing of this name and digest, made now if it does not exist.

    Args:
        folder: Where things are kept.
        name: Readable name, shown in the folder.
        digest: Of everything that it is made from.
        make: Makes the thing (a file or a folder) at the path that it is given.
        suffix: File name suffix with its dot.
        again: Make it even if it exists.

    Returns:
        Its path, and whether it existed.
    """
    final = folder / f"{name}-{digest}{suffix}"
    if not again and (existing := find(folder, name, digest, suffix)) is not None:
        return existing, True
    with entry_locked(final):
        # Another process may have made it in the meantime.
        if final.exists() and not again:
            return final, True
        replace_entry(final, make)
    return final, False


def find(folder: Path, name: str, digest: str, suffix: str = "") -> Path | None:
    """Return the thing of this name and digest if it exists, here or prepared in advance.

    Arguments are as for :func:`obtain`.
    """
    path = folder / f"{name}-{digest}{suffix}"
    if not path.exists():
        return prepared.find(path.name)
    # The time of the last use; that of the last change is the time of an image.
    with contextlib.suppress(PermissionError):
        os.utime(path, ns=(time.time_ns(), path.stat().st_mtime_ns))
    return path


def replace_entry(final: Path, make: Callable[[Path], None]) -> None:
    """Make an entry, and remove the one there was when the new one is complete."""
    with replacing(final) as temporary:
        make(temporary)
        if temporary.is_dir():
            # A folder is not replaced as a file is; between the two there is none.
            remove(final)


@contextmanager
def entry_locked(final: Path) -> Iterator[None]:
    """Lock one entry for this process and its children while it is made.

    The lock file is removed with the lock; whoever gets a lock of a removed file tries again.
    """
    path = final.with_name(f".lock-{final.name}")
    path.parent.mkdir(parents=True, exist_ok=True)
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            with progress.step(f"waiting for another bootprof that makes {final}"):
                fcntl.flock(descriptor, fcntl.LOCK_EX)
        if os.fstat(descriptor).st_nlink:
            break
        os.close(descriptor)
    try:
        with held_by_children(descriptor):
            yield
    finally:
        path.unlink(missing_ok=True)
        os.close(descriptor)


def prune(folder: Path, name: str, keep: int) -> None:
    """Remove all things of a name but those that were used last.

    Args:
        folder: Where things are kept.
        name: As for :func:`obtain`.
        keep: How many stay.
    """
    found = [path for path in folder.glob(f"{name}-*") if not path.is_symlink()]
    for path in sorted(found, key=lambda path: path.stat().st_atime_ns, reverse=True)[keep:]:
        remove(path)
