"""Marks on file systems (``bootprof/guest/watch/``), set in the initrd as they are mounted."""

from __future__ import annotations

from functools import partial

from bootprof.backends import Backend
from bootprof.backends.recorded import read_rich

BACKEND = Backend(
    name="fanotify",
    summary="fanotify: opens and executions on every file system; needs no module and no BTF",
    starts="the first process of the boot; each file system from a moment after it is mounted",
    agent="fanotify",
    read=partial(read_rich, name="fanotify.events"),
)
