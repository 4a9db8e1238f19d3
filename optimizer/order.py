# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""From the paths that a boot accessed to the files to place, in the order of first access."""

from __future__ import annotations

import errno
import os
import re
import stat
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from optimizer.errors import InputError
from optimizer.kernel import LINK_LIMIT, MISSING

DEFAULT_EXCLUDES: Final = (b"/dev", b"/proc", b"/sys", b"/live/distrib")
"""What the live-system builder of 2007 left out: no file below is on the image."""

IMAGE_EXCLUDES: Final = (
    *DEFAULT_EXCLUDES,
    *(b"/run", b"/tmp", b"/var/run", b"/var/lock", b"/cdrom"),
    *(b"/lib/live/mount", b"/usr/lib/live/mount"),
)
"""Folders of a running system without files of its root image: made up by the kernel, kept in
memory, and where live systems mount their medium."""

PSEUDO_FILE_SYSTEMS: Final = frozenset(
    b"anon_inodefs autofs bdev binder binfmt_misc bpf cgroup cgroup2 configfs cpuset debugfs devpts"
    b" devtmpfs dmabuf efivarfs fusectl hugetlbfs mqueue nfsd nsfs pidfs pipefs proc pstore ramfs"
    b" rootfs rpc_pipefs secretmem securityfs selinuxfs smackfs sockfs sysfs tmpfs tracefs".split()
)
"""File systems that are not part of an image, by their names in the kernel: in memory, or the
kernel makes them up. ``rootfs`` is the initramfs."""

NOT_ON_IMAGE: Final = PSEUDO_FILE_SYSTEMS | {b"iso9660", b"udf"}
"""File systems that are not part of the root image: also the medium that it is on."""

# PATH_MAX of the kernel.
_PATH_LIMIT_BYTES = 4096

# What normalise() changes, in one path or in many with a NUL between them.
_UNTIDY = re.compile(rb"/(?:\.\.?)?(?:[/\0]|\Z)")

Excluded = Callable[[bytes], object]


@dataclass(frozen=True)
class Arrangement:
    """The files to place, and what became of the other paths.

    Attributes:
        paths: Absolute paths without ``.``, ``..`` and doubled slashes, each one once, in the order
            of first access; with a root, none of their components is a symbolic link.
        read: Number of distinct paths that came in.
        excluded: Number of those below an excluded path.
        not_absolute: Number of those that do not start with a slash (``pipe:[4711]``).
        missing: Number of those that are not in the root.
        unreadable: Number of those in a directory of the root that may not be entered.
        not_regular: Number of those that are directories, devices, sockets or pipes.
        directories: Number of those that are directories by their names alone: ``/``, a slash at
            the end, or another path below. Only without a root, which shows all of them.
        repeated: Number of those that are one more name of a file that is listed already.
    """

    paths: list[bytes]
    read: int
    excluded: int = 0
    not_absolute: int = 0
    missing: int = 0
    unreadable: int = 0
    not_regular: int = 0
    repeated: int = 0
    directories: int = 0


def arrange(
    paths: Iterable[bytes],
    *,
    excluded: Excluded,
    root: Path | None = None,
    hard_links_once: bool = False,
) -> Arrangement:
    """Put files in the order of first access.

    Args:
        paths: Absolute paths in the order of access, repeats allowed.
        excluded: Returns whether to leave out a path; see :func:`compile_excludes`. With a
            root it is asked twice, for the path as it came in and for what it resolves to.
        root: Directory that holds the files of the image. If given, symbolic links are resolved
            in it, as a process would find them whose root directory it is, and what is no
            regular file there is left out. Links never lead outside. Without a root, ``..`` removes
            the component before it, and only those directories that are recognizable by name are
            left out (mksquashfs would give the priority of a directory to everything below it).
        hard_links_once: Count hard links as one file. Needs a root.

    Raises:
        InputError: The root is not a directory.
        OSError: The root cannot be read (an I/O error, not a matter of permissions).
    """
    distinct = dict.fromkeys(paths)
    absolute = [path for path in distinct if path.startswith(b"/")]
    not_absolute = len(distinct) - len(absolute)
    if root is not None:
        return _arrange_in_root(
            absolute, len(distinct), not_absolute, excluded, Resolver(root), hard_links_once
        )
    # To look at all paths at once takes half the time of one at a time, and mostly all are tidy.
    tidy = absolute
    named_directories: set[bytes] = set()
    if _UNTIDY.search(b"\0".join(absolute)):
        tidy = [normalise(path) for path in absolute]
        named_directories = {
            path
            for path, given in zip(tidy, absolute, strict=True)
            if given.endswith((b"/", b"/.", b"/.."))
        }
    kept = [path for path in tidy if not excluded(path)]
    above = _directories_above(kept) | named_directories | {b"/"}
    files = [path for path in kept if path not in above]
    unique = files if tidy is absolute else list(dict.fromkeys(files))
    return Arrangement(
        paths=unique,
        read=len(distinct),
        excluded=len(tidy) - len(kept),
        not_absolute=not_absolute,
        directories=len(kept) - len(files),
        repeated=len(files) - len(unique),
    )


