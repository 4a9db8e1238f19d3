"""The BPF tracer (``ebpf/``), started in the initrd."""

from __future__ import annotations

from functools import partial

from bootprof.backends import Backend
from bootprof.backends.recorded import read_rich

BACKEND = Backend(
    name="ebpf",
    summary="BPF tracer: opens, executions, mappings, and what entered the page cache; "
    "needs a kernel with BTF",
    starts="the first process of the boot, before the root is mounted",
    agent="ebpf",
    read=partial(read_rich, name="ebpf.events"),
)
