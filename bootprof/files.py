# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""Files that bootprof writes and removes.

Every output named by the user is written by :func:`open_output` (content from bootprof) or
:func:`replacing` (content from another program). A regular file is complete or absent. A device, a
pipe or a socket is never replaced by a file.

Incomplete outputs are in temporary folders, which the process that works in them keeps locked. A
killed run leaves them unlocked, and the next one removes them.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import re
import stat
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Final

from bootprof.errors import BootprofError, InputError
from bootprof.openat import remove_entry

UNFINISHED: Final = ".bootprof-unfinished-"
"""Prefix of the temporary folders in which outputs are made, next to the output."""
SCRATCH: Final = ".bootprof-scratch-"
"""How the folders for temporary files begin, in the system's folder for such."""
STANDARD_STREAM: Final = Path("-")
_RANDOM = re.compile(r"[a-z0-9_]{8}")
# Descriptors of locks that children inherit, and the lowest of them.
_INHERITED: set[int] = set()
_FIRST_INHERITED = 200
# Names of open files, which are written to: the other names of such a file must not change.
_DESCRIPTORS = (Path("/dev/fd"), Path("/proc/self/fd"))
_STREAMS = (Path("/dev/stdout"), Path("/dev/stderr"))
_WHAT = {
    stat.S_IFREG: "a regular file",
    stat.S_IFBLK: "a block device",
    stat.S_IFDIR: "a folder",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a character device",
    stat.S_IFIFO: "a named pipe",
}


def file_digest(path: Path) -> str:
    """Return the SHA-256 digest of a file in hexadecimal."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def write_output(path: Path | None, content: bytes) -> None:
    """Write content to an output, see :func:`open_output`."""
    with open_output(path) as stream:
        stream.write(content)


@contextmanager
def open_output(path: Path | None) -> Iterator[BinaryIO]:
    """Open an output that a person named.

    A regular file replaces the existing one when the block succeeds, and keeps its
    mode. Character devices, pipes and open files (``/dev/stdout``, ``/dev/fd/3``) are written to.

    Args:
        path: Where to; None or ``-`` for standard output.

    Raises:
        InputError: It is a block device, a folder or a socket.
        OSError: It cannot be written; it has the name of the file.
    """
    if path is None or path == STANDARD_STREAM:
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    if _is_stream(path):
        with _naming(path), path.open("wb") as stream:
            yield stream
        return
    with replacing(path) as temporary, temporary.open("xb") as stream:
        yield stream


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a path next to ``path`` whose file or folder replaces it if the block succeeds.

    A symbolic link stays, and what it points to is replaced.

    Args:
        path: The file or folder to write. An existing folder has to be removed in the block.

    Raises:
        InputError: ``path`` is a device, a pipe or a socket.
        OSError: It cannot be written; it has the name of the file.
    """
    mode = _mode(path)
    if mode is not None and not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        raise _refused(path, mode)
    final = path.resolve()
    final.parent.mkdir(parents=True, exist_ok=True)
    with _naming(path), _working_folder(final.parent, UNFINISHED) as folder:
        # Not for this user alone: apt gives up its rights before it enters a root below.
        folder.chmod(0o755)
        temporary = folder / final.name
        yield temporary
        now = _mode(final)
        if now is not None and stat.S_IFMT(now) != stat.S_IFMT(temporary.stat().st_mode):
            raise _refused(path, now)
        if now is not None and stat.S_ISREG(now):
            temporary.chmod(stat.S_IMODE(now))
        temporary.replace(final)


def replace_link(path: Path, target: Path) -> None:
    """Let a symbolic link point to a target, which is not looked at; another link is replaced.

    Raises:
        InputError: What exists is not a symbolic link.
    """
    if path.exists() and not path.is_symlink():
        raise _refused(path, path.stat().st_mode)
    path.parent.mkdir(parents=True, exist_ok=True)
    with _naming(path), _working_folder(path.parent, UNFINISHED) as folder:
        (folder / "link").symlink_to(target)
        (folder / "link").replace(path)


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """Give a folder for temporary files, only this user's, which is removed at the end."""
    with _working_folder(Path(tempfile.gettempdir()), SCRATCH) as folder:
        yield folder


