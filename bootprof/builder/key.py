# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""A key: a medium that holds what is needed to make another one, without a network.

Its folder ``builder`` has a squashfs with this program, the tools that it runs, compiled guest
programs and the configuration; and a pool with the packages of both systems. A boot reads none of
it: ``bootprof`` of the live system mounts the squashfs when it is called (guest/key/bootprof).
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import optimizer
from bootprof import progress, sources
from bootprof.builder import catalogues, changes, initrds, overlay, pool, prepared, roots, store
from bootprof.builder.config import LiveConfig, Squashfs
from bootprof.builder.hooks import DATA, STEPS
from bootprof.builder.initrd import additions, profiler, readahead
from bootprof.builder.initrd.archive import COMMON, compile_small, small_name
from bootprof.builder.kernelmodule import build_module
from bootprof.builder.layers import as_toml
from bootprof.builder.media.contents import BUILDER, KEY, POOL, KeyParts
from bootprof.builder.overlay import Entry, Overlay
from bootprof.builder.request import BuildRequest
from bootprof.builder.root import Kernel, limit_times, packages, version_key
from bootprof.builder.roottree import RootTree, open_tree
from bootprof.builder.squashfs import make_squashfs
from bootprof.errors import InputError
from bootprof.files import staging_beside

# Its folder in the running system.
MEDIUM = f"/run/live/medium/{KEY}"
# In the squashfs: the configuration, and what it refers to.
CONFIGURATION = "usr/share/bootprof/key"
PACKAGE_FOLDER = "usr/lib/python3/dist-packages"
STARTER = """\
#!/usr/bin/python3
import sys

from bootprof.cli import main

sys.exit(main())
"""
# What a build runs, and the modules of Python that this program imports.
PACKAGES = (
    "cpio",
    "dosfstools",
    "e2fsprogs",
    "fdisk",
    "grub-common",
    "grub-efi-amd64-bin",
    "grub-efi-ia32-bin",
    "grub-pc-bin",
    "mmdebstrap",
    "mtools",
    "python3",
    "python3-lz4",
    "python3-lzo",
    "python3-numpy",
    "python3-pycdlib",
    "python3-pyelftools",
    "python3-rich",
    "python3-zstandard",
    "squashfs-tools",
    "xorriso",
    "zstd",
)
# pyproject.toml has the same.
LEAST_PYTHON = "3.11"
ISOLINUX_PACKAGES = ("isolinux", "syslinux-common")
# Of /usr, what only a person reads; licences stay.
DOCUMENTS = ("usr/share/doc/", "usr/share/info/", "usr/share/locale/", "usr/share/man/")
LICENCE = "copyright"
# Left behind by compilers and Python in the folders of this program.
LEFT_OUT = ("__pycache__", "build", "*.o", "*.ko", "*.mod", "*.mod.c", "*.cmd", ".*", "*.pyc")
PACKED = Squashfs(exclude=())


def obtain_key(
    request: BuildRequest,
    wanted: LiveConfig,
    cache: Path,
    bootstrapped: Path,
    kernel: Kernel,
    epoch: int,
    version: tuple[int, int, int],
) -> KeyParts:
    """Make what a key has, or find what was made before; a running key hands on its own.

    Args:
        request: The build.
        wanted: Its configuration, without what features have added.
        cache: Where it is kept.
        bootstrapped: The system of the image, as it was bootstrapped.
        kernel: That of the image.
        epoch: Newest time stamp on the medium (seconds since 1970).
        version: That of mksquashfs.

    Raises:
        InputError: The configuration cannot have a key, or the archive is newer than the system.
    """
    if wanted.key.source:
        squashfs, packed = given(request.base / wanted.key.source)
    else:
        full = roots.obtain_bootstrapped(
            with_packages(request, wanted),
            cache,
            name="builder",
            options=pool.options(wanted.key.packages),
        )
        check_versions(bootstrapped, full)
        packed = pool.obtain_pool(cache, full, wanted.system.suite, epoch)
        trees = (bootstrapped, full)
        squashfs = obtain_squashfs(request, wanted, cache, trees, kernel, epoch, version)
    recorder = initrds.obtain_profiler(request, cache, kernel, [], epoch)
    return KeyParts(squashfs, packed, recorder, profiler.BOOT_OPTIONS)


def given(folder: Path) -> tuple[Path, Path]:
    """Return builder and pool of another key.

    Raises:
        InputError: The folder is not that of a key.
    """
    squashfs, packed = folder / BUILDER, folder / POOL
    for path in (squashfs, packed / pool.INDEX):
        if not path.is_file():
            raise InputError(f"{path}: not found", hint=f"key.source is the folder {KEY} of a key")
    return squashfs, packed


