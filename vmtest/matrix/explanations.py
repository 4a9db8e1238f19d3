# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""Explanations of each figure below 1; checked by hand against the recordings of the boots."""

from __future__ import annotations

from typing import Final

MISSED: Final = "missed"
LISTED: Final = "listed but not accessed"
ORDER: Final = "out of order"

_NAMES_OF_IMAGE = (
    "files from the image have their path on the image, without the mount point, which is the path "
    "that a sort file needs"
)
_NEVER_READ = "in memory, emptied, or opened without being read: nothing was read from the medium"
_NEIGHBOURS = (
    "neighbours on the image that the kernel read ahead; on 7.2 it read ahead nearly all of this "
    "small image"
)
_TOO_SOON = (
    "the recorder watches a file system only after it has noticed the mount; these files are "
    "touched within a millisecond of it, so the result is random"
)
_BY_FIRST_NAME = (
    "a watch belongs to a directory and not to a mount: the path is the one where the recorder "
    "found the directory"
)

# Backends that see blocks; part of the workload ("" for any), and what is wrong.
_BLOCKS: Final = {
    ("calls", MISSED): _NEVER_READ,
    ("links", MISSED): "two names of one file, which blocks do not distinguish",
    ("bind", MISSED): _NAMES_OF_IMAGE,
    ("bind", LISTED): _NAMES_OF_IMAGE + "; also neighbours that were read ahead",
    (
        "overlay",
        MISSED,
    ): "one is only in memory, the other was read under its path on the image",
    ("unread", MISSED): _NEVER_READ,
    ("32bit", MISSED): _NEVER_READ,
    ("tmpfs", MISSED): _NEVER_READ,
    ("handle", MISSED): _NEVER_READ,
    ("storm", MISSED): "opened without being read; the listed ones share a page of a fragment "
    "block with a file that was read",
    ("", LISTED): _NEIGHBOURS,
    ("", ORDER): "a block has the time of the first read of any part of it. Tails share fragment "
    "blocks, and edges of blocks share pages, with files that may have been read earlier; and "
    "readahead follows the order of the image",
}

# Recorder, part of the workload ("" for any), and what is wrong.
EXPLANATIONS: Final = {
    ("fanotify", "early", MISSED): _TOO_SOON,
    ("fanotify", "tmpfs", MISSED): _TOO_SOON,
    ("fanotify", "handle", MISSED): _TOO_SOON,
    ("inotify", "early", MISSED): _TOO_SOON,
    ("inotify", "tmpfs", MISSED): _TOO_SOON,
    ("inotify", "tmpfs", ORDER): _TOO_SOON,
    ("inotify", "handle", MISSED): _TOO_SOON,
    ("inotify", "bind", MISSED): _BY_FIRST_NAME,
    ("inotify", "bind", LISTED): _BY_FIRST_NAME,
    ("ebpf", "bind", LISTED): "`cache` events: " + _NAMES_OF_IMAGE,
    **{
        (name, part, kind): text
        for name in ("block", "tracepoints", "block_dump")
        for (part, kind), text in _BLOCKS.items()
    },
}


def explanation(recorder: str, part: str, kind: str) -> str:
    """Return why a figure is below 1, or that it is not explained."""
    for key in ((recorder, part, kind), (recorder, "", kind)):
        if key in EXPLANATIONS:
            return EXPLANATIONS[key]
    return "not explained"
