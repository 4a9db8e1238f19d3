# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""Reading and writing inside a root tree; no path leads out of it.

A root tree is not trusted, and contains absolute links that refer to the tree (a Debian system has
more than 80, for example ``etc/localtime``). The builder reads, writes and removes entries of a
tree only through this module. The kernel resolves each path as if the tree were the root of the
file system: an absolute link starts at its top, ``..`` stops there, and mounts in the tree cannot
be reached. This needs no privileges.

Paths are relative to the tree; a leading slash is ignored. Links are followed in the folders of a
path but not in its last component, unless a function states otherwise.

Source: openat2(2), RESOLVE_IN_ROOT, since Linux 5.6.
"""

# ruff: noqa: PTH101, PTH115, PTH116, PTH123, PTH208
# Works with descriptors and names relative to them, which pathlib has no calls for.
from __future__ import annotations

import contextlib
import errno
import fnmatch
import os
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bootprof.errors import InputError
from bootprof.openat import RESOLVE_IN_ROOT, openat2, remove_entry


@dataclass(frozen=True)
class Attributes:
    """Attributes of an entry: all but its name and content.

    Attributes:
        mode: Permission bits (not those of a link, which has none of its own).
        owner: User and group, as numbers.
        mtime_ns: Time of the last change, in nanoseconds since 1970; None to leave it.
        xattrs: Extended attributes.
    """

    mode: int
    owner: tuple[int, int]
    mtime_ns: int | None
    xattrs: tuple[tuple[str, bytes], ...] = ()


@dataclass(frozen=True)
class RootTree:
    """An open root tree.

    Attributes:
        path: Where it is on the host, for messages.
        descriptor: Of its topmost folder.
    """

    path: Path
    descriptor: int

    def error(self, path: str, what: str) -> InputError:
        """Return an error that names an entry of the tree."""
        return InputError(f"{self.path}: {path or '/'}: {what}")

    @contextmanager
    def open(
        self, path: str, flags: int = os.O_PATH, resolve: int = RESOLVE_IN_ROOT
    ) -> Iterator[int]:
        """Open an entry, following links inside the tree, for the length of a block.

        Raises:
            OSError: It cannot be opened; ``filename`` is its path on the host.
        """
        descriptor = openat2(
            self.descriptor, path.lstrip("/") or ".", flags, resolve, self.path / path.lstrip("/")
        )
        try:
            yield descriptor
        finally:
            os.close(descriptor)

    @contextmanager
    def parent(self, path: str) -> Iterator[tuple[int, str]]:
        """Open the folder that holds an entry; yield its descriptor, and the entry's name in it."""
        folder, _, name = path.strip("/").rpartition("/")
        if name in ("", ".", ".."):
            raise self.error(path, "not the path of an entry")
        try:
            with self.open(folder, os.O_PATH | os.O_DIRECTORY) as descriptor:
                yield descriptor, name
        except OSError as error:
            # Errors of calls relative to a descriptor name the last component or none (full disk).
            raise OSError(error.errno, error.strerror, str(self.path / path.strip("/"))) from error

    def status(self, path: str, *, follow: bool = False) -> os.stat_result | None:
        """Return the status of an entry, or of what it links to; None if there is none."""
        try:
            if follow or not path.strip("/"):
                with self.open(path) as descriptor:
                    return os.stat(descriptor)
            with self.parent(path) as (folder, name):
                return os.stat(name, dir_fd=folder, follow_symlinks=False)
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.EXDEV):
                return None
            raise

    def is_file(self, path: str) -> bool:
        """Return whether a path leads to a regular file of the tree."""
        found = self.status(path, follow=True)
        return found is not None and stat.S_ISREG(found.st_mode)

    def is_folder(self, path: str) -> bool:
        """Return whether a path leads to a folder of the tree."""
        found = self.status(path, follow=True)
        return found is not None and stat.S_ISDIR(found.st_mode)

    def locate(self, path: str) -> Path:
        """Return where the file or folder that a path leads to is on the host, free of links.

        Raises:
            OSError: It leads nowhere.
        """
        with self.open(path) as descriptor:
            return Path(os.readlink(f"/proc/self/fd/{descriptor}"))

    def listing(self, path: str) -> list[str]:
        """Return the sorted names in a folder; none if it is no folder."""
        if not self.is_folder(path):
            return []
        with self.open(path, os.O_RDONLY | os.O_DIRECTORY) as descriptor:
            return sorted(os.listdir(descriptor))

    def glob(self, pattern: str) -> list[str]:
        """Return the sorted paths of the entries that match a shell pattern."""
        found = [""]
        for part in pattern.strip("/").split("/"):
            found = [
                f"{folder}/{name}".lstrip("/")
                for folder in found
                for name in fnmatch.filter(self.listing(folder), part)
            ]
        return found

    def walk(self) -> Iterator[tuple[str, os.stat_result]]:
        """Yield path and status of each entry, a folder before its content; no link is followed."""
        pending = [""]
        while pending:
            above = pending.pop()
            for name in self.listing(above):
                path = f"{above}/{name}" if above else name
                found = self.status(path)
                if found is not None:
                    yield path, found
                    if stat.S_ISDIR(found.st_mode):
                        pending.append(path)

    def read_file(self, path: str) -> bytes:
        """Return the content of a regular file of the tree, following links in it.

        Raises:
            InputError: It is something else, whose content may never end.
        """
        with self.open(path) as descriptor:
            if not stat.S_ISREG(os.stat(descriptor).st_mode):
                raise self.error(path, "not a regular file")
            return Path(f"/proc/self/fd/{descriptor}").read_bytes()

    def write_file(self, path: str, content: bytes | Iterable[bytes], mode: int = 0o644) -> None:
        """Write a file, replacing anything except a folder with content.

        Args:
            path: Where.
            content: What, whole or in parts.
            mode: Permission bits.

        Raises:
            InputError: A folder with content exists there.
        """
        with self._vacated(path) as (folder, name):
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
            descriptor = os.open(name, flags, 0o600, dir_fd=folder)
            with open(descriptor, "wb") as stream:
                for part in [content] if isinstance(content, bytes) else content:
                    stream.write(part)
                os.fchmod(descriptor, mode)

    def rewrite_file(self, path: str, content: bytes) -> None:
        """Rewrite a file, keeping its owner and mode.

        Raises:
            InputError: There is no regular file.
        """
        found = self.status(path)
        if found is None or not stat.S_ISREG(found.st_mode):
            raise self.error(path, "no regular file there")
        self.write_file(path, content)
        mode, owner = stat.S_IMODE(found.st_mode), (found.st_uid, found.st_gid)
        self.set_attributes(path, Attributes(mode, owner, None))

    def empty_file(self, path: str) -> None:
        """Truncate a regular file to 0 bytes, if it exists; keep owner and mode."""
        with contextlib.suppress(FileNotFoundError), self.parent(path) as (folder, name):
            found = os.stat(name, dir_fd=folder, follow_symlinks=False)
            if stat.S_ISREG(found.st_mode):
                flags = os.O_WRONLY | os.O_TRUNC | os.O_NOFOLLOW
                os.close(os.open(name, flags, dir_fd=folder))

    def make_folder(self, path: str) -> None:
        """Make a folder and those that it is in.

        A link to a folder counts as one (``bin`` of a merged ``/usr``); whatever else is in the
        way is replaced.
        """
        parts = path.strip("/").split("/")
        for count in range(1, len(parts) + 1):
            folder = "/".join(parts[:count])
            if not self.is_folder(folder):
                with self._vacated(folder) as (parent, name):
                    os.mkdir(name, dir_fd=parent)
                    # Whatever the user's umask is.
                    os.chmod(name, 0o755, dir_fd=parent)

    def make_link(self, path: str, target: str) -> None:
        """Make a symbolic link, replacing anything except a folder with content."""
        with self._vacated(path) as (folder, name):
            os.symlink(target, name, dir_fd=folder)

    def make_hard_link(self, path: str, existing: str) -> None:
        """Give an entry of the tree one more name."""
        with self.parent(existing) as (source, old), self._vacated(path) as (folder, name):
            os.link(old, name, src_dir_fd=source, dst_dir_fd=folder, follow_symlinks=False)

    def make_node(self, path: str, mode: int, device: int = 0) -> None:
        """Make a FIFO or a device node, replacing what exists.

        Args:
            path: Where.
            mode: Its type (S_IFIFO, S_IFCHR, S_IFBLK).
            device: Number of a device.
        """
        with self._vacated(path) as (folder, name):
            os.mknod(name, mode, device, dir_fd=folder)

    def set_attributes(self, path: str, attributes: Attributes) -> None:
        """Set owner, mode, time and extended attributes of an entry.

        A folder may be reached through links; a link itself is changed, not what it leads to.
        """
        flags = os.O_PATH if self.is_folder(path) else os.O_PATH | os.O_NOFOLLOW
        with self.open(path, flags) as descriptor:
            # Leads to the entry itself, a link or a FIFO among others.
            entry = f"/proc/self/fd/{descriptor}"
            link = stat.S_ISLNK(os.stat(descriptor).st_mode)
            os.chown(entry, *attributes.owner)
            if not link:
                # After the owner: a change of it clears the set-user-ID bit and capabilities.
                os.chmod(entry, attributes.mode)
            for name, value in attributes.xattrs:
                os.setxattr(entry, name, value)
            if attributes.mtime_ns is not None:
                os.utime(entry, ns=(attributes.mtime_ns, attributes.mtime_ns))

    def set_time(self, path: str, mtime_ns: int) -> None:
        """Set the time of the last change of an entry, in nanoseconds since 1970."""
        with self.parent(path) as (folder, name):
            os.utime(name, ns=(mtime_ns, mtime_ns), dir_fd=folder, follow_symlinks=False)

    def remove(self, path: str) -> None:
        """Remove an entry, a folder with all that is in it; nothing if there is none.

        Raises:
            OSError: Something is mounted in it.
        """
        with (
            contextlib.suppress(FileNotFoundError, NotADirectoryError),
            self.parent(path) as (folder, name),
        ):
            remove_entry(folder, name)

    @contextmanager
    def _vacated(self, path: str) -> Iterator[tuple[int, str]]:
        """Make sure that a path has folders above it and nothing there; yield as ``parent``."""
        above = path.strip("/").rpartition("/")[0]
        if above and not self.is_folder(above):
            self.make_folder(above)
        with self.parent(path) as (folder, name):
            with contextlib.suppress(FileNotFoundError):
                try:
                    os.unlink(name, dir_fd=folder)
                except IsADirectoryError:
                    try:
                        os.rmdir(name, dir_fd=folder)
                    except OSError as error:
                        if error.errno != errno.ENOTEMPTY:
                            raise
                        raise self.error(path, "a folder with content is in the way") from None
            yield folder, name


@contextmanager
def open_tree(path: Path) -> Iterator[RootTree]:
    """Open a root tree for the length of a block.

    Raises:
        UnsupportedError: The kernel is older than Linux 5.6.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield RootTree(path, descriptor)
    finally:
        os.close(descriptor)
