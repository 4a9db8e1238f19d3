# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""The profiler archive for images that another tool built: recorders, and a module if wanted."""

from __future__ import annotations

from pathlib import Path

from bootprof.builder.initrd import profiler
from bootprof.builder.initrds import obtain_profiler_archive
from bootprof.builder.kernelmodule import build_module
from bootprof.errors import BootprofError, InputError, UnsupportedError
from bootprof.progress import step

# Debian's suites with modules that were tried, the newest last.
SUITES = ("bookworm", "trixie", "sid")
EPOCH = 0


def obtain_foreign_profiler(cache: Path, arch: str, release: str, *, with_module: bool) -> Path:
    """Compile the recorders for an image that nobody prepared, or find them in the cache.

    Args:
        cache: Folder for what is kept.
        arch: Debian architecture of the image.
        release: Release of its kernel.
        with_module: Whether to build the kernel module, for which the archive of a Debian suite
            has to have the headers of that kernel.

    Returns:
        The profiler archive.

    Raises:
        UnsupportedError: No suite has these headers.
        ToolError: A compiler is missing or failed.
    """
    modules = []
    if with_module:
        modules.append(profiler.GuestModule(_module(cache, arch, release), "ranges=1"))
    return obtain_profiler_archive(modules, cache, arch, release, EPOCH)


def _module(cache: Path, arch: str, release: str) -> Path:
    if not release:
        raise InputError("the image's kernel does not say its release", hint="--backend ebpf")
    reasons = []
    with step(f"kernel module for {release}") as update:
        for suite in suites_for(release):
            try:
                return build_module(
                    suite, cache, architecture=arch, kernel_release=release, progress=update
                ).module
            except BootprofError as error:
                reasons.append(error.message)
    raise UnsupportedError(
        f"no headers found for the image's kernel {release}: {reasons[-1]}",
        hint="choose --backend ebpf, fanotify or cmdline, which need none",
    )


def suites_for(release: str) -> tuple[str, ...]:
    """Return the suites whose archive may have the headers of a kernel, the likeliest first."""
    marks = {"+deb12": "bookworm", "+deb13": "trixie", "6.1.": "bookworm", "6.12.": "trixie"}
    likely = [
        suite
        for mark, suite in marks.items()
        if (mark in release if mark.startswith("+") else release.startswith(mark))
    ]
    return (likely[0],) if likely else SUITES[-1:]
