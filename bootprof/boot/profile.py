# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""Profiling a boot in QEMU: from an image to a folder with bootlog and block trace.

The folder holds ``bootlog.list``, ``bootlog.events`` and ``blocktrace.tsv``; ``console.log`` and
``nbdkit.log`` (every request, as logged by nbdkit); in ``guest/``, the files from the guest; and
``profile.json``, which describes image, machine and backend.
"""

from __future__ import annotations

import json
import platform
import re
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

from bootprof import __version__, backends
from bootprof.boot import qemu
from bootprof.boot.clock import GuestClock, read_guest_clock
from bootprof.boot.entries import DirectKernel
from bootprof.boot.folder import GUEST, PROFILE, profile_folder
from bootprof.boot.guest import CONSOLE_LIMIT_BYTES, HungError
from bootprof.boot.medium import Medium, examine
from bootprof.boot.nbd import Emulation, Statistics
from bootprof.boot.plan import RecordingPlan, parse_agent_log, settle
from bootprof.boot.qmp import KeyPress
from bootprof.boot.target import Target
from bootprof.errors import InputError
from bootprof.files import remove
from optimizer.formats.blocktrace import BlockTrace, parse_nbdkit_log, write_block_trace
from optimizer.formats.text import printable

if TYPE_CHECKING:
    from optimizer.formats.events import Bootlog

SCHEMA_VERSION: Final = 3
# The first line of a kernel (init/version-timestamp.c), if it prints any.
KERNEL_LINE = re.compile(rb"Linux version (\S{1,64})")
KERNEL_LINE_WITHIN_BYTES = 1 << 20


@dataclass(frozen=True)
class Profile:
    """A finished profile.

    Attributes:
        folder: Where it is.
        backend: The backend that recorded the bootlog.
        reason: Why it was this one.
        notes: What else is worth saying of the boot, a line each.
        accelerator: What ran the guest's code: ``kvm``, ``tcg`` or ``icount``.
        kernel: Release of the guest's kernel; empty if neither bootlog nor console names it.
        clock: Duration of the boot by the guest's own clock; None if its agent did not report it.
        target_ns: Time from power-on to the boot target in nanoseconds.
        reads: Number of reads of the medium until then.
        paths: Number of distinct paths in ``bootlog.list``.
        events: Number of events in ``bootlog.events``.
        lost: Number of events that the backend could not keep.
    """

    folder: Path
    backend: str
    reason: str
    notes: tuple[str, ...]
    accelerator: str
    kernel: str
    clock: GuestClock | None
    target_ns: int
    reads: int
    paths: int
    events: int
    lost: int


def profile(
    image: Path,
    folder: Path,
    *,
    plan: RecordingPlan,
    machine: qemu.Machine,
    target: Target,
    timeout_seconds: float,
    progress: Callable[[str], None],
    emulation: Emulation | None = None,
    direct: DirectKernel | None = None,
    keys: tuple[KeyPress, ...] = (),
    screenshot: Path | None = None,
) -> Profile:
    """Boot an image and write its profile.

    Args:
        image: ISO or disk image.
        folder: Where the profile goes; an earlier profile there is replaced when the new one is
            whole. If the boot fails, what was recorded of it is kept in ``<folder>.failed``.
        plan: What shall record it; the block trace is always recorded.
        machine: The virtual machine.
        target: When the boot is done.
        timeout_seconds: When to give up.
        progress: Called with the state of the boot.
        emulation: The drive that the image is served like; None to serve it as fast as possible.
        direct: The image's kernel for QEMU to start (:func:`bootprof.boot.direct.direct_kernel`);
            None for the firmware and the boot loader of the medium.
        keys: What is pressed on the keyboard.
        screenshot: Where the screen at the boot target is written (PNG).

    Raises:
        InputError: There is no such image, or the folder contains something else than a profile.
        BootprofError: The boot did not reach its target, nothing could be harvested, or the image
            was changed meanwhile.
    """
    progress("reading the image")
    request = qemu.Request(
        medium=examine(image),
        machine=machine,
        target=target,
        agent=plan.agent,
        allowed=plan.allowed,
        timeout_seconds=timeout_seconds,
        emulation=emulation,
        direct=direct,
        keys=keys,
        ring_file=plan.ring_file,
        screenshot=screenshot,
    )
    with profile_folder(folder) as temporary:
        result, notes = boot_again_if_hung(request, temporary, progress)
        trace = make_block_trace(request.medium, result, temporary / "nbdkit.log")
        with (temporary / "blocktrace.tsv").open("wb") as stream:
            write_block_trace(stream, trace)
        backend, reason, bootlog = make_bootlog(plan, result, request.medium, trace)
        done = Profile(
            folder=folder,
            backend=backend,
            reason=reason,
            notes=(*notes, *find_notes(result)),
            accelerator=result.accelerator,
            kernel=find_kernel(bootlog, temporary / "console.log")
            or (direct.release if direct else ""),
            clock=find_clock(result, machine.processors),
            target_ns=result.target_ns,
            reads=len(trace.reads),
            paths=write_bootlog(temporary, bootlog),
            events=len(bootlog.events),
            lost=bootlog.lost,
        )
        started = datetime.fromtimestamp(result.power_on_epoch_ns // 10**9, UTC)
        finish(temporary, backend, started, describe(done, request, result))
    return done


def finish(
    folder: Path, backend: str, started: datetime, description: Mapping[str, object]
) -> None:
    """Write the description of a profile whose bootlog is written.

    Args:
        folder: The profile.
        backend: What recorded it.
        started: When the boot began.
        description: What ``profile.json`` says besides.
    """
    # A recording in the format of bootlog.events now exists twice.
    recorded = backends.load(backend).recorded_events
    if recorded is not None:
        (folder / GUEST / recorded).unlink(missing_ok=True)
    whole = {
        "schema": SCHEMA_VERSION,
        "bootprof": __version__,
        "date": started.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "boots": 1,
        **description,
    }
    (folder / PROFILE).write_text(json.dumps(whole, indent=2) + "\n")


def boot_again_if_hung(
    request: qemu.Request, folder: Path, progress: Callable[[str], None]
) -> tuple[qemu.BootResult, tuple[str, ...]]:
    """Boot, and once more if the guest's kernel hangs, which happens on emulated processors.

    Args:
        request: What to boot, and how.
        folder: Where to write; it is emptied before the second boot.
        progress: Called with the state of the boot.

    Returns:
        What the boot left behind, and notes for the user.

    Raises:
        HungError: It hung both times.
        BootprofError: As for :func:`bootprof.boot.qemu.boot`.
    """
    try:
        return qemu.boot(request, folder, progress), ()
    except HungError as error:
        note = f"{error.message}; booted once more"
    progress(note)
    for path in folder.iterdir():
        remove(path)
    try:
        return qemu.boot(request, folder, progress), (note,)
    except HungError as error:
        raise HungError(
            f"{error.message}; so did the boot before it",
            hint=f"{error.hint}; try --processors 1, or a host that is less busy",
        ) from None


def make_block_trace(medium: Medium, result: qemu.BootResult, log_file: Path) -> BlockTrace:
    """Turn nbdkit's log into the reads of the medium until the boot target."""
    with log_file.open("rb") as stream:
        reads = parse_nbdkit_log(stream, result.power_on_epoch_ns)
    return BlockTrace(
        reads=reads[reads["time_ns"] <= result.target_ns],
        image=medium.path.name,
        image_bytes=medium.size_bytes,
        image_sha256=medium.sha256,
        target_ns=result.target_ns,
    )


