# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""Watches on directories (``bootprof/guest/watch/``), set in the initrd as they appear."""

from __future__ import annotations

from functools import partial

from bootprof.backends import Backend
from bootprof.backends.recorded import read_recorded

BACKEND = Backend(
    name="inotify",
    summary="opens in each watched directory, without the process",
    starts="the first process; each directory once it is watched",
    needs="a profiling image and any kernel with inotify",
    blind_to="processes and executions; what is opened before its directory is watched",
    agent="inotify",
    recorded=("inotify.events",),
    recorded_events="inotify.events",
    read=partial(read_recorded, name="inotify.events"),
)
