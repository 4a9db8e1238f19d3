"""What every image's initrd gets: rules and a program that keep probes off the medium's end."""

from __future__ import annotations

import shutil
from pathlib import Path

from bootprof.builder.initrd.archive import archive, compile_small
from bootprof.sources import GUEST

# Rules of the root file system, which take over what those of the initrd have found out.
UDEV_RULES = GUEST / "rules/60-live-medium.rules"
# What every image's initrd gets, and where.
ADDITIONS = {
    GUEST / "initrd/60-live-medium.rules": "usr/lib/udev/rules.d",
    GUEST / "initrd/9999-live-medium.sh": "usr/lib/live/boot",
}
# Programs that are compiled for it, and where they go.
PROGRAMS = {GUEST / "initrd/live_medium_id.c": "usr/lib/udev"}


def make_additions(target: Path, arch: str, *, epoch: int) -> None:
    """Write the archive of what every image's initrd gets: no probes of the medium's end.

    Args:
        target: Archive to write (cpio, newc).
        arch: Debian architecture of the image.
        epoch: Time stamp of everything in it (seconds since 1970).
    """
    staging = target.parent / f"{target.name}.staging"
    try:
        for source, folder in ADDITIONS.items():
            (staging / folder).mkdir(parents=True, exist_ok=True)
            shutil.copy(source, staging / folder)
        for source, folder in PROGRAMS.items():
            (staging / folder).mkdir(parents=True, exist_ok=True)
            compile_small(source, staging / folder / source.stem, arch)
        archive(staging, target, epoch)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
