# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""The initial ramdisk archives of a build, kept in the cache."""

from __future__ import annotations

import shutil
from pathlib import Path

from bootprof import progress
from bootprof.builder import store
from bootprof.builder.config import Initrd
from bootprof.builder.features import SCRIPTS_FOLDER, Feature
from bootprof.builder.initrd import additions, modules, profiler, programs, repack
from bootprof.builder.initrd.archive import COMMON, add, staged
from bootprof.builder.initrd.readahead import (
    FILES,
    LIVE_BOOT_HOOK,
    PROGRAM,
    STARTER,
    ReadaheadRequest,
    make_archive,
    make_list,
)
from bootprof.builder.kernelmodule import build_module
from bootprof.builder.request import BuildRequest
from bootprof.builder.root import Kernel
from bootprof.builder.roottree import open_tree


def obtain_initrd(config: Initrd, cache: Path, kernel: Kernel) -> Path:
    """Recompress the initrd, or copy it under a name that every boot loader accepts."""

    def make(target: Path) -> None:
        if keep:
            shutil.copyfile(kernel.initrd, target)
        else:
            content, name = kernel.initrd.read_bytes(), str(kernel.initrd)
            target.write_bytes(repack.repack(content, name, config.leave_out, config.keep))

    keep = config.compressor == "keep" or "CONFIG_RD_ZSTD=y" not in kernel.options
    with progress.step("initrd, unchanged" if keep else "initrd, recompressed") as update:
        digest = store.digest_of(kernel.initrd, config, keep, Path(repack.__file__))
        path, _ = store.obtain(cache, "initrd", digest, make, ".img")
        before, after = kernel.initrd.stat().st_size, path.stat().st_size
        update(f"{before / 1e6:.1f} MB, now {after / 1e6:.1f} MB")
    return path


def obtain_additions(cache: Path, arch: str, epoch: int, *, quick_probes: bool) -> Path:
    """Write the initrd archive that every image gets."""

    def make(target: Path) -> None:
        additions.make_additions(target, arch, epoch=epoch, quick_probes=quick_probes)

    sources = [*additions.ALWAYS, *additions.QUICK_PROBES, *COMMON]
    digest = store.digest_of(*sources, arch, epoch, quick_probes)
    return store.obtain(cache, "additions", digest, make, ".cpio")[0]


def obtain_features(
    features: tuple[Feature, ...],
    cache: Path,
    tree: Path,
    kernel: Kernel,
    arch: str,
    epoch: int,
) -> Path:
    """Write the initrd archive with the scripts, programs and modules of features."""

    def make(target: Path) -> None:
        with staged(target, epoch) as staging, open_tree(tree) as root:
            for script in scripts:
                add(script, staging, SCRIPTS_FOLDER)
            for path in paths:
                programs.add_program(root, path, staging, arch)
            modules.add_modules(root, kernel.release, names, staging)

    scripts = [script for feature in features for script in feature.scripts]
    paths = [path for feature in features for path in feature.programs]
    names = [name for feature in features for name in feature.modules]
    digest = store.digest_of(
        *(*scripts, paths, names, kernel.release, tree.name, arch, epoch),
        *(Path(programs.__file__), Path(modules.__file__)),
    )
    return store.obtain(cache, "features", digest, make, ".cpio")[0]


def obtain_readahead(
    request: ReadaheadRequest, cache: Path, squashfs: Path, arch: str, epoch: int
) -> Path:
    """Make the readahead list of a squashfs, and the initrd archive that reads it ahead."""

    def make(target: Path) -> None:
        make_archive(content, arch, target, epoch=epoch)

    with progress.step(f"readahead list for {request.drive.title}") as update:
        content = make_list(request, squashfs)
        update(f"{sum(not line.startswith(b'#') for line in content.splitlines())} ranges")
        sources = (PROGRAM, *FILES, STARTER, LIVE_BOOT_HOOK, *COMMON)
        digest = store.digest_of(content, *sources, arch, epoch)
        return store.obtain(cache, "readahead", digest, make, ".cpio")[0]


def obtain_profiler(
    request: BuildRequest, cache: Path, kernel: Kernel, additional: list[Path], epoch: int
) -> Path:
    """Build the kernel module for the image's kernel, and the archive that brings it in."""
    system = request.config.system
    with progress.step(f"kernel module for {kernel.release}") as update:
        module = build_module(
            system.suite,
            cache,
            architecture=system.arch,
            kernel_release=kernel.release,
            progress=update,
        ).module
    modules = [
        profiler.GuestModule(module, "ranges=1"),
        *(profiler.GuestModule(path) for path in additional),
    ]
    return obtain_profiler_archive(modules, cache, system.arch, kernel.release, epoch)


def obtain_profiler_archive(
    modules: list[profiler.GuestModule], cache: Path, arch: str, release: str, epoch: int
) -> Path:
    """Compile the recorders, and write the archive that brings them and some modules in."""
    recorders = [
        obtain_recorder(recorder, arch, cache)
        for recorder in profiler.RECORDERS
        if arch in recorder.arches
    ]

    def make(target: Path) -> None:
        profiler.make_profiler(modules, recorders, release, arch, target, epoch=epoch)

    with progress.step("profiler archive"):
        parts = [*recorders, *(module.path for module in modules)]
        digest = store.digest_of(modules, epoch, *parts)
        return store.obtain(cache, "profiler", digest, make, ".cpio")[0]


def obtain_recorder(recorder: profiler.Recorder, arch: str, cache: Path) -> Path:
    """Compile a recorder, or find the one compiled before from the same sources."""
    sources = sorted(
        path
        for path in recorder.sources.iterdir()
        if path.suffix in (".c", ".h") or path.name == "Makefile"
    )

    def make(target: Path) -> None:
        profiler.make_recorder(recorder, arch, target, cache / f"{recorder.name}.log")

    with progress.step(recorder.name) as update:
        digest = store.digest_of(arch, *sources, *COMMON)
        folder, reused = store.obtain(cache, recorder.name, digest, make)
        update("unchanged, reused" if reused else "compiled")
    return folder / recorder.name
