# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""Marks on file systems (``bootprof/guest/watch/``), set in the initrd as they are mounted."""

from __future__ import annotations

from functools import partial

from bootprof.backends import Backend
from bootprof.backends.recorded import read_recorded

BACKEND = Backend(
    name="fanotify",
    summary="opens and executions on each mounted file system",
    starts="the first process; each file system from a moment after it is mounted",
    needs="a profiling image and a kernel with fanotify",
    blind_to="what is opened right after a mount; mappings; which part of a file is read",
    agent="fanotify",
    recorded=("fanotify.events",),
    recorded_events="fanotify.events",
    read=partial(read_recorded, name="fanotify.events"),
)
