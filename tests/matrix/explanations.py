"""Why a recorder misses what it misses; checked by hand against what the boots left behind."""

from __future__ import annotations

from typing import Final

# Recorder, part of the workload ("" for any), and what is wrong: missed, invented or order.
EXPLANATIONS: Final = {
    ("ebpf", "bind", "invented"): "these are `cache` events. The page cache knows the inode of the "
    "squashfs, which has no mount point in its name. Under the mount point the files are listed, "
    "too; for a sort file these names are the useful ones",
}


def explanation(recorder: str, part: str, kind: str) -> str:
    """Return why a figure is below 1, or that nobody knows yet."""
    for key in ((recorder, part, kind), (recorder, "", kind)):
        if key in EXPLANATIONS:
            return EXPLANATIONS[key]
    return "not explained"