def with_packages(request: BuildRequest, wanted: LiveConfig) -> BuildRequest:
    """Return a build whose system has the packages of the builder, too."""
    system = request.config.system
    isolinux = ISOLINUX_PACKAGES if wanted.media.boot_loader == "isolinux" else ()
    more = replace(system, packages=(*system.packages, *PACKAGES, *isolinux))
    return replace(request, config=replace(request.config, system=more))


def check(config: LiveConfig) -> None:
    """Check that a configuration can have a key.

    Raises:
        InputError: It cannot.
    """
    unpacked = config.system.source and not config.key.source
    for wrong, what in (
        (unpacked, "a bootstrapped root, or the builder of another key: set key.source"),
        (config.system.arch != "amd64", 'system.arch = "amd64"'),
        ("netboot" in config.media.kinds, "a medium: leave netboot out of media.kinds"),
    ):
        if wrong:
            raise InputError(f"key.enabled needs {what}")


def check_versions(below: Path, above: Path) -> None:
    """Check that the systems with and without the builder are of one state of the archive.

    Raises:
        InputError: They are not, and the pool has no packages for the first one; or the Python of
            the builder is too old for this program.
    """
    old, new = packages(below), packages(above)
    differing = [name for name, version in old.items() if new.get(name) != version]
    if differing:
        name = differing[0]
        raise InputError(
            f"{len(differing)} packages have changed in the archive since the bootstrap, for "
            f"example {name}: {old[name]}, now {new.get(name, 'gone')}",
            hint="bootprof build --refresh",
        )
    found = new.get("python3:amd64", "")
    if version_key(found.partition("-")[0]) < version_key(LEAST_PYTHON):
        raise InputError(
            f"a key needs Python {LEAST_PYTHON}, and the suite has {found or 'none'}",
            hint="set system.suite to bookworm or later",
        )


def obtain_squashfs(
    request: BuildRequest,
    wanted: LiveConfig,
    cache: Path,
    trees: tuple[Path, Path],
    kernel: Kernel,
    epoch: int,
    version: tuple[int, int, int],
) -> Path:
    """Pack the builder: what packages add to the system, this program, and the configuration."""
    arch, suite = wanted.system.arch, wanted.system.suite
    compiled = [
        initrds.obtain_recorder(recorder, arch, cache).parent
        for recorder in profiler.RECORDERS
        if arch in recorder.arches
    ]
    compiled.append(
        build_module(suite, cache, architecture=arch, kernel_release=kernel.release).module.parent
    )
    small = (additions.MEDIUM_ID, readahead.PROGRAM)
    own = dict(software())
    text, references = configuration(request, wanted)

    def make(target: Path) -> None:
        log_file = cache / "mksquashfs.log"
        log_file.unlink(missing_ok=True)
        with staging_beside(target) as staging:
            with open_tree(staging) as tree:
                overlay.apply(added(*trees, epoch), tree)
                for path, source in own.items():
                    tree.write_file(path, source.read_bytes(), mode_of(source))
                for path, content in catalogues.compiled().items():
                    tree.write_file(catalogue_path(path), content)
                tree.write_file("usr/bin/bootprof", STARTER.encode(), 0o755)
                store_compiled(tree, compiled)
                for source in small:
                    path = f"{str(prepared.FOLDER)[1:]}/{small_name(source, arch)}"
                    tree.write_file(path, b"", 0o755)
                    compile_small(source, tree.locate(path), arch)
                write_configuration(tree, trees[0], text, references)
                limit_times(tree, epoch)
            make_squashfs(
                PACKED,
                staging,
                target,
                sort=None,
                epoch=epoch,
                log_file=log_file,
                progress=update,
            )
        # A medium records it.
        os.utime(target, (epoch, epoch))

    with progress.step("squashfs with the builder") as update:
        digest = store.digest_of(
            *(tree.name for tree in trees),
            *(tree.stat().st_mtime_ns for tree in trees),
            *(path.name for path in compiled),
            *(*small, *COMMON, text, epoch, version, PACKED, Path(__file__), sorted(own)),
            *own.values(),
            [(name, each.digest()) for name, each in references.items()],
        )
        squashfs, reused = store.obtain(cache, "builder", digest, make, ".squashfs")
        size = f"{squashfs.stat().st_size / 1e6:.1f} MB"
        update(f"{size}, unchanged, reused" if reused else size)
    return squashfs


def added(below: Path, above: Path, epoch: int) -> Overlay:
    """Return what one system has more than another: in /usr, and files of /etc that are new.

    What both have in /etc belongs to the live system that runs, such as its users.
    """

    def kept(entry: Entry) -> bool:
        if entry.path.startswith(DOCUMENTS):
            return Path(entry.path).name == LICENCE
        if entry.path.startswith("etc/"):
            return entry.type != stat.S_IFDIR and entry.path not in old
        return entry.path.startswith("usr/") and entry.type != stat.S_IFCHR

    old = {entry.path for entry in overlay.scan(below).entries}
    entries = [entry for entry in changes.between(below, above, epoch).entries if kept(entry)]
    names = {entry.path for entry in entries}
    return Overlay(
        above,
        tuple(
            replace(entry, hard_link=entry.hard_link if entry.hard_link in names else "")
            for entry in entries
        ),
    )


