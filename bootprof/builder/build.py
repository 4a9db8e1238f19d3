# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""Building a live image from its configuration, step by step, reusing what has not changed."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from bootprof.builder import (
    erofs,
    features,
    hooks,
    initrds,
    key,
    manifest,
    rootimage,
    roots,
    store,
)
from bootprof.builder.initrd import profiler
from bootprof.builder.media.contents import Contents, find_memory_test
from bootprof.builder.media.installation import obtain_installation
from bootprof.builder.media.write import paths, write
from bootprof.builder.request import BuildRequest, BuildResult
from bootprof.builder.root import find_kernel, source_date_epoch
from bootprof.builder.squashfs import mksquashfs_version
from bootprof.errors import InputError
from bootprof.files import replace_link, scratch_folder

# Root trees and squashfs images that stay in the cache. Each change of a file makes another one.
KEPT = 8
PRUNED = (
    *("root", "filesystem", "filesystem-part", "changes", "layer", "installation"),
    *("builder", "pool"),
)


def build(request: BuildRequest) -> BuildResult:
    """Build a live image.

    Raises:
        BootprofError: A step failed, or the configuration names something that does not exist.
    """
    configured = request.config
    wanted = features.chosen(configured)
    if configured.key.enabled:
        key.check(configured)
    config = features.applied(configured)
    request = replace(request, config=config)
    sort = rootimage.find_sort_file(request)
    additional = [request.base / name for name in config.system.additional_modules]
    for module in additional:
        profiler.module_version_magic(module)
    added = roots.find_additions(request)
    if request.readahead is not None and config.root.format == "ext4":
        raise InputError(
            f'--readahead: root.format = "{config.root.format}" has no readahead',
            hint="give --no-readahead",
        )
    if "/" in config.erofs.program:
        program = str(request.base / config.erofs.program)
        config = replace(config, erofs=replace(config.erofs, program=program))
        request = replace(request, config=config)
    version = mksquashfs_version()
    packer = erofs.find_packer(config.erofs) if config.root.format == "erofs" else None
    cache = request.output / "cache"
    with store.locked(cache), temporary_files():
        trees = roots.obtain_trees(request, cache, added)
        tree = trees.full
        features.check_root(config, tree)
        kernel = find_kernel(tree)
        epoch = source_date_epoch(tree)
        if sort is not None:
            rootimage.warn_if_stale(sort, tree, config.packing.stale_percent)
        if packer is not None:
            erofs.check_kernel(config.erofs, kernel)
        images = rootimage.obtain_images(request, cache, trees, sort, epoch, version, packer)
        quick = config.media.quick_probes
        archives = [
            initrds.obtain_initrd(config.initrd, cache, kernel),
            initrds.obtain_additions(cache, config.system.arch, epoch, quick_probes=quick),
        ]
        if any(feature.scripts or feature.programs for feature in wanted):
            arch = config.system.arch
            archives.append(initrds.obtain_features(wanted, cache, tree, kernel, arch, epoch))
        if request.readahead is not None:
            arch = config.system.arch
            archives.append(
                initrds.obtain_readahead(request.readahead, cache, images[0].file, arch, epoch)
            )
        boot_options = config.media.boot_options
        if request.profiling:
            archives.append(initrds.obtain_profiler(request, cache, kernel, additional, epoch))
            boot_options = f"{boot_options} {profiler.BOOT_OPTIONS}"
        key_parts = None
        if config.key.enabled:
            key_parts = key.obtain_key(
                request, configured, cache, trees.bootstrapped, kernel, epoch, version
            )
        contents = Contents(
            kernel.image,
            tuple(archives),
            boot_options,
            images,
            find_memory_test(config, tree),
            copies=config.live.tools,
            installation=(
                obtain_installation(images, tree, cache, epoch) if config.live.tools else None
            ),
            key=key_parts,
        )
        media = tuple(paths(request))
        for kind, image in zip(config.media.kinds, media, strict=True):
            write(kind, config.media, contents, image, epoch=epoch)
        for name in PRUNED:
            store.prune(cache, name, KEPT)
    result = BuildResult(media, images, tree, sort)
    # A fixed name for the thing that has a digest in its own.
    replace_link(request.output / "root", tree.relative_to(request.output))
    manifest.write_manifest(request, result, kernel, version, packer)
    if added.hooks is not None:
        written = {"BOOTPROF_IMAGES": "\n".join(map(str, media))}
        variables = {**hooks.environment(config, epoch), **written}
        hooks.run_step(added.hooks, hooks.LAST, tree, variables, cache / "finished-hooks.log")
    return result


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
