# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""The user's files (``system.files``) that are copied over a root tree.

The folder is scanned before anything is bootstrapped, so that entries that cannot be copied are
refused early. The digest covers everything that affects the image: content, type, mode, owner,
target of a link, extended attributes, time of the last change.
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from bootprof.builder.roottree import Attributes, RootTree
from bootprof.errors import InputError

PART_BYTES = 1 << 20
# The labels of the build host's security policy are meaningless in the image.
HOST_XATTRS = ("security.selinux", "security.ima", "security.evm")
NODES = (stat.S_IFIFO, stat.S_IFCHR, stat.S_IFBLK)


@dataclass(frozen=True)
class Entry:
    """One entry of the folder.

    Attributes:
        path: Its path relative to the folder.
        type: Its type, as S_IFMT of its mode.
        attributes: Mode, owner, time and extended attributes.
        size_bytes: Size of a file.
        target: Target of a link.
        device: Number of a device node.
        hard_link: Path of the entry before it that it is another name of, or empty.
    """

    path: str
    type: int
    attributes: Attributes
    size_bytes: int = 0
    target: str = ""
    device: int = 0
    hard_link: str = ""


@dataclass(frozen=True)
class Overlay:
    """A folder that is copied over a root tree.

    Attributes:
        folder: The folder.
        entries: Its entries, each folder before its contents.
    """

    folder: Path
    entries: tuple[Entry, ...]

    def digest(self) -> str:
        """Return a digest of all that comes out in an image, in hexadecimal."""
        state = hashlib.sha256()
        for entry in self.entries:
            state.update(repr(entry).encode())
            if entry.type == stat.S_IFREG and not entry.hard_link:
                for part in content(self.folder, entry):
                    state.update(part)
        return state.hexdigest()


def scan(
    folder: Path, owners: Literal["source", "root"] = "source", *, key: str = "system.files"
) -> Overlay:
    """Look through a folder that is to be copied over a root tree.

    Args:
        folder: The folder; its own mode and owner do not count.
        owners: Whether the copies belong to whom the sources belong to, or all to root.
        key: Key of the configuration that names the folder.

    Raises:
        InputError: It is not a folder, or contains an entry that cannot be copied.
        OSError: A part of it cannot be read.
    """
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder", hint=f"check {key}")
    names: dict[tuple[int, int], str] = {}
    entries = []
    pending = [""]
    while pending:
        above = pending.pop()
        for source in sorted((folder / above).iterdir()):
            path = str(source.relative_to(folder))
            entry, identity = examine(folder, path, key)
            if owners == "root":
                entry = replace(entry, attributes=replace(entry.attributes, owner=(0, 0)))
            if entry.type == stat.S_IFDIR:
                pending.append(path)
            elif identity in names:
                entry = replace(entry, hard_link=names[identity])
            else:
                names[identity] = path
            entries.append(entry)
    return Overlay(folder, tuple(entries))


def examine(folder: Path, path: str, key: str) -> tuple[Entry, tuple[int, int]]:
    """Return an entry of a folder, and the device and inode that identify hard links."""
    source = folder / path
    status = source.lstat()
    kind = stat.S_IFMT(status.st_mode)
    if kind not in (stat.S_IFREG, stat.S_IFDIR, stat.S_IFLNK, *NODES):
        raise InputError(
            f"{source}: a socket cannot be copied into an image", hint=f"remove it from {key}"
        )
    if kind in (stat.S_IFCHR, stat.S_IFBLK) and os.geteuid() != 0:
        raise InputError(f"{source}: only root can copy a device node")
    xattrs = tuple(
        (name, os.getxattr(source, name, follow_symlinks=False))
        for name in names_of_xattrs(source)
        if name not in HOST_XATTRS
    )
    mode = 0 if kind == stat.S_IFLNK else stat.S_IMODE(status.st_mode)
    # The time of a folder changes with every editor that saves a file in it.
    mtime_ns = None if kind == stat.S_IFDIR else status.st_mtime_ns
    entry = Entry(
        path,
        kind,
        Attributes(mode, (status.st_uid, status.st_gid), mtime_ns, xattrs),
        size_bytes=status.st_size if kind == stat.S_IFREG else 0,
        target=str(source.readlink()) if kind == stat.S_IFLNK else "",
        device=status.st_rdev if kind in NODES else 0,
    )
    return entry, (status.st_dev, status.st_ino)


def names_of_xattrs(source: Path) -> list[str]:
    """Return the sorted names of the extended attributes of an entry.

    There are none on a file system that does not know them, such as a squashfs without any.
    """
    try:
        return sorted(os.listxattr(source, follow_symlinks=False))
    except OSError as error:
        if error.errno != errno.ENOTSUP:
            raise
        return []


def content(folder: Path, entry: Entry) -> Iterator[bytes]:
    """Read a file of the folder in parts, no more of it than there was when it was looked at.

    Raises:
        InputError: It is no regular file any more.
    """
    source = folder / entry.path
    # Not blocking: a FIFO in its place would wait for a writer without limit.
    descriptor = os.open(source, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    with os.fdopen(descriptor, "rb") as stream:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise InputError(f"{source}: changed while it was copied")
        left = entry.size_bytes
        while left and (part := stream.read(min(left, PART_BYTES))):
            left -= len(part)
            yield part


def apply(overlay: Overlay, tree: RootTree) -> None:
    """Copy a folder over a root tree.

    A folder over a folder, or over a link to one, adds to it; any other entry replaces what is
    there.

    Raises:
        InputError: A file would replace a folder with content.
        OSError: The root's file system lacks something, as extended attributes.
    """
    for entry in overlay.entries:
        if entry.hard_link:
            tree.make_hard_link(entry.path, entry.hard_link)
        elif entry.type == stat.S_IFDIR:
            tree.make_folder(entry.path)
        elif entry.type == stat.S_IFREG:
            tree.write_file(entry.path, content(overlay.folder, entry))
        elif entry.type == stat.S_IFLNK:
            tree.make_link(entry.path, entry.target)
        else:
            tree.make_node(entry.path, entry.type, entry.device)
        if not entry.hard_link and entry.type != stat.S_IFDIR:
            tree.set_attributes(entry.path, entry.attributes)
    # Folders last, the inner ones first: a copy changes a folder's time, and may need its mode.
    for entry in reversed(overlay.entries):
        if entry.type == stat.S_IFDIR:
            tree.set_attributes(entry.path, entry.attributes)
