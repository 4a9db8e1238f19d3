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
QUICK_PROBES = {
    GUEST / "initrd/60-live-medium.rules": "usr/lib/udev/rules.d",
    GUEST / "initrd/9999-live-medium.sh": LIVE_BOOT,
}
# Programs that are compiled for quick probes, and their folders.
PROGRAMS = {GUEST / "initrd/live_medium_id.c": "usr/lib/udev"}


def make_additions(target: Path, arch: str, *, epoch: int, quick_probes: bool = True) -> None:
    """Write the initrd archive of every image.

    Args:
        target: Archive to write (cpio, newc).
        arch: Debian architecture of the image.
        epoch: Time stamp of everything in it (seconds since 1970).
        quick_probes: Whether probes are kept off the medium's far end.
    """
    with staged(target, epoch) as staging:
        for source, folder in {**ALWAYS, **(QUICK_PROBES if quick_probes else {})}.items():
            add(source, staging, folder)
        for source, folder in PROGRAMS.items() if quick_probes else ():
            (staging / folder).mkdir(parents=True, exist_ok=True)
            compile_small(source, staging / folder / source.stem, arch)
