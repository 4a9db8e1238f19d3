# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""One boot of any image, recorded: by its own boot loader, or its kernel started by QEMU."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bootprof.boot.direct import direct_kernel, entry_to_boot, find_hint
from bootprof.boot.nbd import Emulation
from bootprof.boot.plan import AUTO, plan_recording
from bootprof.boot.profile import Profile, profile
from bootprof.boot.qemu import Machine
from bootprof.boot.qmp import KeyPress
from bootprof.boot.target import Target
from bootprof.builder.foreignprofiler import obtain_foreign_profiler
from bootprof.errors import BootprofError, InputError
from bootprof.progress import note, step


@dataclass(frozen=True)
class Recording:
    """How a boot is recorded, as a user says it.

    Attributes:
        backend: A backend, several separated by ``+``, or ``auto``.
        entry: Number or title of the boot entry whose kernel is started; None to choose.
        append: What is added to the command line of the image's own kernel.
        cache: Folder for the compiled profiler.
        machine: The virtual machine.
        target: When the boot is done.
        timeout_seconds: When to give up.
    """

    backend: str
    entry: str | None
    append: Sequence[str]
    cache: Path
    machine: Machine
    target: Target
    timeout_seconds: float


def record(
    image: Path,
    folder: Path,
    recording: Recording,
    *,
    emulation: Emulation | None = None,
    keys: tuple[KeyPress, ...] = (),
    screenshot: Path | None = None,
) -> Profile:
    """Boot an image, write its profile, and say what recorded it.

    Args:
        image: ISO or disk image.
        folder: Where the profile goes, see :func:`bootprof.boot.profile.profile`.
        recording: How.
        emulation: The drive that the image is served like; None for none.
        keys: What is pressed on the keyboard.
        screenshot: Where the screen at the boot target is written (PNG); None for nowhere.

    Raises:
        InputError: There is no such image, entry or backend, or options exclude each other.
        BootprofError: As for :func:`bootprof.boot.profile.profile`.
    """
    entry = None
    # If there is no such image, the plan says so.
    if image.is_file():
        entry = entry_to_boot(image, recording.backend, recording.entry)
    plan = plan_recording(image, recording.backend, direct=entry is not None)
    if entry is None and recording.backend == AUTO and plan.names == ("block",):
        refuse_other_programs(image)
    target, machine = recording.target, recording.machine
    if entry is None and (recording.append or target.options):
        raise InputError(
            f"{image}: its boot loader starts the kernel, so its command line is unknown",
            hint="give --entry, or leave out --append and --until systemd",
        )
    with contextlib.ExitStack() as stack:
        direct = None
        if entry is not None:
            note(f"boot entry: {entry.title} (kernel {entry.release or 'unknown'}, {entry.menu})")
            direct = stack.enter_context(
                direct_kernel(
                    entry,
                    plan,
                    target,
                    lambda: obtain_foreign_profiler(
                        recording.cache,
                        machine.arch,
                        entry.release,
                        with_module="kmod" in plan.agent.split("+"),
                    ),
                    recording.append,
                )
            )
        update = stack.enter_context(step(f"boot of {image}"))
        try:
            done = profile(
                image,
                folder,
                plan=plan,
                machine=machine,
                target=target,
                timeout_seconds=recording.timeout_seconds,
                progress=update,
                emulation=emulation,
                direct=direct,
                keys=keys,
                screenshot=screenshot,
            )
        except BootprofError as error:
            hint = find_hint(direct.options) if direct is not None else ""
            error.hint = "; ".join(filter(None, (error.hint, hint)))
            raise
        update(f"boot target after {done.target_ns / 1e9:.1f} s")
    for text in done.notes:
        note(text)
    note(f"backend {done.backend}: {done.reason}")
    return done


def refuse_other_programs(image: Path) -> None:
    """Refuse an ISO that starts no Linux: a memory test, the rescue disk of a boot loader.

    Its boot would go on until the time is up, and there would be no file to record.

    Args:
        image: An image without a boot entry.

    Raises:
        InputError: It is one.
    """
    from optimizer.images.image import open_image
    from optimizer.images.iso9660 import is_iso

    if is_iso(image) and open_image(image).chosen is None:
        raise InputError(
            f"{image}: starts no Linux that could be profiled: no boot menu names a kernel, and it "
            "holds neither a squashfs nor an EROFS",
            hint="memory tests and rescue disks of boot loaders have nothing to put in order; "
            "--backend block records the reads of any image, with --until idle:10 for example",
        )
