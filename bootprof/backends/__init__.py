# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""Backends, which obtain a bootlog: one module each, and the protocol that all of them follow.

A backend is a module of this package, named like the backend, whose ``BACKEND`` states its facts
(what it sees, what it needs, which files it records) and turns what was recorded into a
:class:`~optimizer.formats.events.Bootlog`. The recording itself is made elsewhere: by a program in
the guest (``agent`` names it to the guest's agent), by the server of the image (the block trace),
or by another tool, whose file is imported (:mod:`bootprof.imports`).

The facts have one owner: ``bootprof profile --help``, the tables of docs/backends.md and the names
that a guest may send are made from them, or tested against them.

To add a backend: write ``bootprof/backends/NAME.py`` with a ``BACKEND``, and add NAME to
:data:`RECORDERS`; docs/backends.md walks through one.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

from bootprof.errors import InputError

if TYPE_CHECKING:
    from optimizer.formats.blocktrace import BlockTrace
    from optimizer.formats.events import Bootlog

# From the one that sees most to the one that needs least.
RECORDERS: Final = (
    "kmod",
    "ebpf",
    "fanotify",
    "inotify",
    "tracepoints",
    "block_dump",
    "cmdline",
    "block",
)
"""Backends that can record a boot of an image."""
AUTOMATIC: Final = ("kmod", "ebpf", "fanotify", "inotify")
"""What the agent tries for ``auto``, in this order."""
NOTHING: Final = "none"
"""What the agent receives if nothing shall run in the guest."""


@dataclass(frozen=True)
class Recording:
    """A recording, before it is turned into a bootlog.

    Attributes:
        files: Recorded files by the name under which the agent sends them (``fanotify.events``).
        image: The image that was booted, to map blocks to files; None if it is not available.
        block_trace: The reads of the medium, if the image was served by us.
    """

    files: Mapping[str, Path] = field(default_factory=dict)
    image: Path | None = None
    block_trace: BlockTrace | None = None


@dataclass(frozen=True)
class Backend:
    """A backend: how to obtain a bootlog.

    Attributes:
        name: Its name on the command line; its module has the same.
        summary: What it records, on one line, without a full stop.
        starts: From what moment on it sees a boot, on one line.
        agent: Name of what the agent in the guest starts; :data:`NOTHING` if nothing runs in the
            guest.
        read: Turns a recording into a bootlog. Raises FormatError where the recording is damaged,
            InputError where something that it needs is missing.
        needs: What guest and image must provide, on one line.
        blind_to: What it cannot see, on one line.
        recorded: Names of the files that the agent sends for it, or that the host takes from the
            serial port. No other name is accepted from the guest.
        recorded_events: The one of ``recorded`` that is a bootlog in ``events`` format, if any.
        kernel_options: What it needs on the kernel's command line, if anything; the boot then has
            to be one whose command line is known, and its ``recorded`` file is the kernel's trace
            ring.
    """

    name: str
    summary: str
    starts: str
    agent: str
    read: Callable[[Recording], Bootlog]
    needs: str
    blind_to: str
    recorded: tuple[str, ...] = ()
    recorded_events: str | None = None
    kernel_options: str = ""


def load(name: str) -> Backend:
    """Return a backend by its name.

    Raises:
        InputError: There is none of this name.
    """
    if name not in RECORDERS:
        raise InputError(f"unknown backend {name!r}", hint="known: " + ", ".join(RECORDERS))
    backend: Backend = importlib.import_module(f"{__name__}.{name}").BACKEND
    return backend
