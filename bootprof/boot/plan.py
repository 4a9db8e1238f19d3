# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""What records a boot: chosen before it, and settled by what started in the guest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bootprof import backends
from bootprof.boot.harvest import allowed_files
from bootprof.errors import FormatError, InputError, UnsupportedError
from optimizer.formats.text import printable

AUTO: Final = "auto"
# Errors that the guest's agent reports for a backend, and the hint for each.
HINTS: Final = {
    "ENOEXEC": "the module was built for another kernel: build the profiling image again",
    "EKEYREJECTED": "the kernel accepts signed modules only (lockdown, Secure Boot): "
    "choose --backend ebpf or fanotify, or disable that protection",
    "EPERM": "the kernel accepts no modules (lockdown, Secure Boot, kernel.modules_disabled): "
    "choose --backend ebpf or fanotify, or disable that protection",
    "debugfs": "the kernel's debugfs is switched off: boot with debugfs=on, "
    "or choose --backend ebpf",
    "BTF": "choose --backend kmod or fanotify, or a kernel with CONFIG_DEBUG_INFO_BTF",
}
# Of agent.log: a line for each backend and module that an image can have, and more.
AGENT_LOG_LIMIT_BYTES: Final = 64 << 10
PROFILER_FOLDER: Final = b"/live/profiler-"


@dataclass(frozen=True)
class RecordingPlan:
    """What shall record a boot.

    Attributes:
        names: Backends, the one whose bootlog counts first. For ``auto``, those that are tried.
        agent: What the agent in the guest receives.
        reason: Why these were chosen.
    """

    names: tuple[str, ...]
    agent: str
    reason: str

    @property
    def kernel_options(self) -> str:
        """What the backends need on the kernel's command line."""
        return " ".join(filter(None, (backends.load(name).kernel_options for name in self.names)))

    @property
    def ring_file(self) -> str:
        """Name of the file for the kernel's trace ring; empty if no backend wants it."""
        found = [backends.load(name) for name in self.names]
        return next((one.recorded[0] for one in found if one.kernel_options), "")

    @property
    def runs_agent(self) -> bool:
        """Whether something runs in the guest."""
        return self.agent != backends.NOTHING

    @property
    def allowed(self) -> frozenset[str]:
        """Names of the files that the guest may send."""
        return allowed_files(self.names)


@dataclass(frozen=True)
class Attempt:
    """What became of a backend in the guest.

    Attributes:
        backend: Its name.
        started: Whether it recorded.
        reason: Why it did not.
    """

    backend: str
    started: bool
    reason: str


def plan_recording(image: Path, wanted: str, *, direct: bool = False) -> RecordingPlan:
    """Choose what shall record the boot of an image.

    Args:
        image: ISO or disk image.
        wanted: A backend; several, separated by ``+``; or ``auto`` for the most detailed one that
            starts on the image's kernel, which is known only in the guest.
        direct: Whether QEMU starts the image's kernel, with the profiler added.

    Raises:
        InputError: There is no such image or backend, or the backend cannot record a boot.
    """
    if not image.is_file():
        raise InputError(f"{image}: no such image", hint="build one with bootprof build")
    if wanted == AUTO:
        if direct or holds_profiler(image):
            return RecordingPlan(
                backends.AUTOMATIC, AUTO, "the first one that starts on this kernel"
            )
        return RecordingPlan(
            ("block",),
            backends.NOTHING,
            "the image contains no profiler and no boot menu that could be read, so only its "
            "reads can be recorded",
        )
    names = tuple(wanted.split("+"))
    agents = []
    for name in names:
        agent = backends.load(name).agent
        if not agent:
            raise InputError(
                f"backend {name} cannot record a boot: it reads what another tool recorded",
                hint=f"bootprof convert --from {name} FILE",
            )
        agents.append(agent)
    running = [agent for agent in agents if agent != backends.NOTHING]
    return RecordingPlan(names, "+".join(running) or backends.NOTHING, "as requested")


def holds_profiler(image: Path) -> bool:
    """Return whether an image is an ISO image with the profiler archive."""
    from optimizer.images.iso9660 import is_iso, read_iso

    if not is_iso(image):
        return False
    try:
        return any(path.startswith(PROFILER_FOLDER) for path in read_iso(image).files())
    except FormatError:
        return False


def settle(plan: RecordingPlan, attempts: Sequence[Attempt]) -> tuple[str, str]:
    """Return which backend's recording is used, and why.

    Raises:
        UnsupportedError: A backend requested by name did not start, or did not finish.
    """
    failed = [attempt for attempt in attempts if not attempt.started]
    # The agent adds a second line for a recorder that has started and does not end its log.
    began = {attempt.backend for attempt in attempts if attempt.started}
    started = began - {attempt.backend for attempt in failed}
    failures = "; ".join(
        f"{attempt.backend} did not {'finish' if attempt.backend in began else 'start'}:"
        f" {attempt.reason}"
        for attempt in failed
    )
    if plan.agent == AUTO:
        name = next((name for name in plan.names if name in started), "block")
        return name, failures or "the most detailed backend that started"
    for attempt in failed:
        if attempt.backend in plan.names:
            raise UnsupportedError(failures, hint=find_hint(attempt.reason))
    for name in plan.names:
        if backends.load(name).agent != backends.NOTHING and name not in started:
            raise UnsupportedError(
                f"the agent in the guest did not start {name}", hint="build the image again"
            )
    return plan.names[0], plan.reason


def find_hint(reason: str) -> str:
    """Return what to do about a backend that did not start; empty if that is not known."""
    return next((hint for sign, hint in HINTS.items() if sign in reason), "")


def parse_agent_log(text: bytes) -> list[Attempt]:
    """Read what the guest's agent reports of each backend (see ``bootprof/guest/agent``)."""
    attempts = []
    for line in text[:AGENT_LOG_LIMIT_BYTES].split(b"\n"):
        if line:
            backend, state, reason = (line + b"\t\t").split(b"\t")[:3]
            attempts.append(Attempt(printable(backend), state == b"started", printable(reason)))
    return attempts
