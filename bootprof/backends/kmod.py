"""The kernel module (``kmod/``), loaded in the initrd."""

from __future__ import annotations

from functools import partial

from bootprof.backends import Backend
from bootprof.backends.recorded import read_rich

BACKEND = Backend(
    name="kmod",
    summary="kernel module: opens, executions, mappings, first read of each page range, faults; "
    "needs a module built for the image's kernel",
    starts="the first process of the boot, before the root is mounted",
    agent="kmod",
    read=partial(read_rich, name="events"),
)
