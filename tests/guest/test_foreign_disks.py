# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""What live-boot mounts while it looks for its medium, and with which options."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from bootprof.process import program
from bootprof.sources import GUEST

SCRIPT = GUEST / "initrd/9999-foreign-disks.sh"


def mounted(folder: Path, words: str) -> str:
    """Return what mount is called with, where a script of live-boot calls it with these words."""
    fake = folder / "mount"
    fake.write_text('#!/bin/sh\necho "$*"\n')
    fake.chmod(0o755)
    script = f'. "{SCRIPT}"; PATH="{folder}:$PATH"; mount {words}'
    done = subprocess.run(
        [program("sh"), "-c", script], capture_output=True, text=True, check=False
    )
    return done.stdout.strip()


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("-t ext4 -o ro,noatime /dev/sda1 /m", "-t ext4 -o ro,noatime,noload /dev/sda1 /m"),
        ("-t ext3 -o ro /dev/sda1 /m", "-t ext3 -o ro,noload /dev/sda1 /m"),
        ("-t xfs -o ro,noatime /dev/sdb /m", "-t xfs -o ro,noatime,norecovery /dev/sdb /m"),
        ("-t f2fs -o ro,noatime /dev/sdb /m", "-t f2fs -o ro,noatime,norecovery /dev/sdb /m"),
        (
            "-t btrfs -o ro,noatime /dev/sda1 /m",
            "-t btrfs -o ro,noatime,rescue=nologreplay /dev/sda1 /m",
        ),
        ("-t reiserfs -o ro,noatime /dev/sda1 /m", ""),
        # By the boot option fromiso.
        (
            "-t ext4 /dev/sda1 /run/live/fromiso",
            "-t ext4 -o ro,noload /dev/sda1 /run/live/fromiso",
        ),
        # ntfs-3g replays the journal of what it mounts writable.
        ("-t ntfs /dev/sda1 /run/live/fromiso", "-t ntfs -o ro /dev/sda1 /run/live/fromiso"),
        # Nothing to replay, and what a user has asked to be writable.
        ("-t vfat -o ro,noatime /dev/sda1 /m", "-t vfat -o ro,noatime /dev/sda1 /m"),
        ("-t ext4 -o rw,noatime /dev/sda1 /m", "-t ext4 -o rw,noatime /dev/sda1 /m"),
        ("-o move /a /b", "-o move /a /b"),
    ],
)
def test_a_file_system_is_looked_at_without_replaying_its_journal(
    words: str, expected: str, tmp_path: Path
) -> None:
    assert mounted(tmp_path, words) == expected
