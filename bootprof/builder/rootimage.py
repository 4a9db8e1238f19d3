# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""The root image of a build: the root tree packed, and kept in the cache."""

from __future__ import annotations

import os
import uuid
from dataclasses import replace
from pathlib import Path

from bootprof import progress
from bootprof.builder import blocks, changes, overlay, parts, store
from bootprof.builder.erofs import Packer, Stamp, make_ordered, make_unordered
from bootprof.builder.ext4 import make_ext4
from bootprof.builder.media.contents import RootImage
from bootprof.builder.order import reorder_image, wanted_of
from bootprof.builder.request import BuildRequest
from bootprof.builder.roots import Trees
from bootprof.builder.roottree import open_tree
from bootprof.builder.squashfs import make_squashfs
from bootprof.errors import InputError
from optimizer import staleness
from optimizer.formats.sortfile import paths_of_sort_file

# Behind the lowest layer in the order of names, by which live-boot stacks them.
CHANGES = "layer-changes.squashfs"


def find_sort_file(request: BuildRequest) -> Path | None:
    """Return the configured sort file if it is enabled and exists."""
    path = request.base / request.config.packing.sort
    sorts = request.sort and request.config.root.format != "ext4"
    if not sorts or not path.is_file():
        return None
    return path


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


def obtain_images(
    request: BuildRequest,
    cache: Path,
    trees: Trees,
    sort: Path | None,
    epoch: int,
    version: tuple[int, int, int],
    packer: Packer | None = None,
) -> tuple[RootImage, ...]:
    """Pack the root tree, whole or as layers, as it is configured.

    Args:
        request: The build.
        cache: Where images are kept.
        trees: Root tree, and the one below it if its changes are packed separately.
        sort: Sort file of the lowest layer, or None.
        epoch: Newest time stamp in the images (seconds since 1970).
        version: That of mksquashfs.
        packer: mkfs.erofs, if the format is EROFS.

    Returns:
        The images, the lowest layer first; live-boot stacks them in the order of their names.
    """
    if request.config.root.format == "ext4":
        images = [RootImage("filesystem.ext4", obtain_ext4(request, cache, trees.lowest, epoch))]
    elif packer is not None:
        file = obtain_erofs(request, cache, trees.lowest, sort, epoch, packer)
        images = [RootImage("filesystem.erofs", file)]
    else:
        images = obtain_parts(request, cache, trees.lowest, sort, epoch, version)
    if trees.base is not None:
        changed = obtain_changes(cache, trees.base, trees.full, epoch)
        layer = obtain_squashfs(request, cache, changed, None, epoch, version, "layer")
        images.append(RootImage(CHANGES, layer))
    limit_bytes = request.config.root.largest_mb * 10**6
    for image in images:
        if limit_bytes and image.file.stat().st_size > limit_bytes:
            raise InputError(
                f"{image.name}: {image.file.stat().st_size / 1e6:.1f} MB, more than "
                f"root.largest_mb = {request.config.root.largest_mb}",
                hint="allow larger files, or remove some; one file is never split",
            )
    return tuple(images)


def obtain_parts(
    request: BuildRequest,
    cache: Path,
    tree: Path,
    sort: Path | None,
    epoch: int,
    version: tuple[int, int, int],
) -> list[RootImage]:
    """Pack the root tree as squashfs, in several if one would exceed the limit of a file."""
    reorders = sort is not None and request.config.squashfs.reorder
    whole = obtain_squashfs(request, cache, tree, None if reorders else sort, epoch, version)
    if sort is not None and reorders:
        whole = obtain_reordered(cache, whole, sort, epoch)
    limit_bytes = request.config.root.largest_mb * 10**6
    count = parts.count_for(whole.stat().st_size, limit_bytes) if limit_bytes else 1
    if count == 1:
        return [RootImage("filesystem.squashfs", whole)]
    sorted_paths = paths_of_sort_file(sort.read_bytes()) if sort is not None else []
    with open_tree(tree) as opened:
        spread = parts.spread(
            opened, count, [os.fsdecode(path).lstrip("/") for path in sorted_paths]
        )
    images = []
    for number in range(count):
        others = [path for part in spread[:number] + spread[number + 1 :] for path in part]
        file = obtain_squashfs(
            request, cache, tree, sort if number == 0 else None, epoch, version,
            f"filesystem-part{number + 1}", parts.patterns(others),
        )  # fmt: skip
        name = f"filesystem-{number + 1}" if number else "filesystem"
        images.append(RootImage(f"{name}.squashfs", file))
    return images


def obtain_reordered(cache: Path, image: Path, sort: Path, epoch: int) -> Path:
    """Put a root image into the order of a sort file, or find the one made before."""

    def make(target: Path) -> None:
        done = reorder_image(image, sort, target)
        os.utime(target, (epoch, epoch))
        update(f"{done.files} files, {done.placed_bytes / 1e6:.1f} MB placed")

    with progress.step(f"{image.suffix[1:]}, reordered by {sort}") as update:
        digest = store.digest_of(image.name, sort, epoch)
        found, reused = store.obtain(cache, "filesystem", digest, make, image.suffix)
        if reused:
            update("unchanged, reused")
    return found


