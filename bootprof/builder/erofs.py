# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""Packing a root tree with mkfs.erofs, in the order of a boot.

mkfs.erofs has no option for the order of files. It writes a file at the first of its names, so the
tree is packed with a farm of hard links (:mod:`optimizer.images.erofs.farm`), which is taken out of
the image again; then blocks are moved, so that inodes follow the order, too.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from bootprof.builder.config import Erofs
from bootprof.builder.root import Kernel, leave_out, limit_times
from bootprof.builder.roottree import open_tree
from bootprof.errors import BootprofError, InputError, ToolError, UnsupportedError
from bootprof.files import remove
from bootprof.process import program, run
from optimizer.images.erofs.farm import FARM, farm_name, remove_farm
from optimizer.images.erofs.layout import read_layout
from optimizer.images.reorder import Wanted, reorder, unequal

NO_COMPRESSION = "none"
# One of 1.5 ignores names that it does not know.
NEWER_FEATURES = {"all-fragments", "dedupe", "fragdedupe", "fragments"}
# What the build configuration of a kernel calls the decompressors besides LZ4.
KERNEL_OPTIONS = {
    "lzma": "CONFIG_EROFS_FS_ZIP_LZMA",
    "deflate": "CONFIG_EROFS_FS_ZIP_DEFLATE",
    "libdeflate": "CONFIG_EROFS_FS_ZIP_DEFLATE",
    "zstd": "CONFIG_EROFS_FS_ZIP_ZSTD",
}
COMPRESSORS = re.compile(rb"available compressors(?: are)?: ([a-z0-9, ]+)", re.IGNORECASE)
VERSION = re.compile(rb"mkfs\.erofs \(erofs-utils\) ([0-9][0-9A-Za-z.-]*)")


@dataclass(frozen=True)
class Packer:
    """A mkfs.erofs.

    Attributes:
        version: As it prints it; empty for one that prints none (1.5 and older).
        compressors: The compressors that it was built with, sorted.
    """

    version: str
    compressors: tuple[str, ...]


@dataclass(frozen=True)
class Stamp:
    """What an image carries besides the tree.

    Attributes:
        identifier: UUID of the file system.
        epoch: Newest time stamp in the image (seconds since 1970).
    """

    identifier: str
    epoch: int


def find_packer(options: Erofs) -> Packer:
    """Look at the configured mkfs.erofs.

    Raises:
        ToolError: It is not installed.
        UnsupportedError: It was built without the configured compressor, or would ignore a
            feature.
    """
    path = program(options.program)
    try:
        said = run([path, "-V"])
    except ToolError:
        # One of 1.5 knows no -V, and names its compressors with its options, as an error.
        said = run(["sh", "-c", 'exec "$0" --help 2>&1', path])
    version, listed = VERSION.search(said), COMPRESSORS.search(said)
    packer = Packer(
        version[1].decode() if version else "",
        tuple(sorted(re.findall(r"[a-z0-9]+", listed[1].decode()) if listed else ())),
    )
    if options.compressor not in (*packer.compressors, NO_COMPRESSION):
        has = ", ".join(packer.compressors) or "no compressor"
        raise UnsupportedError(
            f"{options.program}: built without {options.compressor}; it has {has}",
            hint="set erofs.program to the mkfs.erofs of erofs-utils 1.8 or newer (Debian 13), or "
            'erofs.compressor to "lz4hc"',
        )
    ignored = sorted(NEWER_FEATURES & set(options.features)) if not packer.version else ()
    if ignored:
        raise UnsupportedError(
            f"{options.program}: 1.5 or older, which ignores {', '.join(ignored)}",
            hint="set erofs.program to the mkfs.erofs of erofs-utils 1.8 or newer (Debian 13), or "
            "remove it from erofs.features",
        )
    return packer


def check_kernel(options: Erofs, kernel: Kernel) -> None:
    """Check that a kernel reads what is going to be packed, as far as its configuration says.

    Raises:
        InputError: It does not.
    """
    if not kernel.options:
        return
    lines = kernel.options.splitlines()
    wanted = KERNEL_OPTIONS.get(options.compressor)
    for name in ("CONFIG_EROFS_FS", *((wanted,) if wanted else ())):
        if not {f"{name}=y", f"{name}=m"} & set(lines):
            what = "EROFS" if name == "CONFIG_EROFS_FS" else f"EROFS with {options.compressor}"
            raise InputError(
                f"kernel {kernel.release}: reads no {what} ({name} is not set)",
                hint='set erofs.compressor to "lz4hc", or take a newer kernel'
                if wanted
                else 'set root.format to "squashfs"',
            )


