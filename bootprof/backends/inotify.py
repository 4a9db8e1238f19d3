"""Watches on directories (``bootprof/guest/watch/``), set in the initrd as they appear."""

from __future__ import annotations

from functools import partial

from bootprof.backends import Backend
from bootprof.backends.recorded import read_rich

BACKEND = Backend(
    name="inotify",
    summary="inotify: opens, without their processes; needs nothing but any kernel's inotify",
    starts="the first process of the boot; each file system once all its directories are watched",
    agent="inotify",
    read=partial(read_rich, name="inotify.events"),
)
