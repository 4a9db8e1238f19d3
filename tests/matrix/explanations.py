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
_IN_MEMORY = "it is in memory, or was never read: no block of the medium belongs to it"
_NEIGHBOURS = (
    "neighbours on the image that the kernel read ahead. On 7.2 it reads ahead so far that nearly "
    "all of this small image came"
)
_FRAGMENTS = (
    "a few KiB that share one fragment block with all other small files here. The block was read, "
    "but not which of them it was read for, so each has a confidence below the threshold"
)

_TOO_SOON = (
    "a file system is watched once the recorder has noticed the mount; these files are touched "
    "within a millisecond of it, so chance decides"
)
_TEMPORARY = "a file without a name (`O_TMPFILE`), which an overlay has since 6.4, by a made-up one"
_BY_FIRST_NAME = (
    "a watch belongs to a directory, whatever mount it is reached through: the name is that of the "
    "place where the recorder found it"
)

# Backends that see blocks; part of the workload ("" for any), and what is wrong.
_BLOCKS: Final = {
    ("calls", MISSED): _IN_MEMORY,
    ("links", MISSED): "two names of one file, which blocks do not tell apart",
    ("bind", MISSED): _NAMES_OF_IMAGE,
    ("bind", LISTED): _NAMES_OF_IMAGE + "; and neighbours that were read ahead",
    (
        "overlay",
        MISSED,
    ): "one is in memory alone, the other was read by the name that it has on the image",
    ("unread", MISSED): _IN_MEMORY,
    ("exec", MISSED): _FRAGMENTS,
    ("32bit", MISSED): "the file that creat empties is not read; the program is one of those in "
    "the fragment block",
    ("tmpfs", MISSED): _IN_MEMORY,
    ("handle", MISSED): _IN_MEMORY,
    ("storm", MISSED): _IN_MEMORY,
    ("", LISTED): _NEIGHBOURS,
    ("", ORDER): "files come with the neighbours that were read before, so in the order of the "
    "image",
}

# Recorder, part of the workload ("" for any), and what is wrong.
EXPLANATIONS: Final = {
    ("kmod", "handle", MISSED): "in table mode the module replaces the system calls that open by "
    "name; open_by_handle_at is none of these",
    ("fanotify", "early", MISSED): _TOO_SOON,
    ("fanotify", "tmpfs", MISSED): _TOO_SOON,
    ("fanotify", "handle", MISSED): _TOO_SOON,
    ("fanotify", "failed", LISTED): _TEMPORARY,
    ("inotify", "early", MISSED): _TOO_SOON,
    ("inotify", "tmpfs", MISSED): _TOO_SOON,
    ("inotify", "tmpfs", ORDER): _TOO_SOON,
    ("inotify", "handle", MISSED): _TOO_SOON,
    ("inotify", "failed", LISTED): _TEMPORARY,
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