def obtain_changes(cache: Path, base: Path, full: Path, epoch: int) -> Path:
    """Make the tree of what a root tree changes of the one below it."""

    def make(target: Path) -> None:
        target.mkdir()
        found = changes.between(base, full, epoch)
        with open_tree(target) as tree:
            overlay.apply(found, tree)
        update(f"{len(found.entries)} entries")

    with progress.step("layer of changes") as update:
        digest = store.digest_of(base.name, full.name, epoch)
        tree, reused = store.obtain(cache, "changes", digest, make)
        if reused:
            update("unchanged, reused")
    return tree


def obtain_ext4(request: BuildRequest, cache: Path, tree: Path, epoch: int) -> Path:
    """Pack the root tree as ext4, or find the image made before from the same tree."""
    exclude = request.config.squashfs.exclude
    digest = store.digest_of(exclude, tree.name, epoch)

    def make(target: Path) -> None:
        log_file = cache / "mke2fs.log"
        log_file.unlink(missing_ok=True)
        make_ext4(tree, target, exclude, digest=digest, epoch=epoch, log_file=log_file)
        # A medium records it.
        os.utime(target, (epoch, epoch))

    with progress.step("ext4") as update:
        image, reused = store.obtain(cache, "filesystem", digest, make, ".ext4")
        size = f"{image.stat().st_size / 1e6:.1f} MB"
        update(f"{size}, unchanged, reused" if reused else size)
    return image


def obtain_erofs(
    request: BuildRequest, cache: Path, tree: Path, sort: Path | None, epoch: int, packer: Packer
) -> Path:
    """Pack the root tree as EROFS, or find the image made before from the same tree."""
    options = request.config.erofs
    reorders = sort is not None and options.reorder
    order = None if reorders or sort is None else wanted_of(sort)
    # Where mkfs.erofs is changes no image; its version may.
    same = replace(options, stale_percent=0.0, reorder=False, program="")
    digest = store.digest_of(same, tree.name, None if order is None else sort, epoch, packer)

    def make(target: Path) -> None:
        log_file = cache / "mkfs.erofs.log"
        log_file.unlink(missing_ok=True)
        stamp = Stamp(str(uuid.uuid5(uuid.NAMESPACE_OID, f"{digest} erofs")), epoch)
        if order is None:
            make_unordered(options, tree, target, stamp, log_file)
        else:
            make_ordered(options, tree, target, order, stamp, log_file)
        os.utime(target, (epoch, epoch))

    how = f"sorted by {sort}" if order is not None else "not sorted"
    with progress.step(f"EROFS ({options.compressor}, {how})") as update:
        image, reused = store.obtain(cache, "filesystem", digest, make, ".erofs")
        size = f"{image.stat().st_size / 1e6:.1f} MB"
        update(f"{size}, unchanged, reused" if reused else size)
    return image if sort is None or not reorders else obtain_reordered(cache, image, sort, epoch)


def obtain_squashfs(
    request: BuildRequest,
    cache: Path,
    tree: Path,
    sort: Path | None,
    epoch: int,
    version: tuple[int, int, int],
    name: str = "filesystem",
    leave_out: tuple[str, ...] = (),
) -> Path:
    """Pack a root tree, or find the squashfs packed before from the same tree."""
    options = request.config.squashfs
    log_file = cache / "mksquashfs.log"
    complaints: list[str] = []

    def make(target: Path) -> None:
        log_file.unlink(missing_ok=True)
        update("packing")
        with blocks.kept(cache, options.compressor, target) as variables:
            complaints.extend(
                make_squashfs(
                    options,
                    tree,
                    target,
                    sort=sort,
                    epoch=epoch,
                    log_file=log_file,
                    progress=lambda _: update(f"{target.stat().st_size / 1e6:.0f} MB packed"),
                    leave_out=leave_out,
                    variables=variables,
                )
            )
        os.utime(target, (epoch, epoch))

    how = f"sorted by {sort}" if sort else "not sorted"
    with progress.step(f"squashfs ({options.compressor}, {how})") as update:
        # The threshold of a warning changes no image.
        same = replace(options, stale_percent=0.0, reorder=False)
        digest = store.digest_of(same, tree.name, sort, epoch, version, leave_out)
        squashfs, reused = store.obtain(cache, name, digest, make, ".squashfs")
        size = f"{squashfs.stat().st_size / 1e6:.1f} MB"
        update(f"{size}, unchanged, reused" if reused else size)
    if complaints:
        progress.note(
            f"bootprof: warning: mksquashfs left out {len(complaints)} entries of {sort}: "
            f"{complaints[0].strip()}"
        )
    return squashfs
