# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""Building the kernel module for the kernels of a Debian suite, on any host.

Each suite's headers need the compiler and the libc of that suite, so the module is built in a
small chroot of that suite, which is created once and cached.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from bootprof.builder import store
from bootprof.builder.roottree import open_tree
from bootprof.builder.sources import debian
from bootprof.errors import ToolError, UnsupportedError
from bootprof.process import ISOLATED, run
from bootprof.sources import KERNEL_MODULE

# Debian's name of the kernel flavour for each architecture that the module is built for.
FLAVOURS = {"amd64": "amd64", "i386": "686"}


@dataclass(frozen=True)
class ModuleBuild:
    """A built module.

    Attributes:
        module: bootprof.ko.
        kernel_release: The kernel that it is for.
        log_file: Output of the compiler.
    """

    module: Path
    kernel_release: str
    log_file: Path


def build_module(
    suite: str,
    cache: Path,
    *,
    architecture: str = "amd64",
    kernel_release: str | None = None,
    mirrors: Sequence[str] = (),
    progress: Callable[[str], None] | None = None,
) -> ModuleBuild:
    """Build bootprof.ko, or reuse an earlier build of the same sources.

    Args:
        suite: Debian suite that the kernel is from.
        cache: Folder for the chroot and the module.
        architecture: Debian architecture.
        kernel_release: Kernel to build for; None for the newest that the suite has.
        mirrors: Archive addresses for mmdebstrap; if empty, mmdebstrap chooses them.
        progress: Called with a description of the current step.

    Raises:
        UnsupportedError: The suite has no headers for this kernel.
        ToolError: The compiler refused the sources.
    """
    tell = progress or (lambda _: None)
    sources = sorted(path for path in KERNEL_MODULE.iterdir() if path.suffix in (".c", ".h"))
    sources.append(KERNEL_MODULE / "Kbuild")

    def digest_for(release: str) -> str:
        return store.digest_of(release, *sources, *(path.name for path in sources))

    if kernel_release is not None:
        # A module that exists needs no chroot.
        found = store.find(cache, f"module-{kernel_release}", digest_for(kernel_release))
        if found is not None:
            tell("unchanged, reused")
            log_file = cache / f"module-{kernel_release}.log"
            return ModuleBuild(found / "bootprof.ko", kernel_release, log_file)
    chroot, release = find_headers(suite, cache, architecture, kernel_release, mirrors, tell)
    log_file = cache / f"module-{release}.log"

    def make(target: Path) -> None:
        tell("compiling")
        compile_module(chroot, release, sources, target, log_file)

    module, reused = store.obtain(cache, f"module-{release}", digest_for(release), make)
    tell("unchanged, reused" if reused else "compiled")
    return ModuleBuild(module / "bootprof.ko", release, log_file)


def find_headers(
    suite: str,
    cache: Path,
    architecture: str,
    kernel_release: str | None,
    mirrors: Sequence[str],
    tell: Callable[[str], None],
) -> tuple[Path, str]:
    """Return a chroot with the headers of a kernel, and the release of that kernel.

    Raises:
        UnsupportedError: The suite has no headers for this kernel.
    """
    chroot = build_chroot(suite, cache, architecture, FLAVOURS[architecture], mirrors, tell)
    releases = header_releases(chroot)
    if kernel_release is None:
        return chroot, releases[-1]
    if kernel_release in releases:
        return chroot, kernel_release
    try:
        chroot = build_chroot(suite, cache, architecture, kernel_release, mirrors, tell)
    except ToolError as error:
        raise UnsupportedError(
            f"{suite} has no headers for the image's kernel {kernel_release}: {error.hint}",
            hint="run bootprof build --refresh to get the newest kernel",
        ) from None
    return chroot, kernel_release


def build_chroot(
    suite: str,
    cache: Path,
    architecture: str,
    headers: str,
    mirrors: Sequence[str],
    tell: Callable[[str], None],
) -> Path:
    """Bootstrap a system with compiler and kernel headers, or find the one made before.

    Args:
        suite: Debian suite.
        cache: Folder for it.
        architecture: Debian architecture.
        headers: Kernel release or flavour whose headers to install.
        mirrors: Archive addresses.
        tell: Called with a description of the current step.
    """
    log_file = cache / f"build-chroot-{suite}.log"
    packages = ["gcc", "make", "sparse", f"linux-headers-{headers}"]
    words = debian.command(suite, architecture, packages)

    def make(target: Path) -> None:
        debian.bootstrap(words, target, mirrors, log_file=log_file, progress=tell)

    tell("build chroot")
    return store.obtain(cache, f"build-{suite}-{headers}", store.digest_of(words, *mirrors), make)[
        0
    ]


def header_releases(chroot: Path) -> list[str]:
    """Return the kernel releases that a chroot has headers for, the newest last."""
    with open_tree(chroot) as tree:
        return [
            name
            for name in tree.listing("lib/modules")
            if tree.status(f"lib/modules/{name}/build") is not None
        ]


def compile_module(
    chroot: Path, release: str, sources: list[Path], target: Path, log_file: Path
) -> None:
    """Compile the module in a chroot, W=1 and warnings being errors; sparse checks it too."""
    log_file.unlink(missing_ok=True)
    inside = "/tmp/bootprof"
    with open_tree(chroot) as tree:
        # Remains of a killed run.
        tree.remove(inside)
        for source in sources:
            tree.write_file(f"{inside}/{source.name}", source.read_bytes())
    try:
        run(
            [
                # From 7.1 on, objtool needs /proc.
                *(*ISOLATED, f"--root={chroot}", "make", f"-j{os.cpu_count() or 1}"),
                *("-C", f"/lib/modules/{release}/build", f"M={inside}"),
                *("W=1", "C=1", "KCFLAGS=-Werror", "modules"),
            ],
            log_file=log_file,
        )
        target.mkdir()
        # Debug information is nine tenths of it, and its archive is held in memory.
        with open_tree(chroot) as tree:
            module = tree.locate(f"{inside}/bootprof.ko")
        run(["strip", "--strip-debug", "-o", target / "bootprof.ko", module])
    finally:
        with open_tree(chroot) as tree:
            tree.remove(inside)
