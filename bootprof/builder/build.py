# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""Building a live image from its configuration, step by step, reusing what has not changed."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from bootprof import progress
from bootprof.builder import identity, overlay, root, store
from bootprof.builder.config import Initrd, LiveConfig
from bootprof.builder.initrd import additions, profiler, repack
from bootprof.builder.initrd.archive import COMMON
from bootprof.builder.initrd.readahead import (
    FILES,
    PROGRAM,
    ReadaheadRequest,
    make_archive,
    make_list,
)
from bootprof.builder.kernelmodule import build_module
from bootprof.builder.media import iso
from bootprof.builder.overlay import Overlay
from bootprof.builder.root import Kernel, find_kernel, source_date_epoch
from bootprof.builder.roottree import open_tree
from bootprof.builder.sources import debian, directory, oci, tarball
from bootprof.builder.squashfs import make_squashfs, mksquashfs_version
from bootprof.errors import InputError, UnsupportedError
from bootprof.files import file_digest, replace_link, replacing, scratch_folder, write_output
from optimizer import staleness
from optimizer.formats.sortfile import paths_of_sort_file

# Root trees and squashfs images that stay in the cache. Each change of a file makes another one.
KEPT = 8


@dataclass(frozen=True)
class BuildRequest:
    """What to build.

    Attributes:
        config: The configuration.
        base: Folder that paths in the configuration are relative to.
        output: Folder for everything that is built.
        image: ISO image to write, or None for ``<output>/<name>.iso``.
        profiling: Add the profiler archive and start it.
        sort: Use the configured sort file if it exists.
        readahead: What the image reads ahead, or None.
        refresh: Bootstrap again, even if packages and archive addresses are unchanged.
    """

    config: LiveConfig
    base: Path
    output: Path
    image: Path | None = None
    profiling: bool = False
    sort: bool = True
    readahead: ReadaheadRequest | None = None
    refresh: bool = False


@dataclass(frozen=True)
class BuildResult:
    """The result of a build.

    Attributes:
        image: The ISO image.
        squashfs: The squashfs in it.
        root: Root tree that it was packed from.
        sort: Sort file that ordered it, or None.
    """

    image: Path
    squashfs: Path
    root: Path
    sort: Path | None


def build(request: BuildRequest) -> BuildResult:
    """Build a live image.

    Raises:
        BootprofError: A step failed, or the configuration names something that does not exist.
    """
    if os.geteuid() != 0:
        raise UnsupportedError(
            "bootstrapping a system with its devices and owners needs root privileges",
            hint="run it with sudo",
        )
    config = request.config
    sort = find_sort_file(request)
    additional = [request.base / name for name in config.system.additional_modules]
    for module in additional:
        profiler.module_version_magic(module)
    files = find_files(request)
    version = mksquashfs_version()
    cache = request.output / "cache"
    with store.locked(cache), temporary_files():
        tree = obtain_root(request, cache, files)
        kernel = find_kernel(tree)
        epoch = source_date_epoch(tree)
        if sort is not None:
            warn_if_stale(sort, tree, config.squashfs.stale_percent)
        squashfs = obtain_squashfs(request, cache, tree, sort, epoch, version)
        initrds = [obtain_initrd(config.initrd, cache, kernel)]
        if config.media.quick_probes:
            initrds.append(obtain_additions(cache, config.system.arch, epoch))
        if request.readahead is not None:
            arch = config.system.arch
            initrds.append(obtain_readahead(request.readahead, cache, squashfs, arch, epoch))
        boot_options = config.media.boot_options
        if request.profiling:
            initrds.append(obtain_profiler(request, cache, kernel, additional, epoch))
            boot_options = f"{boot_options} {profiler.BOOT_OPTIONS}"
        boot = iso.BootFiles(kernel.image, tuple(initrds), boot_options)
        image = request.image or request.output / f"{config.name}.iso"
        with progress.step(f"ISO image {image}") as update, replacing(image) as temporary:
            iso.make_iso(config.media, boot, squashfs, temporary, epoch=epoch)
            update(f"{temporary.stat().st_size / 1e6:.1f} MB")
        for name in ("root", "filesystem"):
            store.prune(cache, name, KEPT)
    result = BuildResult(image, squashfs, tree, sort)
    # A fixed name for the thing that has a digest in its own.
    replace_link(request.output / "root", tree.relative_to(request.output))
    write_manifest(request, result, kernel, version)
    return result


