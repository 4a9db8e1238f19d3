# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""The BPF tracer (``ebpf/``), started in the initrd."""

from __future__ import annotations

from functools import partial

from bootprof.backends import Backend
from bootprof.backends.recorded import read_recorded

BACKEND = Backend(
    name="ebpf",
    summary="opens, executions, mappings, and what enters the page cache",
    starts="the first process, before the root is mounted",
    needs="a profiling image and a kernel with BTF (Debian: 5.10 and newer)",
    blind_to="reads of pages that are cached already; reads by the boot loader",
    agent="ebpf",
    recorded=("ebpf.events",),
    recorded_events="ebpf.events",
    read=partial(read_recorded, name="ebpf.events"),
)
