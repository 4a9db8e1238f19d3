# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""The initrd archive of every image: rules and a program that keep probes off the medium's end."""

from __future__ import annotations

from pathlib import Path

from bootprof.builder.initrd.archive import add, compile_small, staged
from bootprof.sources import GUEST

# Rules of the root tree, which use what those of the initrd have found out. Both files have one
# name: in an initrd that has copied the root's rules, the archive's take their place.
UDEV_RULES = GUEST / "root/60-live-medium.rules"
# Files of the archive, and their folders.
ADDITIONS = {
    GUEST / "initrd/60-live-medium.rules": "usr/lib/udev/rules.d",
    GUEST / "initrd/9999-live-medium.sh": "usr/lib/live/boot",
}
# Programs that are compiled for it, and their folders.
PROGRAMS = {GUEST / "initrd/live_medium_id.c": "usr/lib/udev"}


def make_additions(target: Path, arch: str, *, epoch: int) -> None:
    """Write the initrd archive that keeps probes off the medium's far end.

    Args:
        target: Archive to write (cpio, newc).
        arch: Debian architecture of the image.
        epoch: Time stamp of everything in it (seconds since 1970).
    """
    with staged(target, epoch) as staging:
        for source, folder in ADDITIONS.items():
            add(source, staging, folder)
        for source, folder in PROGRAMS.items():
            (staging / folder).mkdir(parents=True, exist_ok=True)
            compile_small(source, staging / folder / source.stem, arch)
