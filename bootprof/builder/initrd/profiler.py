# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""The profiler archive: the agent, the recorders and the kernel modules.

The kernel unpacks several archives one over the other, so the profiler is added to an image
without a change to its root file system or to its initrd: a profiling image and a release image
hold the same squashfs, to the byte. See ``bootprof/guest/agent/agent.c`` for what happens at boot.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bootprof.builder.initrd.archive import add, staged
from bootprof.errors import InputError
from bootprof.process import ISOLATED, run
from bootprof.sources import GUEST, TRACER

# First program of the boot.
BOOT_OPTIONS = "rdinit=/bootprof/agent"


@dataclass(frozen=True)
class Recorder:
    """A program of the profiler archive, static, compiled by its own Makefile.

    Attributes:
        name: The program.
        sources: Folder of its sources.
        arches: Debian architectures that it can be compiled for.
    """

    name: str
    sources: Path
    arches: tuple[str, ...] = ("amd64", "i386")


# The agent, which starts the others.
RECORDERS = (
    Recorder("agent", GUEST / "agent"),
    Recorder("bootprof-trace", TRACER, ("amd64",)),
    Recorder("bootprof-watch", GUEST / "watch"),
)


@dataclass(frozen=True)
class GuestModule:
    """A kernel module for the profiler archive.

    Attributes:
        path: The .ko file.
        parameters: Its parameters, as insmod takes them.
    """

    path: Path
    parameters: str = ""


def module_version_magic(module: Path) -> str:
    """Return the vermagic of a kernel module, which starts with the release of its kernel.

    Raises:
        InputError: The file is not a kernel module.
    """
    from elftools.common.exceptions import ELFError
    from elftools.elf.elffile import ELFFile

    try:
        with module.open("rb") as stream:
            section = ELFFile(stream).get_section_by_name(".modinfo")
            fields = section.data().split(b"\0") if section is not None else []
    except FileNotFoundError:
        raise InputError(f"{module}: no such kernel module") from None
    except ELFError:
        fields = []
    for field in fields:
        if field.startswith(b"vermagic="):
            return bytes(field).removeprefix(b"vermagic=").decode(errors="replace").strip()
    raise InputError(f"{module}: not a kernel module", hint="give an uncompressed .ko file")


def check_module(module: Path, kernel_release: str) -> None:
    """Make sure that a kernel will take a module.

    Raises:
        InputError: It was built for another kernel.
    """
    built_for = module_version_magic(module).partition(" ")[0]
    if built_for != kernel_release:
        raise InputError(
            f"{module}: built for kernel {built_for}, but the image has {kernel_release}",
            hint="build it against the headers of the image's kernel",
        )


def make_profiler(
    modules: Sequence[GuestModule],
    recorders: Sequence[Path],
    kernel_release: str,
    arch: str,
    target: Path,
    *,
    epoch: int,
) -> None:
    """Write the profiler archive.

    Args:
        modules: Kernel modules in the order in which the agent loads them.
        recorders: The agent, and the programs that it starts.
        kernel_release: Release of the image's kernel.
        arch: Debian architecture of the image.
        target: Archive to write (cpio, newc).
        epoch: Time stamp of everything in it (seconds since 1970).
    """
    for module in modules:
        check_module(module.path, kernel_release)
    with staged(target, epoch) as staging:
        folder = staging / "bootprof"
        folder.mkdir()
        for source in (*recorders, *(module.path for module in modules)):
            add(source, staging, "bootprof")
        lines = [f"{module.path.name} {module.parameters}".rstrip() + "\n" for module in modules]
        (folder / "modules").write_text("".join(lines))


def make_recorder(recorder: Recorder, arch: str, target: Path, log_file: Path) -> None:
    """Compile a program that records.

    Args:
        recorder: Which one.
        arch: Debian architecture that it shall run on.
        target: Folder to make, for the program.
        log_file: Where the output of the compilers goes.
    """
    log_file.unlink(missing_ok=True)
    machine = ["M32=-m32"] if arch == "i386" else []
    # make's own children would survive it.
    isolated = ISOLATED if os.geteuid() == 0 else ()
    run(
        [*isolated, "make", "-C", recorder.sources, f"BUILD={target.resolve()}", *machine],
        log_file=log_file,
    )