def make_erofs(options: Erofs, root: Path, target: Path, stamp: Stamp, log_file: Path) -> None:
    """Pack a tree in the order of mkfs.erofs; nothing of it is left out.

    Args:
        options: Compressor and the rest.
        root: Tree to pack.
        target: Image to write.
        stamp: Identifier and time.
        log_file: Where the output of mkfs.erofs goes.
    """
    command: list[str | Path] = [options.program, "-U", stamp.identifier]
    if options.compressor != NO_COMPRESSION:
        level = f",{options.level}" if options.level >= 0 else ""
        command += [f"-z{options.compressor}{level}", f"-C{options.cluster_size}"]
    if options.features:
        command.append(f"-E{','.join(options.features)}")
    # A link as the tree wants a slash behind it.
    run(
        [*command, *options.options, target, f"{root}/"],
        env={"SOURCE_DATE_EPOCH": str(stamp.epoch)},
        log_file=log_file,
    )


def make_unordered(options: Erofs, root: Path, target: Path, stamp: Stamp, log_file: Path) -> None:
    """Pack a tree in the order of mkfs.erofs, without what the options exclude.

    The tree is copied as hard links next to ``target``, which has to be on the same file system.

    Args:
        options: As for :func:`make_erofs`.
        root: As for :func:`make_erofs`.
        target: As for :func:`make_erofs`.
        stamp: As for :func:`make_erofs`.
        log_file: As for :func:`make_erofs`.
    """
    with linked(options, root, target, stamp.epoch) as copy:
        make_erofs(options, copy, target, stamp, log_file)


def make_ordered(
    options: Erofs, root: Path, target: Path, wanted: Wanted, stamp: Stamp, log_file: Path
) -> None:
    """Pack a tree in the order of some paths, without what the options exclude.

    Args:
        options: As for :func:`make_unordered`.
        root: As for :func:`make_unordered`.
        target: As for :func:`make_unordered`.
        wanted: Paths in the tree, and where they go.
        stamp: As for :func:`make_unordered`.
        log_file: As for :func:`make_unordered`.

    Raises:
        BootprofError: The result is another tree than mkfs.erofs packed: an error of bootprof.
    """
    packed = target.with_name(f"{target.name}-packed")
    try:
        with linked(options, root, target, stamp.epoch) as copy:
            plant(copy, wanted.paths)
            make_erofs(options, copy, packed, stamp, log_file)
        with packed.open("r+b") as stream:
            remove_farm(read_layout(packed), stream)
        layout = read_layout(packed)
        with packed.open("rb") as source, target.open("w+b") as written:
            reorder(layout, source, replace(wanted, even_if_slower=True), written)
            different = unequal(layout, source, read_layout(target), written)
        if different is not None:
            raise BootprofError(f"{target}: in another order, {different}")
    finally:
        packed.unlink(missing_ok=True)


@contextmanager
def linked(options: Erofs, root: Path, target: Path, epoch: int) -> Iterator[Path]:
    """Give a copy of a tree, made of hard links beside a target, without what is excluded."""
    copy = target.with_name(f"{target.name}-tree")
    try:
        run(["cp", "--archive", "--link", "--no-target-directory", root.resolve(), copy])
        with open_tree(copy) as tree:
            if leave_out(tree, options.exclude):
                # The removal has changed the times of folders.
                limit_times(tree, epoch)
        yield copy
    finally:
        remove(copy)


def plant(tree: Path, paths: Sequence[bytes]) -> None:
    """Add the farm to a tree: hard links to the regular files among some paths.

    The time of the root directory stays.
    """
    before = tree.stat()
    farm = tree / os.fsdecode(FARM)
    farm.mkdir()
    found = (within(tree, path) for path in paths)
    for rank, file in enumerate(file for file in found if file is not None):
        (farm / os.fsdecode(farm_name(rank))).hardlink_to(file)
    for folder in (farm, tree):
        os.utime(folder, ns=(before.st_atime_ns, before.st_mtime_ns))


def within(tree: Path, path: bytes) -> Path | None:
    """Return a regular file of a tree, without a link on the way to it; None if it is none."""
    found = tree
    parts = [part for part in os.fsdecode(path).split("/") if part not in ("", ".")]
    if ".." in parts:
        return None
    for part in parts:
        found /= part
        if found.is_symlink():
            return None
    try:
        return found if stat.S_ISREG(found.lstat().st_mode) else None
    except OSError:
        return None
