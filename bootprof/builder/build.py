"""Building a live image from its configuration, step by step, reusing what has not changed."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

import msgspec

from bootprof import progress
from bootprof.builder import store
from bootprof.builder.config import Initrd, LiveConfig
from bootprof.builder.initrd import additions, profiler, repack
from bootprof.builder.initrd.readahead import (
    FILES,
    PROGRAM,
    ReadaheadRequest,
    make_archive,
    make_list,
)
from bootprof.builder.kernelmodule import build_module
from bootprof.builder.media import iso
from bootprof.builder.root import Kernel, find_kernel, make_root, source_date_epoch
from bootprof.builder.squashfs import make_squashfs, mksquashfs_version
from bootprof.errors import InputError, UnsupportedError
from bootprof.files import file_digest, replace_link, replacing, write_output
from optimizer import staleness
from optimizer.formats.sortfile import paths_of_sort_file


@dataclass(frozen=True)
class BuildRequest:
    """What to build.

    Attributes:
        config: The configuration.
        base: Folder that paths in the configuration are relative to.
        output: Folder for everything that is made.
        image: ISO image to write, or None for ``<output>/<name>.iso``.
        profiling: Add the profiler archive and start it.
        sort: Use the configured sort file if it is there.
        readahead: What the image shall read ahead, or None.
    """

    config: LiveConfig
    base: Path
    output: Path
    image: Path | None = None
    profiling: bool = False
    sort: bool = True
    readahead: ReadaheadRequest | None = None


@dataclass(frozen=True)
class BuildResult:
    """What was built.

    Attributes:
        image: The ISO image.
        squashfs: The squashfs in it.
        root: Root file system that it was packed from.
        sort: Sort file that ordered it, or None.
    """

    image: Path
    squashfs: Path
    root: Path
    sort: Path | None


def build(request: BuildRequest) -> BuildResult:
    """Build a live image.

    Raises:
        BootprofError: A step failed, or the configuration names something that is not there.
    """
    if os.geteuid() != 0:
        raise UnsupportedError(
            "a build bootstraps a system with its devices and owners, which only root may",
            hint="run it with sudo",
        )
    config = request.config
    sort = find_sort_file(request)
    additional = [request.base / name for name in config.system.additional_modules]
    for module in additional:
        profiler.module_version_magic(module)
    version = mksquashfs_version()
    cache = request.output / "cache"
    with store.locked(cache):
        root = obtain_root(request, cache)
        kernel = find_kernel(root)
        epoch = source_date_epoch(root)
        if sort is not None:
            warn_if_stale(sort, root, config.squashfs.stale_percent)
        squashfs = obtain_squashfs(request, cache, root, sort, epoch, version)
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
    result = BuildResult(image, squashfs, root, sort)
    link(request.output / "root", root)
    write_manifest(request, result, kernel, version)
    return result


def find_sort_file(request: BuildRequest) -> Path | None:
    """Return the configured sort file if it is wanted and there."""
    path = request.base / request.config.squashfs.sort
    if not request.sort or not path.is_file():
        return None
    return path


def warn_if_stale(sort: Path, root: Path, threshold_percent: float) -> None:
    """Say so if a sort file was made for a root that was rather different."""
    found = staleness.check(paths_of_sort_file(sort.read_bytes()), staleness.Root(root))
    stale = len(found.moved) + len(found.gone)
    files = found.kept + stale
    if stale and 100 * stale / files > threshold_percent:
        progress.note(
            f"bootprof: warning: {stale} of {files} files of {sort} are not in the root "
            f"({len(found.moved)} have moved, {len(found.gone)} are gone)"
        )
        progress.note(
            "bootprof: hint: profile again, or map the bootlog with bootprof check and sort it anew"
        )


def obtain_root(request: BuildRequest, cache: Path) -> Path:
    """Bootstrap the root file system, or find the one made before from the same settings."""
    system = request.config.system
    files = request.base / system.files if system.files else None
    if files is not None and not files.is_dir():
        raise InputError(f"{files}: no such folder", hint="system.files names it")
    log_file = cache / "root.log"
    udev_rules = additions.UDEV_RULES if request.config.media.quick_probes else None
    listing = sorted((str(p.relative_to(files)), p) for p in files.rglob("*")) if files else []

    def make(target: Path) -> None:
        log_file.unlink(missing_ok=True)
        make_root(
            system,
            target,
            files=files,
            udev_rules=udev_rules,
            log_file=log_file,
            progress=update,
        )

    with progress.step(f"root file system ({system.suite}, {system.arch})") as update:
        digest = store.digest_of(system, udev_rules, *(part for entry in listing for part in entry))
        root, reused = store.obtain(cache, "root", digest, make)
        update("unchanged, reused" if reused else "bootstrapped")
    return root


def obtain_squashfs(
    request: BuildRequest,
    cache: Path,
    root: Path,
    sort: Path | None,
    epoch: int,
    version: tuple[int, int, int],
) -> Path:
    """Pack the root file system, or find the squashfs packed before from the same."""
    options = request.config.squashfs
    log_file = cache / "mksquashfs.log"
    complaints: list[str] = []

    def make(target: Path) -> None:
        log_file.unlink(missing_ok=True)
        update("packing")
        complaints.extend(
            make_squashfs(
                options,
                root,
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
        same = msgspec.structs.replace(options, stale_percent=0.0)
        digest = store.digest_of(same, root.name, sort, epoch, version)
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

    def make(target: Path) -> None:
        profiler.make_profiler(modules, recorders, kernel.release, system.arch, target, epoch=epoch)

    recorders = [
        obtain_recorder(recorder, system.arch, cache)
        for recorder in profiler.RECORDERS
        if system.arch in recorder.arches
    ]
    with progress.step("profiler archive"):
        parts = [profiler.AGENT_SOURCE, *recorders, *(module.path for module in modules)]
        digest = store.digest_of(modules, epoch, *parts)
        return store.obtain(cache, "profiler", digest, make, ".cpio")[0]


def obtain_recorder(recorder: profiler.Recorder, arch: str, cache: Path) -> Path:
    """Compile a program that records, or find what was compiled before from the same sources."""
    sources = sorted(
        path
        for path in recorder.sources.iterdir()
        if path.suffix in (".c", ".h") or path.name == "Makefile"
    )

    def make(target: Path) -> None:
        profiler.make_recorder(recorder, arch, target, cache / f"{recorder.name}.log")

    with progress.step(recorder.name) as update:
        digest = store.digest_of(arch, *sources)
        folder, reused = store.obtain(cache, recorder.name, digest, make)
        update("unchanged, reused" if reused else "compiled")
    return folder / recorder.name


def obtain_additions(cache: Path, arch: str, epoch: int) -> Path:
    """Write the initrd archive that every image gets."""

    def make(target: Path) -> None:
        additions.make_additions(target, arch, epoch=epoch)

    digest = store.digest_of(*additions.ADDITIONS, *additions.PROGRAMS, arch, epoch)
    return store.obtain(cache, "additions", digest, make, ".cpio")[0]


def obtain_readahead(
    request: ReadaheadRequest, cache: Path, squashfs: Path, arch: str, epoch: int
) -> Path:
    """Make the readahead list for a squashfs, and the initrd archive that acts on it."""

    def make(target: Path) -> None:
        make_archive(content, arch, target, epoch=epoch)

    with progress.step(f"readahead list for {request.drive.title}") as update:
        content = make_list(request, squashfs)
        update(f"{sum(not line.startswith(b'#') for line in content.splitlines())} ranges")
        digest = store.digest_of(content, PROGRAM, *FILES, arch, epoch)
        return store.obtain(cache, "readahead", digest, make, ".cpio")[0]


def obtain_initrd(config: Initrd, cache: Path, kernel: Kernel) -> Path:
    """Pack the initrd again, or give it as it is a file name that fits every boot loader."""

    def make(target: Path) -> None:
        if keep:
            shutil.copyfile(kernel.initrd, target)
        else:
            content, name = kernel.initrd.read_bytes(), str(kernel.initrd)
            target.write_bytes(repack.repack(content, name, config.leave_out, config.keep))

    options = kernel.image.with_name(f"config-{kernel.release}")
    able = options.is_file() and "CONFIG_RD_ZSTD=y" in options.read_text()
    keep = config.compressor == "keep" or not able
    with progress.step("initrd, as it is" if keep else "initrd, packed again") as update:
        digest = store.digest_of(kernel.initrd, config, keep, Path(repack.__file__))
        path, _ = store.obtain(cache, "initrd", digest, make, ".img")
        before, after = kernel.initrd.stat().st_size, path.stat().st_size
        update(f"{before / 1e6:.1f} MB, now {after / 1e6:.1f} MB")
    return path


def link(name: Path, target: Path) -> None:
    """Let a symbolic link with a fixed name point to a thing with a digest in its name."""
    replace_link(name, target.relative_to(name.parent))


def write_manifest(
    request: BuildRequest, result: BuildResult, kernel: Kernel, version: tuple[int, int, int]
) -> None:
    """Write what an image was made from, beside it, as JSON."""
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
        "profiling": request.profiling,
        "readahead": request.readahead.source if request.readahead else None,
    }
    content = json.dumps(manifest, indent=2) + "\n"
    write_output(result.image.with_suffix(".json"), content.encode())
