"""The profiler archive: the agent, the recorders and the kernel modules.

The kernel unpacks several archives one over the other, so the profiler is added to an image
without a change to its root file system or to its initrd: a profiling image and a release image
hold the same squashfs, to the byte. See ``bootprof/guest/agent.c`` for what happens at boot.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bootprof.builder.initrd.archive import archive, compile_static
from bootprof.errors import InputError
from bootprof.process import run
from bootprof.sources import GUEST, TRACER

AGENT_SOURCE = GUEST / "agent.c"

# First program of the boot, and the backend that it starts unless the host says otherwise.
BOOT_OPTIONS = "rdinit=/bootprof/agent"


@dataclass(frozen=True)
class Recorder:
    """A program for the profiler archive, static, compiled by its own Makefile.

    Attributes:
        name: The program.
        sources: Folder of its sources.
        arches: Debian architectures that it can be compiled for.
    """

    name: str
    sources: Path
    arches: tuple[str, ...] = ("amd64", "i386")


RECORDERS = (
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
    raise InputError(f"{module}: not a kernel module", hint="name a .ko file, not compressed")


def check_module(module: Path, kernel_release: str) -> None:
    """Make sure that a kernel will take a module.

    Raises:
        InputError: It was built for another kernel.
    """
    magic = module_version_magic(module)
    if magic.split()[0] != kernel_release:
        raise InputError(
            f"{module}: built for kernel {magic.split()[0]}, and the image has {kernel_release}",
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
        recorders: Programs that record, for the agent to start.
        kernel_release: Release of the image's kernel.
        arch: Debian architecture of the image.
        target: Archive to write (cpio, newc).
        epoch: Time stamp of everything in it (seconds since 1970).
    """
    staging = target.parent / f"{target.name}.staging"
    try:
        folder = staging / "bootprof"
        folder.mkdir(parents=True)
        compile_static(AGENT_SOURCE, folder / "agent", arch)
        for recorder in recorders:
            shutil.copy(recorder, folder)
        lines = []
        for module in modules:
            check_module(module.path, kernel_release)
            shutil.copyfile(module.path, folder / module.path.name)
            lines.append(f"{module.path.name} {module.parameters}".rstrip() + "\n")
        (folder / "modules").write_text("".join(lines))
        archive(staging, target, epoch)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def make_recorder(recorder: Recorder, arch: str, target: Path, log_file: Path) -> None:
    """Compile a program that records.

    Args:
        recorder: Which one.
        arch: Debian architecture that it shall run on.
        target: Folder to make, for the program.
        log_file: Where the words of the compilers go.
    """
    log_file.unlink(missing_ok=True)
    machine = ["M32=-m32"] if arch == "i386" else []
    run(
        ["make", "-C", recorder.sources, f"BUILD={target.resolve()}", *machine],
        log_file=log_file,
    )
