# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""The initrd archive of every image: what leaves the disks of a machine alone, and quick probes.

Quick probes are rules and a program that keep udev and live-boot off the medium's far end.
"""

from __future__ import annotations

from pathlib import Path

from bootprof.builder.initrd.archive import add, compile_small, staged
from bootprof.sources import GUEST

# Rules of the root tree, which use what those of the initrd have found out. Both files have one
# name: in an initrd that has copied the root's rules, the archive's take their place.
UDEV_RULES = GUEST / "root/60-live-medium.rules"
LIVE_BOOT = "usr/lib/live/boot"
# Files of the archive, and their folders.
ALWAYS = {GUEST / "initrd/9999-foreign-disks.sh": LIVE_BOOT}
# Of udev in an initrd: rules, the program that they run, and the folder of both.
INITRD_RULES = GUEST / "initrd/60-live-medium.rules"
MEDIUM_ID = GUEST / "initrd/live_medium_id.c"
UDEV = "usr/lib/udev"
# Functions that take the place of those of live-boot.
LIVE_BOOT_PROBES = GUEST / "initrd/9999-live-medium.sh"
# Sources of quick probes in the initrd.
QUICK_PROBES = (INITRD_RULES, MEDIUM_ID, LIVE_BOOT_PROBES)


def make_additions(target: Path, arch: str, *, epoch: int, quick_probes: bool = True) -> None:
    """Write the initrd archive of every image.

    Args:
        target: Archive to write (cpio, newc).
        arch: Debian architecture of the image.
        epoch: Time stamp of everything in it (seconds since 1970).
        quick_probes: Whether probes are kept off the medium's far end.
    """
    with staged(target, epoch) as staging:
        for source, folder in ALWAYS.items():
            add(source, staging, folder)
        if quick_probes:
            stage_udev(staging, arch)
            add(LIVE_BOOT_PROBES, staging, LIVE_BOOT)


def stage_udev(staging: Path, arch: str) -> None:
    """Put the rules of udev that identify a live medium, and their program, into an archive.

    Args:
        staging: Folder that becomes the archive.
        arch: Debian architecture of the image.
    """
    add(INITRD_RULES, staging, f"{UDEV}/rules.d")
    compile_small(MEDIUM_ID, staging / UDEV / MEDIUM_ID.stem, arch)