def _directories_above(paths: Iterable[bytes]) -> set[bytes]:
    """Return the directories of the paths, at every depth."""
    # There are many files in few directories: this loop over all paths must be fast.
    direct = {path[: path.rfind(b"/")] for path in paths}
    found: set[bytes] = set()
    for parent in direct:
        while parent and parent not in found:
            found.add(parent)
            parent = parent[: parent.rfind(b"/")]
    return found


def _arrange_in_root(
    paths: list[bytes],
    read: int,
    not_absolute: int,
    excluded: Excluded,
    resolver: Resolver,
    hard_links_once: bool,
) -> Arrangement:
    left_out = missing = unreadable = not_regular = repeated = 0
    found: dict[bytes, None] = {}
    inodes: set[tuple[int, int]] = set()
    for path in paths:
        if excluded(normalise(path) if _UNTIDY.search(path) else path):
            left_out += 1
            continue
        try:
            resolved, status = resolver.resolve(path)
        except OSError as error:
            if error.errno in MISSING:
                missing += 1
            elif error.errno in (errno.EACCES, errno.EPERM):
                unreadable += 1
            else:
                raise
            continue
        if not stat.S_ISREG(status.st_mode):
            not_regular += 1
            continue
        if resolved in found:
            repeated += 1
            continue
        if resolved != path and excluded(resolved):
            left_out += 1
            continue
        if hard_links_once and status.st_nlink > 1:
            inode = (status.st_dev, status.st_ino)
            if inode in inodes:
                repeated += 1
                continue
            inodes.add(inode)
        found[resolved] = None
    return Arrangement(
        paths=list(found),
        read=read,
        excluded=left_out,
        not_absolute=not_absolute,
        missing=missing,
        unreadable=unreadable,
        not_regular=not_regular,
        repeated=repeated,
    )


def normalise(path: bytes) -> bytes:
    """Take ``.``, ``..`` and doubled slashes out of an absolute path, by its text alone.

    ``..`` at the top stays at the top, as in the kernel.
    """
    components: list[bytes] = []
    for component in path.split(b"/"):
        if component == b"..":
            if components:
                components.pop()
        elif component not in (b"", b"."):
            components.append(component)
    return b"/" + b"/".join(components)


