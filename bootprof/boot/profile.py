"""Profiling a boot in QEMU: from an image to a folder with bootlog and block trace.

The folder holds ``bootlog.list``, ``bootlog.events`` and ``blocktrace.tsv``; what the backends
recorded beside it (``stats``, ``tracepoints.log``); ``console.log``, ``nbdkit.log`` (every request
as nbdkit logged it) and ``profile.json``, which says what was booted and how.
"""

from __future__ import annotations

import json
import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bootprof import backends
from bootprof.boot import qemu
from bootprof.boot.nbd import Emulation, Statistics
from bootprof.boot.target import Target
from bootprof.errors import BootprofError, InputError, UnsupportedError
from bootprof.files import file_digest, remove, replacing
from optimizer.formats.blocktrace import BlockTrace, parse_nbdkit_log, write_block_trace

if TYPE_CHECKING:
    from optimizer.formats.events import Bootlog

# Of several images' worth of words for "that module is not wanted here", what they mean.
REASONS = {
    "ENOEXEC": "the module was built for another kernel: build the profiling image again",
    "EKEYREJECTED": "the kernel takes signed modules only (lockdown, Secure Boot): "
    "take --backend ebpf or fanotify, or switch that off",
    "EPERM": "the kernel takes no modules (lockdown, Secure Boot, kernel.modules_disabled): "
    "take --backend ebpf or fanotify, or switch that off",
    "debugfs": "the kernel's debugfs is switched off: boot with debugfs=on, or take --backend ebpf",
    "BTF": "take --backend kmod or fanotify, or a kernel with CONFIG_DEBUG_INFO_BTF",
}
# Recorded files that are rich bootlogs.
RICH_RECORDINGS: Mapping[str, Sequence[str]] = {
    "kmod": ("events",),
    "ebpf": ("ebpf.events",),
    "fanotify": ("fanotify.events",),
    "inotify": ("inotify.events",),
}
SCHEMA_VERSION = 2


@dataclass(frozen=True)
class Choice:
    """What shall record a boot.

    Attributes:
        names: Backends, the one whose bootlog counts first. For ``auto``, those to be tried.
        agent: What the agent in the guest is told.
        reason: Why.
    """

    names: tuple[str, ...]
    agent: str
    reason: str


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


@dataclass(frozen=True)
class Profile:
    """A finished profile.

    Attributes:
        folder: Where it is.
        backend: The backend that recorded the bootlog.
        reason: Why it was this one.
        target_ns: Time from power-on to the boot target in nanoseconds.
        reads: Number of reads of the medium until then.
        paths: Number of distinct paths in ``bootlog.list``.
        events: Number of events in ``bootlog.events``.
        lost: Number of events that the backend could not keep.
    """

    folder: Path
    backend: str
    reason: str
    target_ns: int
    reads: int
    paths: int
    events: int
    lost: int


