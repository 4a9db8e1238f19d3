# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""Readahead in an image: the list for its squashfs, and the initrd archive that acts on it.

The place of a file is known only when the squashfs is packed, so the list is made after that, and
added in an initrd archive: the squashfs is the same to the byte with and without readahead.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from bootprof.builder.initrd.archive import add, compile_small, staged
from bootprof.errors import InputError
from bootprof.sources import GUEST
from optimizer.demand import Ranges, demand_of
from optimizer.drives.models import Drive
from optimizer.formats.readahead_list import format_list
from optimizer.images.image import open_image
from optimizer.readahead import list_of, plan, wanted_by_demand

SOURCES = GUEST / "readahead"
PROGRAM = SOURCES / "bootprof-readahead.c"
FOLDER = "usr/lib/bootprof"
# What starts readahead in an initrd with live-boot, and its path.
LIVE_BOOT_HOOK = SOURCES / "9999-readahead.sh"
LIVE_BOOT_PATH = f"usr/lib/live/boot/{LIVE_BOOT_HOOK.name}"
STARTER = SOURCES / "start-readahead"
# Contents of the archive besides program, list, hook and starter.
FILES = (SOURCES / "bootprof-readahead.service",)


@dataclass(frozen=True)
class ReadaheadRequest:
    """What an image shall read ahead.

    Attributes:
        source: Where that is from, for messages.
        touched: Files that a boot touched, and which ranges of them, those that the kernel reads
            with them included; None for the tables alone.
        drive: Drive that gaps are weighed for.
    """

    source: str
    touched: Mapping[bytes, Ranges] | None
    drive: Drive


def make_list(request: ReadaheadRequest, squashfs: Path) -> bytes:
    """Return the readahead list for a squashfs.

    Raises:
        InputError: The squashfs has none of the files.
    """
    layout = open_image(squashfs).layout()
    demand = demand_of(layout, request.touched or {})
    if request.touched is not None and not demand.files:
        raise InputError(
            f"{request.source}: none of its files is in the image",
            hint="give the bootlog of a boot of this system",
        )
    planned = plan(layout, wanted_by_demand(layout, demand), request.drive)
    return format_list(list_of(layout, planned, request.drive))


def make_archive(content: bytes, arch: str, target: Path, *, epoch: int) -> None:
    """Write the initrd archive of an image with live-boot.

    Args:
        content: The list.
        arch: Debian architecture of the image.
        target: Archive to write (cpio, newc).
        epoch: Time stamp of everything in it (seconds since 1970).
    """
    with staged(target, epoch) as staging:
        stage(staging, content, arch)


def stage(
    staging: Path,
    content: bytes,
    arch: str,
    *,
    hook: Path = LIVE_BOOT_HOOK,
    hook_path: str = LIVE_BOOT_PATH,
) -> None:
    """Put the readahead program and what it needs into a staged archive.

    Args:
        staging: Folder that becomes the archive.
        content: The list.
        arch: Debian architecture of the image.
        hook: Script that starts it.
        hook_path: Path of that script in the initrd.
    """
    stage_starter(staging, hook, hook_path)
    for source in FILES:
        add(source, staging, FOLDER)
    (staging / FOLDER / "readahead.list").write_bytes(content)
    compile_small(PROGRAM, staging / FOLDER / PROGRAM.stem, arch)


def stage_starter(staging: Path, hook: Path, hook_path: str) -> None:
    """Put the script that starts readahead, and the hook that starts it, into a staged archive."""
    add(STARTER, staging, FOLDER)
    path = Path(hook_path)
    add(hook, staging, str(path.parent))
    (staging / path.parent / hook.name).rename(staging / path)
