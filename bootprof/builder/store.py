"""Built things on disk, found again by the digest of what they were built from.

A thing is made under a temporary name and renamed when it is whole, so what carries its final
name is never half-written, whatever interrupted the run that made it.
"""

from __future__ import annotations

import fcntl
import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from bootprof import progress
from bootprof.files import remove_leftovers, replacing


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
def locked(folder: Path) -> Iterator[None]:
    """Hold a folder for this process, so that two builds do not meet in it.

    Waits for another process that holds it, and says so. Things that an interrupted run left
    half-made are removed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            with progress.step(f"waiting for another bootprof that is at work in {folder}"):
                fcntl.flock(lock, fcntl.LOCK_EX)
        remove_leftovers(folder)
        yield


def obtain(
    folder: Path, name: str, digest: str, make: Callable[[Path], None], suffix: str = ""
) -> tuple[Path, bool]:
    """Return the thing of this name and digest, made now if it is not there yet.

    Args:
        folder: Where things are kept.
        name: What it is, for the people who look into the folder.
        digest: Of everything that it is made from.
        make: Makes the thing (a file or a folder) at the path that it is given.
        suffix: File name suffix with its dot.

    Returns:
        Its path, and whether it was there already.
    """
    final = folder / f"{name}-{digest}{suffix}"
    if final.exists():
        return final, True
    with replacing(final) as temporary:
        make(temporary)
    return final, False
