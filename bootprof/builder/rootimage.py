# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""The root image of a build: the root tree packed, and kept in the cache."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

from bootprof import progress
from bootprof.builder import store
from bootprof.builder.request import BuildRequest
from bootprof.builder.squashfs import make_squashfs
from optimizer import staleness
from optimizer.formats.sortfile import paths_of_sort_file


def find_sort_file(request: BuildRequest) -> Path | None:
    """Return the configured sort file if it is enabled and exists."""
    path = request.base / request.config.squashfs.sort
    if not request.sort or not path.is_file():
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