def choose_backend(image: Path, wanted: str) -> Choice:
    """Choose what shall record the boot of an image.

    Args:
        image: ISO or disk image.
        wanted: A backend; several, separated by ``+``; or ``auto`` for the best one that the
            image's kernel lets start, which turns out in the guest.

    Raises:
        InputError: There is no such image or backend, or the backend cannot record a boot.
    """
    if not image.is_file():
        raise InputError(f"{image}: no such image", hint="make one with bootprof build")
    if wanted == "auto":
        if brings_profiler(image):
            return Choice(backends.RECORDERS, "auto", "the first one that the kernel lets start")
        return Choice(
            ("block",),
            backends.NOTHING,
            "the image does not bring the profiler, so its reads are all that can be seen",
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
    return Choice(names, "+".join(running) or backends.NOTHING, "as asked for")


def brings_profiler(image: Path) -> bool:
    """Tell whether an ISO image holds the profiler archive."""
    from pycdlib import PyCdlib
    from pycdlib.pycdlibexception import PyCdlibException

    iso = PyCdlib()
    try:
        iso.open(str(image))
    except PyCdlibException:
        return False
    try:
        children = iso.list_children(rr_path="/live")
        return any(child.rock_ridge.name().startswith(b"profiler-") for child in children if child)
    except PyCdlibException:
        return False
    finally:
        iso.close()


def profile(
    image: Path,
    folder: Path,
    *,
    choice: Choice,
    machine: qemu.Machine,
    target: Target,
    timeout_seconds: float,
    progress: Callable[[str], None],
    emulation: Emulation | None = None,
) -> Profile:
    """Boot an image and write its profile.

    Args:
        image: ISO or disk image.
        folder: Where the profile goes; an earlier profile there is replaced when the new one is
            whole. If the boot fails, what was seen of it is kept in ``<folder>.failed``.
        choice: What shall record it; the block trace is always taken.
        machine: The virtual machine.
        target: When the boot is done.
        timeout_seconds: When to give up.
        progress: Called with the state of the boot.
        emulation: The drive that the image is served like; None for one that costs no time.

    Raises:
        BootprofError: The boot did not reach its target, or nothing could be harvested.
    """
    if folder.exists() and not (folder / "profile.json").exists():
        raise InputError(
            f"{folder}: is there already, and is no profile", hint="name another folder"
        )
    failed = folder.with_name(folder.name + ".failed")
    with replacing(folder) as temporary:
        temporary.mkdir()
        try:
            result = qemu.boot(
                image,
                temporary,
                machine=machine,
                target=target,
                backend=choice.agent,
                timeout_seconds=timeout_seconds,
                progress=progress,
                emulation=emulation,
            )
            done = write_profile(temporary, folder, image, choice, machine, result, emulation)
        except BootprofError as error:
            remove(failed)
            temporary.rename(failed)
            hint = f"{error.hint}; " if error.hint else ""
            error.hint = f"{hint}what was seen of the boot is in {failed}"
            raise
        remove(folder)
    remove(failed)
    return done


def write_profile(
    temporary: Path,
    folder: Path,
    image: Path,
    choice: Choice,
    machine: qemu.Machine,
    result: qemu.BootResult,
    emulation: Emulation | None,
) -> Profile:
    """Write what a boot gave into a folder."""
    from optimizer.formats.events import Bootlog

    for name, content in result.harvest.items():
        (temporary / name).write_bytes(content)
    image_sha256 = file_digest(image)
    with (temporary / "nbdkit.log").open("rb") as stream:
        reads = parse_nbdkit_log(stream, result.power_on_epoch_ns)
    reads = reads[reads["time_ns"] <= result.target_ns]
    trace = BlockTrace(
        reads=reads,
        image=image.name,
        image_bytes=image.stat().st_size,
        image_sha256=image_sha256,
        target_ns=result.target_ns,
    )
    with (temporary / "blocktrace.tsv").open("wb") as stream:
        write_block_trace(stream, trace)
    attempts = parse_agent_log(result.harvest.get("agent.log", b""))
    backend, reason = what_recorded(choice, attempts)
    files = {name: temporary / name for name in result.harvest}
    recording = backends.Recording(files=files, image=image, block_trace=trace)
    try:
        bootlog = backends.load(backend).read(recording)
    except InputError as error:
        if backend != "block":
            raise
        # The block trace of an image that we cannot read is worth having by itself.
        reason += f"; no files are told from it: {error.message}"
        bootlog = Bootlog.of({"backend": backend}, [])
    paths = write_bootlog(temporary, backend, bootlog)
    done = Profile(
        folder=folder,
        backend=backend,
        reason=reason,
        target_ns=result.target_ns,
        reads=len(reads),
        paths=paths,
        events=len(bootlog.events),
        lost=bootlog.lost,
    )
    description = {
        "schema": SCHEMA_VERSION,
        "image": str(image),
        "image_sha256": image_sha256,
        "backend": backend,
        "reason": reason,
        "agent": result.agent,
        "accelerator": result.accelerator,
        "machine": {
            "arch": machine.arch,
            "memory_mib": machine.memory_mib,
            "processors": machine.processors,
            "firmware": machine.firmware,
            "medium": machine.medium,
        },
        "drive": describe_drive(emulation, result.emulated),
        "host_kernel": platform.release(),
        "target_ns": done.target_ns,
        "reads": done.reads,
        "paths": done.paths,
        "events": done.events,
        "lost": done.lost,
    }
    (temporary / "profile.json").write_text(json.dumps(description, indent=2) + "\n")
    return done


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


def what_recorded(choice: Choice, attempts: Sequence[Attempt]) -> tuple[str, str]:
    """Tell which backend's recording counts, and why.

    Raises:
        UnsupportedError: A backend that was asked for by name did not start.
    """
    failed = [attempt for attempt in attempts if not attempt.started]
    started = {attempt.backend for attempt in attempts if attempt.started}
    failures = "; ".join(f"{attempt.backend} did not start: {attempt.reason}" for attempt in failed)
    if choice.agent == "auto":
        name = next((name for name in choice.names if name in started), "block")
        return name, failures or "it sees most, and the kernel let it start"
    for attempt in failed:
        if attempt.backend in choice.names:
            raise UnsupportedError(failures, hint=explain(attempt.reason))
    for name in choice.names:
        if backends.load(name).agent != backends.NOTHING and name not in started:
            raise UnsupportedError(
                f"the agent in the guest did not start {name}", hint="build the image again"
            )
    return choice.names[0], choice.reason


def explain(reason: str) -> str:
    """Say what to do about a backend that did not start; empty if that is not known."""
    return next((text for sign, text in REASONS.items() if sign in reason), "")


def parse_agent_log(text: bytes) -> list[Attempt]:
    """Read the result of each backend (written by ``bootprof/guest/agent/notes.c``)."""
    attempts = []
    for line in text.decode(errors="replace").splitlines():
        backend, state, reason = (line + "\t\t").split("\t")[:3]
        attempts.append(Attempt(backend, state == "started", reason))
    return attempts


def write_bootlog(folder: Path, backend: str, bootlog: Bootlog) -> int:
    """Write a bootlog in both formats, unless the backend has written the plain one itself.

    Returns:
        The number of distinct paths.
    """
    from optimizer.formats.bootlog import distinct_paths, write_plain, write_rich
    from optimizer.order import PSEUDO_FILE_SYSTEMS

    rich, plain = folder / "bootlog.events", folder / "bootlog.list"
    with rich.open("wb") as stream:
        write_rich(stream, bootlog)
    # A recording that has just been written once more.
    for name in RICH_RECORDINGS.get(backend, ()):
        (folder / name).unlink(missing_ok=True)
    if not plain.exists():
        with rich.open("rb") as source, plain.open("wb") as stream:
            paths = distinct_paths(source, str(rich), skip=PSEUDO_FILE_SYSTEMS)
            write_plain(stream, (path for path in paths if path.startswith(b"/")))
    return plain.read_bytes().count(b"\n")