class Resolver:
    """Finds the files that paths lead to when a directory is taken for the root directory.

    Directories are remembered, so that a path costs one ``lstat`` once its directory is known.
    The tree must not change meanwhile.
    """

    def __init__(self, root: Path) -> None:
        """Take a directory for the root directory.

        Raises:
            InputError: It is not a directory.
        """
        if not root.is_dir():
            raise InputError(
                f"{root}: the root is not a directory",
                hint="give the directory that the image is made of",
            )
        # The empty name stands for the root in all paths below, here for "/" itself too.
        self._root = os.fsencode(root.resolve()).rstrip(b"/")
        # The resolved directory, or the number of the error that looking for it gave.
        self._directories: dict[bytes, bytes | int] = {}

    def resolve(self, path: bytes) -> tuple[bytes, os.stat_result]:
        """Resolve every symbolic link in a path, including the last component.

        Args:
            path: Absolute path; may hold ``.``, ``..`` and doubled slashes.

        Returns:
            The path below the root, absolute from there, and the status of that file.

        Raises:
            OSError: Nothing exists there (ENOENT, ENOTDIR, ELOOP, ENAMETOOLONG), or a directory on
                the path may not be entered (EACCES).
        """
        if len(path) >= _PATH_LIMIT_BYTES:
            raise OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG), path)
        parent, _, name = path.rpartition(b"/")
        if name in (b"", b".", b".."):
            return self._status(self._walk(b"", path))
        directory = self._directories.get(parent)
        if directory is None:
            try:
                directory = self._walk(b"", parent)
            except OSError as error:
                directory = error.errno or errno.EIO
            self._directories[parent] = directory
        if isinstance(directory, int):
            raise OSError(directory, os.strerror(directory), self._root + path)
        found, status = self._status(directory + b"/" + name)
        if stat.S_ISLNK(status.st_mode):
            return self._status(self._walk(directory, name))
        return found, status

    def _status(self, path: bytes) -> tuple[bytes, os.stat_result]:
        return path or b"/", os.lstat(self._root + (path or b"/"))

    def _walk(self, start: bytes, path: bytes) -> bytes:
        """Follow a path from a resolved directory; never recurses, never leaves the root."""
        current = start
        pending = path.split(b"/")[::-1]
        links = 0
        while pending:
            name = pending.pop()
            if name in (b"", b"."):
                continue
            if name == b"..":
                current = current.rpartition(b"/")[0]
                continue
            candidate = current + b"/" + name
            mode = os.lstat(self._root + candidate).st_mode
            if not stat.S_ISLNK(mode):
                if pending and not stat.S_ISDIR(mode):
                    raise OSError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), path)
                current = candidate
                continue
            links += 1
            if links > LINK_LIMIT:
                raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)
            target = os.readlink(self._root + candidate)  # noqa: PTH115 - pathlib has no bytes
            if target.startswith(b"/"):
                current = b""
            pending += target.split(b"/")[::-1]
        return current


def compile_excludes(patterns: Sequence[bytes]) -> Excluded:
    """Make the test for paths that are to be left out.

    A pattern leaves out what it matches and everything below, and always matches whole path
    components: ``/sys`` matches ``/sys`` and ``/sys/kernel``, never ``/sysroot``. A pattern that
    starts with a slash is matched from the root, any other one at every depth (``__pycache__``,
    ``*.pyc``). ``*`` and ``?`` match anything but a slash, ``[a-z]`` and ``[!a-z]`` one character
    but a slash, ``**`` anything; a backslash takes the special meaning from the character behind
    it. A character is one byte.

    Args:
        patterns: The patterns; none of them is fine.

    Raises:
        InputError: A pattern is empty, or a range in it runs backwards.
    """
    alternatives = []
    for pattern in patterns:
        if not pattern:
            raise InputError("--exclude: empty pattern", hint="omit the option")
        prefix = b"" if pattern.startswith(b"/") else b"/(?:.*/)?"
        expression = prefix + _translate(re.sub(rb"/+", b"/", pattern).removesuffix(b"/"))
        try:
            re.compile(expression)
        except re.error as error:
            raise InputError(
                f"--exclude {os.fsdecode(pattern)}: {error.msg}",
                hint="put a backslash in front of a literal special character",
            ) from None
        alternatives.append(expression)
    if not alternatives:
        return lambda path: None
    whole = b"(?:" + b"|".join(alternatives) + rb")(?:/|\Z)"
    return re.compile(whole, re.DOTALL).match


_GLOB = re.compile(
    rb"(?P<tree>/\*\*(?=/))|(?P<any>\*\*+)|(?P<many>\*)|(?P<one>\?)"
    rb"|\[(?P<not>[!^]?)(?P<set>\]?[^]]*)\]|\\(?P<literal>.)",
    re.DOTALL,
)


def _translate(pattern: bytes) -> bytes:
    """Translate a glob pattern to a regular expression."""
    parts = []
    position = 0
    for found in _GLOB.finditer(pattern):
        parts.append(re.escape(pattern[position : found.start()]))
        position = found.end()
        if found["tree"]:
            parts.append(b"(?:/.*)?")
        elif found["any"]:
            parts.append(b".*")
        elif found["many"]:
            parts.append(b"[^/]*")
        elif found["one"]:
            parts.append(b"[^/]")
        elif found["set"]:
            negation = b"^" if found["not"] else b""
            members = re.sub(rb"([\\\[\]^&~|]|(?<=-)-)", rb"\\\1", found["set"])
            parts.append(b"(?!/)[" + negation + members + b"]")
        elif found["literal"]:
            parts.append(re.escape(found["literal"]))
        else:
            parts.append(re.escape(found[0]))
    parts.append(re.escape(pattern[position:]))
    return b"".join(parts)
