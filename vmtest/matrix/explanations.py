"""Why a recorder misses what it misses; checked by hand against what the boots left behind."""

from __future__ import annotations

from typing import Final

MISSED: Final = "missed"
LISTED: Final = "listed but not accessed"
ORDER: Final = "out of order"

_NAMES_OF_IMAGE = (
    "what comes from the image has the name that it has there, which knows of no mount point; for "
    "a sort file that is the useful one"
)
_NEVER_READ = "in memory, emptied, or opened without being read: nothing of it came from the medium"
_NEIGHBOURS = (
    "neighbours on the image that the kernel read ahead. On 7.2 it reads ahead so far that nearly "
    "all of this small image came"
)
_TOO_SOON = (
    "a file system is watched once the recorder has noticed the mount; these files are touched "
    "within a millisecond of it, so chance decides"
)
_BY_FIRST_NAME = (
    "a watch belongs to a directory, whatever mount it is reached through: the name is that of the "
    "place where the recorder found it"
)

# Backends that see blocks; part of the workload ("" for any), and what is wrong.
_BLOCKS: Final = {
    ("calls", MISSED): _NEVER_READ,
    ("links", MISSED): "two names of one file, which blocks do not tell apart",
    ("bind", MISSED): _NAMES_OF_IMAGE,
    ("bind", LISTED): _NAMES_OF_IMAGE + "; and neighbours that were read ahead",
    (
        "overlay",
        MISSED,
    ): "one is in memory alone, the other was read by the name that it has on the image",
    ("unread", MISSED): _NEVER_READ,
    ("32bit", MISSED): _NEVER_READ,
    ("tmpfs", MISSED): _NEVER_READ,
    ("handle", MISSED): _NEVER_READ,
    ("storm", MISSED): "opened without being read. Those that are listed share a page of a "
    "fragment block with a file that was read",
    ("", LISTED): _NEIGHBOURS,
    ("", ORDER): "a piece has the time of the first read that brought any of it. The tail of a "
    "file shares a fragment block, and the edge of a block shares a page, with files that may have "
    "been read before; and what is read ahead comes in the order of the image",
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
    """Return why a figure is below 1, or that nobody knows yet."""
    for key in ((recorder, part, kind), (recorder, "", kind)):
        if key in EXPLANATIONS:
            return EXPLANATIONS[key]
    return "not explained"