def make_bootlog(
    plan: RecordingPlan, result: qemu.BootResult, medium: Medium, trace: BlockTrace
) -> tuple[str, str, Bootlog]:
    """Turn the recordings into a bootlog.

    Returns:
        The backend that recorded it, why it was this one, and the bootlog.

    Raises:
        UnsupportedError: A requested backend did not start.
        FormatError: A file from the guest is not a recording.
    """
    from optimizer.formats.events import Bootlog

    log_file = result.files.get("agent.log")
    attempts = parse_agent_log(log_file.read_bytes() if log_file is not None else b"")
    backend, reason = settle(plan, attempts)
    recording = backends.Recording(files=result.files, image=medium.path, block_trace=trace)
    try:
        return backend, reason, backends.load(backend).read(recording)
    except InputError as error:
        if backend != "block":
            raise
        # The block trace of an unreadable image is useful by itself.
        reason += f"; no files can be mapped: {error.message}"
        return backend, reason, Bootlog.of({"backend": backend}, [])


def write_bootlog(folder: Path, bootlog: Bootlog) -> int:
    """Write a bootlog in both formats; return the number of distinct paths."""
    from optimizer.formats.bootlog import distinct_paths, write_events, write_list
    from optimizer.order import PSEUDO_FILE_SYSTEMS

    events, plain = folder / "bootlog.events", folder / "bootlog.list"
    with events.open("wb") as stream:
        write_events(stream, bootlog)
    with events.open("rb") as source:
        found = distinct_paths(source, str(events), skip=PSEUDO_FILE_SYSTEMS)
    paths = [path for path in found if path.startswith(b"/")]
    with plain.open("wb") as stream:
        write_list(stream, paths)
    return len(paths)


