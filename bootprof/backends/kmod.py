# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""The kernel module (``kmod/``), loaded in the initrd."""

from __future__ import annotations

from functools import partial

from bootprof.backends import Backend
from bootprof.backends.recorded import read_recorded

BACKEND = Backend(
    name="kmod",
    summary="opens, executions, mappings, the first read of each range of pages, page faults",
    starts="the first process, before the root is mounted",
    needs="a profiling image and a kernel that accepts our module",
    blind_to="reads by the boot loader, and of file system tables",
    agent="kmod",
    recorded=("stats", "bootlog.list", "events"),
    recorded_events="events",
    read=partial(read_recorded, name="events"),
)
