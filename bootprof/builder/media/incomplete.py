# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""What a stick boots until the copy of a live system on it is complete: a menu that says so.

``bootprof-live copy`` writes it to the end of the stick, and a boot sector that leads there. The
last write of a copy replaces that boot sector.
"""

from __future__ import annotations

import io
import os
import tarfile
from pathlib import Path

from bootprof.builder import bootmenu, grub
from bootprof.files import staging_beside

# Its place on a medium.
NAME = "boot/incomplete.img"
# The code for the boot sector, GRUB's core image for a BIOS behind it, and a FAT file system with
# GRUB for UEFI. bootprof/guest/live/copy-write.sh knows these places.
CORE_OFFSET_BYTES = 512
FAT_OFFSET_BYTES = 256 << 10
SIZE_BYTES = 2 << 20
MODULES = (
    *("configfile", "halt", "memdisk", "minicmd", "normal", "reboot", "serial", "tar", "terminal"),
    "true",
)
# The menu is inside of GRUB's images.
EMBEDDED = "set prefix=(memdisk)/boot/grub\nconfigfile (memdisk)/boot/grub/grub.cfg\n"


def make_incomplete(target: Path, *, epoch: int) -> None:
    """Write the image.

    Args:
        target: File to write, of :data:`SIZE_BYTES`.
        epoch: Time stamp of everything in it (seconds since 1970).

    Raises:
        ToolError: GRUB is not installed, or its images are too large.
    """
    with staging_beside(target) as staging:
        memory_disk = staging / "memdisk.tar"
        write_memory_disk(memory_disk, epoch)
        core, fat = staging / "core.img", staging / "fat.img"
        grub.make_image(grub.BIOS, EMBEDDED, core, ("biosdisk",), MODULES, memory_disk=memory_disk)
        programs = []
        for kind, name in grub.EFI_PROGRAMS.items():
            programs.append(staging / name)
            grub.make_image(
                kind, EMBEDDED, staging / name, ("efi_gop",), MODULES, memory_disk=memory_disk
            )
        size_kib = (SIZE_BYTES - FAT_OFFSET_BYTES) // 1024
        grub.make_efi_partition(programs, fat, epoch=epoch, size_kib=size_kib)
        # Where the core image lies is entered when it is written to a stick.
        code, linked = grub.boot_code(core.read_bytes(), 1, (FAT_OFFSET_BYTES >> 9) - 1)
        with target.open("wb") as stream:
            stream.write(code)
            stream.seek(CORE_OFFSET_BYTES)
            stream.write(linked)
            stream.seek(FAT_OFFSET_BYTES)
            stream.write(fat.read_bytes())
        os.utime(target, (epoch, epoch))


def write_memory_disk(target: Path, epoch: int) -> None:
    """Write the archive with the menu that GRUB's images carry."""
    menu = bootmenu.incomplete_configuration().encode()
    with tarfile.open(target, "w", format=tarfile.USTAR_FORMAT) as archive:
        member = tarfile.TarInfo("boot/grub/grub.cfg")
        member.size, member.mtime = len(menu), epoch
        archive.addfile(member, io.BytesIO(menu))