def find_kernel(bootlog: Bootlog, console: Path) -> str:
    """Return the release of the guest's kernel, by its bootlog or its console; empty if unknown."""
    if "kernel" in bootlog.header:
        return printable(bootlog.header["kernel"])
    with console.open("rb") as stream:
        found = KERNEL_LINE.search(stream.read(KERNEL_LINE_WITHIN_BYTES))
    return printable(found[1]) if found else ""


def find_clock(result: qemu.BootResult, processors: int) -> GuestClock | None:
    """Return the duration by the guest's own clock; None if its agent did not report it."""
    path = result.files.get("processor")
    if path is None:
        return None
    with path.open("rb") as stream:
        return read_guest_clock(stream.read(1000), processors)


def find_notes(result: qemu.BootResult) -> tuple[str, ...]:
    """Say what of a boot was not kept."""
    if result.console_bytes <= CONSOLE_LIMIT_BYTES:
        return ()
    limit = CONSOLE_LIMIT_BYTES >> 20
    return (
        f"console.log holds the first {limit} MiB of the {result.console_bytes >> 20} MiB "
        "that the guest printed",
    )


def describe(done: Profile, request: qemu.Request, result: qemu.BootResult) -> dict[str, object]:
    """Return what ``profile.json`` says of it; docs/commands/profile.md lists the keys."""
    return {
        "image": str(request.medium.path),
        "image_bytes": request.medium.size_bytes,
        "image_sha256": request.medium.sha256,
        "backend": done.backend,
        "reason": done.reason,
        "notes": done.notes,
        "agent": result.agent,
        "kernel": done.kernel or None,
        "accelerator": done.accelerator,
        "kernel_options": None if request.direct is None else request.direct.options,
        "machine": {
            key: value for key, value in asdict(request.machine).items() if key != "accelerator"
        },
        "drive": describe_drive(request.emulation, result.emulated),
        "host_kernel": platform.release(),
        "target_ns": done.target_ns,
        "guest_clock": None if done.clock is None else asdict(done.clock),
        "reads": done.reads,
        "paths": done.paths,
        "events": done.events,
        "lost": done.lost,
    }


def describe_drive(
    emulation: Emulation | None, statistics: Statistics | None
) -> dict[str, object] | None:
    """Say for ``profile.json`` how the image was served."""
    if emulation is None or statistics is None:
        return None
    return {
        "name": emulation.drive.name,
        "scale": emulation.scale,
        "requests": statistics.requests,
        "modelled_seconds": statistics.modelled_ns / 1e9,
        "measured_seconds": statistics.waited_ns / 1e9,
    }