def find_sort_file(request: BuildRequest) -> Path | None:
    """Return the configured sort file if it is enabled and exists."""
    path = request.base / request.config.squashfs.sort
    if not request.sort or not path.is_file():
        return None
    return path


@contextmanager
def temporary_files() -> Iterator[None]:
    """Let compilers and other programs put temporary files where the next run removes them."""
    before = os.environ.get("TMPDIR")
    with scratch_folder() as folder:
        # apt drops its privileges before it reads its configuration there.
        folder.chmod(0o755)
        os.environ["TMPDIR"] = str(folder)
        try:
            yield
        finally:
            del os.environ["TMPDIR"]
            if before is not None:
                os.environ["TMPDIR"] = before


def find_files(request: BuildRequest) -> Overlay | None:
    """Look through the folder that is copied over the root tree, if there is one."""
    system = request.config.system
    if not system.files:
        return None
    folder = request.base / system.files
    if request.output.resolve().is_relative_to(folder.resolve()):
        raise InputError(
            f"{folder}: contains the output folder {request.output}, which would be copied too",
            hint="choose another folder with system.files or --output",
        )
    files = overlay.scan(folder, system.files_owner)
    owned = [entry for entry in files.entries if entry.attributes.owner[0] != 0]
    if owned:
        progress.note(
            f"bootprof: warning: {len(owned)} of {len(files.entries)} entries of {files.folder} "
            f"belong to users other than root, for example {owned[0].path} to user "
            f"{owned[0].attributes.owner[0]}; the copies will, too"
        )
        progress.note(
            'bootprof: hint: set system.files_owner to "root", or chown them to the right user'
        )
    return files


def warn_if_stale(sort: Path, tree: Path, threshold_percent: float) -> None:
    """Warn if a sort file was made for a different root tree."""
    found = staleness.check(paths_of_sort_file(sort.read_bytes()), staleness.Root(tree))
    stale = len(found.moved) + len(found.gone)
    files = found.kept + stale
    if stale and 100 * stale / files > threshold_percent:
        progress.note(
            f"bootprof: warning: {stale} of {files} files of {sort} are not in the root "
            f"({len(found.moved)} have moved, {len(found.gone)} are gone)"
        )
        progress.note(
            "bootprof: hint: profile again, or map the bootlog with bootprof check and sort again"
        )


def obtain_root(request: BuildRequest, cache: Path, files: Overlay | None) -> Path:
    """Make the root tree, or find the one made before from the same settings and files."""
    system = request.config.system
    obtain_first = obtain_unpacked if system.source else obtain_bootstrapped
    bootstrapped = obtain_first(request, cache)
    udev_rules = additions.UDEV_RULES if request.config.media.quick_probes else None

    def make(target: Path) -> None:
        root.finish(request.config, bootstrapped, target, files=files, udev_rules=udev_rules)

    with progress.step("root tree") as update:
        digest = store.digest_of(
            bootstrapped.name,
            # A bootstrap done again has the same name.
            bootstrapped.stat().st_mtime_ns,
            (system.hostname, system.root_password, request.config.desktop),
            (identity.REMOVED, identity.EMPTIED),
            udev_rules,
            files.digest() if files is not None else None,
        )
        tree, reused = store.obtain(cache, "root", digest, make)
        update("unchanged, reused" if reused else "cleaned, configured")
    return tree


def obtain_bootstrapped(request: BuildRequest, cache: Path) -> Path:
    """Bootstrap a system, or find the one bootstrapped before from the same packages."""
    system = request.config.system
    words = debian.command_of(system)

    def make(target: Path) -> None:
        debian.bootstrap(
            words,
            target,
            system.mirrors,
            env=system.install_env,
            log_file=cache / "bootstrap.log",
            progress=update,
        )

    with progress.step(f"bootstrap of {system.suite}, {system.arch}") as update:
        digest = store.digest_of(words, system.mirrors, sorted(system.install_env.items()))
        tree, reused = store.obtain(cache, "bootstrap", digest, make, again=request.refresh)
        update("unchanged, reused" if reused else "bootstrapped")
    return tree