def software() -> Iterator[tuple[str, Path]]:
    """Yield this program's files by their path in the squashfs, as a wheel has them."""
    package = Path(sources.__file__).parent
    folders = {
        "bootprof": package,
        "optimizer": Path(optimizer.__file__).parent,
        "bootprof/native/kmod": sources.KERNEL_MODULE,
        "bootprof/native/ebpf": sources.TRACER,
    }
    for name, folder in folders.items():
        for path in sorted(folder.rglob("*")):
            relative = path.relative_to(folder)
            out = any(Path(part).match(what) for part in relative.parts for what in LEFT_OUT)
            if path.is_file() and not out:
                yield f"{PACKAGE_FOLDER}/{name}/{relative}", path


def mode_of(source: Path) -> int:
    """Return the mode of a copy of a file; of the file's mode, only "executable" counts."""
    return 0o755 if source.stat().st_mode & 0o100 else 0o644


def catalogue_path(path: str) -> str:
    """Return where the squashfs has a compiled catalogue, beside its source."""
    language = path.split("/")[3]
    return f"{PACKAGE_FOLDER}/bootprof/guest/live/po/{language}.mo"


def store_compiled(tree: RootTree, folders: list[Path]) -> None:
    """Copy entries of a cache to where a running key finds them."""
    for folder in folders:
        for path in sorted(folder.iterdir()):
            target = f"{str(prepared.FOLDER)[1:]}/{folder.name}/{path.name}"
            tree.write_file(target, path.read_bytes(), mode_of(path))


def configuration(request: BuildRequest, config: LiveConfig) -> tuple[str, Mapping[str, Overlay]]:
    """Return the configuration of a running key, and the folders that it refers to.

    The files of the folders are those of the configuration that the key is built by.
    """
    inside = f"/{CONFIGURATION}"
    system, found = config.system, {}
    for name in ("files", "patches", "hooks"):
        if folder := getattr(system, name):
            found[name] = overlay.scan(request.base / folder, key=f"system.{name}")
    if "hooks" in found:
        # Anything else in this folder is refused.
        tops = (*STEPS, DATA)
        found["hooks"] = replace(
            found["hooks"],
            entries=tuple(e for e in found["hooks"].entries if e.path.split("/")[0] in tops),
        )
    modules = tuple(request.base / name for name in system.additional_modules)
    singles = {"sort": request.base / config.squashfs.sort, **{m.name: m for m in modules}}
    if config.readahead.bootlog:
        singles["bootlog"] = request.base / config.readahead.bootlog
    for name, path in singles.items():
        if path.is_file():
            found[f"further/{name}"] = single(path)
    moved = replace(
        config,
        system=replace(
            system,
            mirrors=(f"deb [trusted=yes] copy:{MEDIUM}/{POOL} ./",),
            keyring="",
            files=f"{inside}/files",
            patches=f"{inside}/patches" if system.patches else "",
            hooks=f"{inside}/hooks" if system.hooks else "",
            additional_modules=tuple(f"{inside}/further/{m.name}" for m in modules),
        ),
        squashfs=replace(config.squashfs, sort=f"{inside}/further/sort"),
        readahead=replace(
            config.readahead,
            bootlog=f"{inside}/further/bootlog" if config.readahead.bootlog else "",
        ),
        key=replace(config.key, source=MEDIUM),
    )
    return as_toml(moved), found


def single(path: Path) -> Overlay:
    """Return one file as a folder that is copied."""
    entry, _ = overlay.examine(path.parent, path.name, "the configuration")
    return Overlay(path.parent, (entry,))


def write_configuration(
    tree: RootTree, bootstrapped: Path, text: str, references: Mapping[str, Overlay]
) -> None:
    """Write the configuration of a running key and what it refers to.

    The archives of a system that is built from the pool are those of the first one.
    """
    tree.write_file(f"{CONFIGURATION}/live.cfg", text.encode())
    tree.make_folder(f"{CONFIGURATION}/files")
    with open_tree(bootstrapped) as system:
        for pattern in ("etc/apt/sources.list", "etc/apt/sources.list.d/*"):
            for path in system.glob(pattern):
                if system.is_file(path):
                    tree.write_file(f"{CONFIGURATION}/files/{path}", system.read_file(path))
    for name, content in references.items():
        if name.startswith("further/"):
            (entry,) = content.entries
            data = b"".join(overlay.content(content.folder, entry))
            tree.write_file(f"{CONFIGURATION}/{name}", data)
            continue
        tree.make_folder(f"{CONFIGURATION}/{name}")
        with open_tree(tree.locate(f"{CONFIGURATION}/{name}")) as below:
            overlay.apply(content, below)
