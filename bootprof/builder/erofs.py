# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""Packing a root tree with mkfs.erofs, in the order of a boot.

mkfs.erofs has no option for the order of files. It writes a file at the first of its names, so the
tree is packed with a farm of hard links (:mod:`optimizer.images.erofs.farm`), which is taken out of
the image again; then blocks are moved, so that inodes follow the order, too.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bootprof.errors import BootprofError
from bootprof.files import remove
from bootprof.process import run
from optimizer.images.erofs.farm import FARM, farm_name, remove_farm
from optimizer.images.erofs.layout import read_layout
from optimizer.images.reorder import Place, Wanted, reorder, unequal


@dataclass(frozen=True)
class Erofs:
    """How a tree is packed.

    Attributes:
        compressor: As mkfs.erofs takes it after ``-z``: ``lz4hc,9``; empty for none.
        cluster_bytes: Largest physical cluster (``-C``).
        features: Extended options (``-E``), such as ``fragments``.
        program: mkfs.erofs, and what has to stand in front of it.
    """

    compressor: str = "lz4hc,9"
    cluster_bytes: int = 65536
    features: tuple[str, ...] = ()
    program: tuple[str, ...] = ("mkfs.erofs",)


def make_erofs(
    options: Erofs, root: Path, target: Path, *, identifier: str, epoch: int, log_file: Path
) -> None:
    """Pack a tree in the order of mkfs.erofs.

    Args:
        options: Compressor and the rest.
        root: Tree to pack.
        target: Image to write.
        identifier: UUID of the file system.
        epoch: Newest time stamp in the image (seconds since 1970).
        log_file: Where the output of mkfs.erofs goes.
    """
    command: list[str | Path] = [*options.program, "-U", identifier]
    if options.compressor:
        command += [f"-z{options.compressor}", f"-C{options.cluster_bytes}"]
    if options.features:
        command.append(f"-E{','.join(options.features)}")
    # A link as the tree wants a slash behind it.
    run(
        [*command, target, f"{root}/"],
        env={"SOURCE_DATE_EPOCH": str(epoch)},
        log_file=log_file,
    )


def make_ordered(
    options: Erofs,
    root: Path,
    target: Path,
    paths: Sequence[bytes],
    *,
    place: Place,
    identifier: str,
    epoch: int,
    log_file: Path,
) -> None:
    """Pack a tree in the order of some paths.

    The tree is copied as hard links next to ``target``, which has to be on the same file system.

    Args:
        options: As for :func:`make_erofs`.
        root: As for :func:`make_erofs`.
        target: As for :func:`make_erofs`.
        paths: Paths in the tree, in the order in which they are needed.
        place: Where they go.
        identifier: As for :func:`make_erofs`.
        epoch: As for :func:`make_erofs`.
        log_file: As for :func:`make_erofs`.

    Raises:
        BootprofError: The result is another tree than mkfs.erofs packed: an error of bootprof.
    """
    copy = target.with_name(f"{target.name}-tree")
    packed = target.with_name(f"{target.name}-packed")
    try:
        run(["cp", "--archive", "--link", "--no-target-directory", root.resolve(), copy])
        plant(copy, paths)
        make_erofs(options, copy, packed, identifier=identifier, epoch=epoch, log_file=log_file)
        with packed.open("r+b") as stream:
            remove_farm(read_layout(packed), stream)
        layout = read_layout(packed)
        wanted = Wanted(paths, place=place, even_if_slower=True)
        with packed.open("rb") as source, target.open("w+b") as written:
            reorder(layout, source, wanted, written)
            different = unequal(layout, source, read_layout(target), written)
        if different is not None:
            raise BootprofError(f"{target}: in another order, {different}")
    finally:
        remove(copy)
        packed.unlink(missing_ok=True)


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
