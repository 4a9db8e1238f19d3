# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""What one root tree changes of another: the content of a layer that is mounted on top of it.

The boot of a live system joins the layers with overlayfs (Linux, Documentation/filesystems/
overlayfs.rst): a folder adds to the one below, any other entry hides it, and a character device
with the number 0 (a whiteout) removes it.
"""

from __future__ import annotations

import stat
from dataclasses import replace
from pathlib import Path

from bootprof.builder import overlay
from bootprof.builder.overlay import Entry, Overlay
from bootprof.builder.roottree import Attributes
from bootprof.files import file_digest


def between(below: Path, above: Path, epoch: int) -> Overlay:
    """Return what has to be laid over one root tree to get another.

    Args:
        below: The lower tree.
        above: The tree that the two layers shall give. Both have no time after the epoch.
        epoch: In seconds since 1970. The contents of files of this time are compared, because it
            says nothing about them.
    """
    old = {entry.path: entry for entry in overlay.scan(below).entries}
    new = {entry.path: entry for entry in overlay.scan(above).entries}

    def same(entry: Entry) -> bool:
        if old.get(entry.path) != entry:
            return False
        if entry.type != stat.S_IFREG or (entry.attributes.mtime_ns or 0) < epoch * 10**9:
            return True
        return file_digest(below / entry.path) == file_digest(above / entry.path)

    wanted = {path for path, entry in new.items() if not same(entry)}
    gone = {path for path in old if path not in new and is_folder(new, parent(path))}
    # Below what is no folder in the lower tree, everything is new: nothing of it is in `old`.
    needed = {above for path in wanted | gone for above in parents(path)}
    entries = [
        # The first name of a file with several may be in the lower layer only.
        replace(entry, hard_link=entry.hard_link if entry.hard_link in wanted else "")
        for path, entry in new.items()
        if path in wanted or path in needed
    ]
    whiteouts = [
        Entry(path, stat.S_IFCHR, Attributes(0, (0, 0), epoch * 10**9)) for path in sorted(gone)
    ]
    return Overlay(above, (*entries, *whiteouts))


def is_folder(entries: dict[str, Entry], path: str) -> bool:
    """Return whether a path is a folder of a tree; the tree itself has an empty path."""
    return not path or (path in entries and entries[path].type == stat.S_IFDIR)


def parent(path: str) -> str:
    """Return the folder of a path."""
    return path.rpartition("/")[0]


def parents(path: str) -> list[str]:
    """Return the folders that a path is in."""
    parts = path.split("/")
    return ["/".join(parts[:count]) for count in range(1, len(parts))]