def obtain_unpacked(request: BuildRequest, cache: Path) -> Path:
    """Unpack or copy the configured root tree, or find the one made before from the same."""
    system = request.config.system
    source = request.base / system.source
    if not source.is_dir() and not source.is_file():
        raise InputError(f"{source}: no such folder or archive", hint="check system.source")
    image = oci.is_image(source)
    folder = overlay.scan(source, key="system.source") if source.is_dir() else None

    def make(target: Path) -> None:
        target.mkdir()
        with open_tree(target) as tree:
            if image:
                newest = oci.unpack(source, system.arch, tree)
            elif folder is not None:
                newest = directory.copy(folder, tree)
            else:
                newest = tarball.unpack(source, tree)
        os.utime(target, (newest, newest))

    with progress.step(f"root tree of {source}") as update:
        content = folder.digest() if folder is not None else file_digest(source)
        digest = store.digest_of(content, system.arch)
        tree, reused = store.obtain(cache, "source", digest, make, again=request.refresh)
        update("unchanged, reused" if reused else "unpacked")
    return tree


def obtain_squashfs(
    request: BuildRequest,
    cache: Path,
    tree: Path,
    sort: Path | None,
    epoch: int,
    version: tuple[int, int, int],
) -> Path:
    """Pack the root tree, or find the squashfs packed before from the same tree."""
    options = request.config.squashfs
    log_file = cache / "mksquashfs.log"
    complaints: list[str] = []

    def make(target: Path) -> None:
        log_file.unlink(missing_ok=True)
        update("packing")
        complaints.extend(
            make_squashfs(
                options,
                tree,
                target,
                sort=sort,
                epoch=epoch,
                log_file=log_file,
                progress=lambda _: update(f"{target.stat().st_size / 1e6:.0f} MB packed"),
            )
        )
        os.utime(target, (epoch, epoch))

    how = f"sorted by {sort}" if sort else "not sorted"
    with progress.step(f"squashfs ({options.compressor}, {how})") as update:
        # The threshold of a warning changes no image.
        same = replace(options, stale_percent=0.0)
        digest = store.digest_of(same, tree.name, sort, epoch, version)
        squashfs, reused = store.obtain(cache, "filesystem", digest, make, ".squashfs")
        size = f"{squashfs.stat().st_size / 1e6:.1f} MB"
        update(f"{size}, unchanged, reused" if reused else size)
    if complaints:
        progress.note(
            f"bootprof: warning: mksquashfs left out {len(complaints)} entries of {sort}: "
            f"{complaints[0].strip()}"
        )
    return squashfs


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

    recorders = [
        obtain_recorder(recorder, system.arch, cache)
        for recorder in profiler.RECORDERS
        if system.arch in recorder.arches
    ]

    def make(target: Path) -> None:
        profiler.make_profiler(modules, recorders, kernel.release, system.arch, target, epoch=epoch)

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


def obtain_additions(cache: Path, arch: str, epoch: int) -> Path:
    """Write the initrd archive that every image gets."""

    def make(target: Path) -> None:
        additions.make_additions(target, arch, epoch=epoch)

    digest = store.digest_of(*additions.ADDITIONS, *additions.PROGRAMS, *COMMON, arch, epoch)
    return store.obtain(cache, "additions", digest, make, ".cpio")[0]


def obtain_readahead(
    request: ReadaheadRequest, cache: Path, squashfs: Path, arch: str, epoch: int
) -> Path:
    """Make the readahead list of a squashfs, and the initrd archive that reads it ahead."""

    def make(target: Path) -> None:
        make_archive(content, arch, target, epoch=epoch)

    with progress.step(f"readahead list for {request.drive.title}") as update:
        content = make_list(request, squashfs)
        update(f"{sum(not line.startswith(b'#') for line in content.splitlines())} ranges")
        digest = store.digest_of(content, PROGRAM, *FILES, *COMMON, arch, epoch)
        return store.obtain(cache, "readahead", digest, make, ".cpio")[0]


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


def write_manifest(
    request: BuildRequest, result: BuildResult, kernel: Kernel, version: tuple[int, int, int]
) -> None:
    """Write the inputs of an image as JSON next to it."""
    sort = result.sort
    manifest = {
        "image": result.image.name,
        "image_bytes": result.image.stat().st_size,
        "image_sha256": file_digest(result.image),
        "squashfs": str(result.squashfs.relative_to(request.output)),
        "squashfs_bytes": result.squashfs.stat().st_size,
        "root": str(result.root.relative_to(request.output)),
        "kernel": kernel.release,
        "sort": str(sort) if sort else None,
        "sort_sha256": file_digest(sort) if sort else None,
        "mksquashfs": ".".join(str(number) for number in version),
        "packages": root.packages(result.root),
        "profiling": request.profiling,
        "readahead": request.readahead.source if request.readahead else None,
    }
    content = json.dumps(manifest, indent=2) + "\n"
    write_output(result.image.with_suffix(".json"), content.encode())
