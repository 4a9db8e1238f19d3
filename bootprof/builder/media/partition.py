# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""Partitions for a stick that keeps what it has, and the script that adds them.

The first partition of such a stick belongs to another system: Windows uses the first one only.
The live system goes behind it, and GRUB's core image in front of it.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from bootprof.builder import grub
from bootprof.builder.config import Media
from bootprof.builder.media import disklayout
from bootprof.builder.media.contents import Contents
from bootprof.builder.media.disk import make_parts
from bootprof.files import staging_beside

SCRIPT = "add-to-stick.sh"
INSTALLER = Path(__file__).with_name(SCRIPT)
# A partition table in the master boot record has the core image in the gap behind it, which has
# been 1 MiB since Windows Vista, and 63 sectors before.
CORE_SECTOR = 1


def make_partition(media: Media, contents: Contents, target: Path, *, epoch: int) -> None:
    """Write a folder with partitions and the script that adds them to a stick.

    Args:
        media: Titles and labels.
        contents: What is on the stick.
        target: Folder to make.
        epoch: Time stamp of everything in it (seconds since 1970).

    Raises:
        InputError: A file is too large for the file system.
    """
    with staging_beside(target) as staging:
        stick = make_parts(media, contents, staging, epoch=epoch)
        room = disklayout.ALIGNMENT_BYTES // disklayout.SECTOR_BYTES - CORE_SECTOR
        code, core = grub.boot_code(stick.core.read_bytes(), CORE_SECTOR, room)
        target.mkdir()
        (target / "boot.img").write_bytes(code)
        (target / "core.img").write_bytes(core)
        stick.esp.rename(target / "esp.img")
        stick.live.rename(target / "live.img")
        rules = disklayout.stick(media.file_system)
        (target / "partitions.tsv").write_text(disklayout.rules_table(rules))
        shutil.copyfile(INSTALLER, target / SCRIPT)
        for path in target.iterdir():
            path.chmod(0o755 if path.name == SCRIPT else 0o644)
            os.utime(path, (epoch, epoch))
        target.chmod(0o755)