@contextmanager
def staging_beside(target: Path) -> Iterator[Path]:
    """Give an empty folder beside a file, for what it is made from, and remove it at the end."""
    folder = target.parent / f"{target.name}.staging"
    folder.mkdir(parents=True)
    try:
        yield folder
    finally:
        remove(folder)


def remove(path: Path) -> None:
    """Remove a file or a whole folder, however deep; do nothing if it does not exist.

    Raises:
        BootprofError: Something is mounted below it, which must not be emptied.
    """
    if path.is_symlink() or (path.exists() and not path.is_dir()):
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
        descriptor = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            remove_entry(descriptor, path.name)
        finally:
            os.close(descriptor)


def remove_leftovers(folder: Path, prefix: str = UNFINISHED) -> None:
    """Remove unlocked remains of this user's killed runs from a folder.

    Raises:
        BootprofError: Something is mounted in one of them.
    """
    for leftover in folder.glob(prefix + "*"):
        # Of that name and length there is nothing but what mkdtemp makes below.
        if not _RANDOM.fullmatch(leftover.name.removeprefix(prefix)):
            continue
        with contextlib.suppress(OSError):
            descriptor = os.open(leftover, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
            try:
                if os.fstat(descriptor).st_uid == os.geteuid():
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    remove(leftover)
            finally:
                os.close(descriptor)


@contextmanager
def _working_folder(parent: Path, prefix: str) -> Iterator[Path]:
    """Make a folder that this process keeps locked until it has removed it."""
    remove_leftovers(parent, prefix)
    while True:
        folder = Path(tempfile.mkdtemp(prefix=prefix, dir=parent))
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        # Between the two, another process may have taken it for a leftover.
        if os.fstat(descriptor).st_nlink:
            break
        os.close(descriptor)
    try:
        with held_by_children(descriptor):
            yield folder
    finally:
        remove(folder)
        os.close(descriptor)


@contextmanager
def held_by_children(descriptor: int) -> Iterator[None]:
    """Let the programs that are run in a block hold a lock too, should they outlive this process.

    Args:
        descriptor: Of the locked file.
    """
    # A high number: mmdebstrap hands the numbers of its own descriptors to a shell that knows
    # only those of one digit.
    inherited = fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, _FIRST_INHERITED)
    _INHERITED.add(inherited)
    try:
        yield
    finally:
        _INHERITED.discard(inherited)
        os.close(inherited)


def inherited() -> tuple[int, ...]:
    """Return the descriptors of the locks that a program which is run now has to hold."""
    return tuple(_INHERITED)


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Give the errors of a file its name, which a failed write (a full disk) does not know."""
    try:
        yield
    except OSError as error:
        if error.filename is None and error.errno is not None:
            raise OSError(error.errno, error.strerror, str(path)) from error
        raise


def _is_stream(path: Path) -> bool:
    """Return whether an output is written to rather than replaced.

    Raises:
        InputError: It is neither.
    """
    mode = _mode(path)
    if mode is None or stat.S_ISREG(mode):
        return path in _STREAMS or path.parent in _DESCRIPTORS
    if stat.S_ISCHR(mode) or stat.S_ISFIFO(mode):
        return True
    raise _refused(path, mode)


def _mode(path: Path) -> int | None:
    """Return type and mode of the target of a path; None if it does not exist."""
    try:
        return path.stat().st_mode
    except FileNotFoundError:
        return None


def _refused(path: Path, mode: int) -> InputError:
    what = _WHAT.get(stat.S_IFMT(mode), "a file of another kind")
    return InputError(f"{path}: not written, because it is {what}", hint="name another file")
