# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""Writing the media of a build: which module makes which kind, and where it goes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from bootprof import progress
from bootprof.builder.config import Media
from bootprof.builder.media import netboot, partition
from bootprof.builder.media.contents import Contents
from bootprof.builder.media.disk import make_disk
from bootprof.builder.media.iso import make_iso
from bootprof.builder.media.netboot import make_netboot
from bootprof.builder.media.partition import make_partition
from bootprof.builder.request import BuildRequest
from bootprof.errors import InputError
from bootprof.files import remove, replacing

SUFFIXES = {"iso": ".iso", "disk": ".img", "partition": ".partition", "netboot": ".netboot"}
NAMES = {
    "iso": "ISO image",
    "disk": "disk image",
    "partition": "folder with partitions",
    "netboot": "folder for a boot server",
}
WRITERS: Mapping[str, Callable[..., object]] = {
    "iso": make_iso,
    "disk": make_disk,
    "partition": make_partition,
    "netboot": make_netboot,
}
# Each folder that a build writes has one of them.
MARKS = (netboot.SCRIPT, partition.SCRIPT)


def paths(request: BuildRequest) -> list[Path]:
    """Return where each configured kind of medium goes; ``--image`` names the first."""
    kinds = request.config.media.kinds
    found = [request.output / f"{request.config.name}{SUFFIXES[kind]}" for kind in kinds]
    if request.image is not None:
        found[0] = request.image
    return found


def write(kind: str, media: Media, contents: Contents, target: Path, *, epoch: int) -> None:
    """Write a medium, whole or not at all.

    Args:
        kind: One of :data:`bootprof.builder.config.KINDS`.
        media: Titles and labels.
        contents: What is on it.
        target: Image or folder to write.
        epoch: Time stamp of everything in it (seconds since 1970).

    Raises:
        InputError: The target is a folder that no build has written.
    """
    if target.is_dir() and not any((target / name).is_file() for name in MARKS):
        raise InputError(
            f"{target}: a folder that no build has written, and is not replaced",
            hint="choose another name with --image",
        )
    with progress.step(f"{NAMES[kind]} {target}") as update, replacing(target) as temporary:
        WRITERS[kind](media, contents, temporary, epoch=epoch)
        files = [temporary] if temporary.is_file() else [*temporary.rglob("*")]
        size = sum(path.stat().st_size for path in files if path.is_file())
        update(f"{size / 1e6:.1f} MB")
        if temporary.is_dir():
            # A folder is not replaced as a file is; between the two there is none.
            remove(target)
