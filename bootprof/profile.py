"""Profiling a boot in QEMU: from an image to a folder with bootlog and block trace.

The folder holds ``blocktrace.tsv`` always; ``bootlog.list``, ``bootlog.events`` and ``stats`` if a
tracer ran in the guest; ``console.log``, ``nbdkit.log`` (every request as nbdkit logged it) and
``profile.json``, which says what was booted and how.
"""

from __future__ import annotations

import io
import json
import platform
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from bootprof import vm
from bootprof.builder import store
from bootprof.errors import BootprofError, InputError, UnsupportedError
from optimizer.blocktrace import BlockTrace, parse_nbdkit_log, write_block_trace

# Backend → what the agent in the guest is told to start.
GUEST_BACKENDS = {"kmod": "kmod", "ebpf": "ebpf", "kmod+ebpf": "kmod+ebpf", "block": "none"}
# Harvested file → its name in the profile.
NAMES = {"events": "bootlog.events", "ebpf.events": "ebpf.events"}
SCHEMA_VERSION = 1


@dataclass(frozen=True)
class Profile:
    """A finished profile.

    Attributes:
        folder: Where it is.
        target_ns: Time from power-on to the boot target in nanoseconds.
        reads: Number of reads of the medium until then.
        paths: Number of distinct paths in ``bootlog.list``, 0 without a tracer.
        events: Number of events in ``bootlog.events``.
        lost: Number of events that the tracer could not keep.
    """

    folder: Path
    target_ns: int
    reads: int
    paths: int
    events: int
    lost: int


def choose_backend(image: Path, wanted: str) -> tuple[str, str]:
    """Choose the backend for an image.

    Args:
        image: ISO or disk image.
        wanted: A backend, or ``auto`` for the best one that the image allows.

    Returns:
        The backend, and why.

    Raises:
        InputError: There is no such image.
    """
    if not image.is_file():
        raise InputError(f"{image}: no such image", hint="make one with bootprof build")
    if wanted != "auto":
        return wanted, "as asked for"
    if brings_profiler(image):
        return "kmod", "the image brings the profiler, which sees each file by name"
    return "block", "the image does not bring the profiler, so its reads are all that can be seen"


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
    backend: str,
    machine: vm.Machine,
    target: vm.Target,
    timeout_seconds: float,
    progress: Callable[[str], None],
) -> Profile:
    """Boot an image and write its profile.

    Args:
        image: ISO or disk image.
        folder: Where the profile goes; an earlier profile there is replaced when the new one is
            whole. If the boot fails, what was seen of it is kept in ``<folder>.failed``.
        backend: ``kmod``: kernel module and block trace; ``ebpf``: BPF tracer and block trace;
            ``kmod+ebpf``: both at once, to compare them; ``block``: block trace alone.
        machine: The virtual machine.
        target: When the boot is done.
        timeout_seconds: When to give up.
        progress: Called with the state of the boot.

    Raises:
        BootprofError: The boot did not reach its target, or nothing could be harvested.
    """
    if folder.exists() and not (folder / "profile.json").exists():
        raise InputError(
            f"{folder}: is there already, and is no profile", hint="name another folder"
        )
    failed = folder.with_name(folder.name + ".failed")
    with store.replacing(folder) as temporary:
        temporary.mkdir()
        try:
            result = vm.boot(
                image,
                temporary,
                machine=machine,
                target=target,
                backend=GUEST_BACKENDS[backend],
                timeout_seconds=timeout_seconds,
                progress=progress,
            )
            done = write_profile(temporary, folder, image, backend, machine, result)
        except BootprofError as error:
            store.remove(failed)
            temporary.rename(failed)
            hint = f"{error.hint}; " if error.hint else ""
            error.hint = f"{hint}what was seen of the boot is in {failed}"
            raise
        store.remove(folder)
    store.remove(failed)
    return done


def write_profile(
    temporary: Path,
    folder: Path,
    image: Path,
    backend: str,
    machine: vm.Machine,
    result: vm.BootResult,
) -> Profile:
    """Write what a boot gave into a folder."""
    harvest = dict(result.harvest)
    if backend == "ebpf":
        adopt_ebpf(harvest)
    for name, content in harvest.items():
        (temporary / NAMES.get(name, name)).write_bytes(content)
    if backend != "block" and not harvest.get("bootlog.list"):
        raise UnsupportedError(
            f"nothing was recorded: {result.agent}",
            hint="failed=bootprof.ko:EXEC means that it was built for another kernel, "
            "failed=bootprof-trace that this kernel has no BTF",
        )
    image_sha256 = store.file_digest(image)
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
    stats = parse_stats(harvest.get("stats", b""))
    done = Profile(
        folder=folder,
        target_ns=result.target_ns,
        reads=len(reads),
        paths=harvest.get("bootlog.list", b"").count(b"\n"),
        events=int(stats.get("events", 0)),
        lost=int(stats.get("dropped", 0)),
    )
    description = {
        "schema": SCHEMA_VERSION,
        "image": str(image),
        "image_sha256": image_sha256,
        "backend": backend,
        "agent": result.agent,
        "accelerator": result.accelerator,
        "machine": {
            "arch": machine.arch,
            "memory_mib": machine.memory_mib,
            "processors": machine.processors,
            "firmware": machine.firmware,
            "medium": machine.medium,
        },
        "host_kernel": platform.release(),
        "target_ns": done.target_ns,
        "reads": done.reads,
        "paths": done.paths,
        "events": done.events,
        "lost": done.lost,
    }
    (temporary / "profile.json").write_text(json.dumps(description, indent=2) + "\n")
    return done


def adopt_ebpf(harvest: dict[str, bytes]) -> None:
    """Give what the BPF tracer recorded the names that the kernel module's files have.

    Raises:
        FormatError: The bootlog is damaged.
    """
    from bootprof.bootlog import distinct_paths, iterate_events, write_plain
    from optimizer.order import PSEUDO_FILE_SYSTEMS

    rich = harvest.pop("ebpf.events", b"")
    lost = [line for line in rich.splitlines() if line.startswith(b"#lost:")]
    plain = io.BytesIO()
    if rich:
        paths = distinct_paths(io.BytesIO(rich), "ebpf.events", skip=PSEUDO_FILE_SYSTEMS)
        write_plain(plain, (path for path in paths if path.startswith(b"/")))
        count = sum(1 for _ in iterate_events(io.BytesIO(rich), "ebpf.events"))
        dropped = lost[-1].partition(b":")[2].strip().decode() if lost else "0"
        harvest["stats"] = f"mode ebpf\nevents {count}\ndropped {dropped}\n".encode()
    harvest["events"] = rich
    harvest["bootlog.list"] = plain.getvalue()


def parse_stats(text: bytes) -> dict[str, str]:
    """Read the tracer's statistics: a key and a value a line."""
    pairs = (line.partition(" ") for line in text.decode(errors="replace").splitlines())
    return {key.rstrip(":"): value.strip() for key, _, value in pairs}
