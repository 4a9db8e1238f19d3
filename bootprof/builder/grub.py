# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""GRUB's images for a medium, linked from its modules by name.

grub-mkrescue and grub-install would write the time of day and random identifiers into them, and
the latter wants a mounted file system.
"""

from __future__ import annotations

import os
import struct
from pathlib import Path

from bootprof.errors import ToolError
from bootprof.process import run

FOLDER = Path("/usr/lib/grub")
MODULES = (
    "chain",
    "configfile",
    "echo",
    "ext2",
    "fat",
    "gzio",
    "halt",
    "iso9660",
    "linux",
    "loopback",
    "minicmd",
    "normal",
    "part_gpt",
    "part_msdos",
    "reboot",
    "regexp",
    "search",
    "search_fs_uuid",
    "search_label",
    "serial",
    "terminal",
    "test",
)
BIOS = "i386-pc"
BIOS_MODULES = ("biosdisk", "drivemap", "vbe", "vga", "video", "video_bochs", "video_cirrus")
# Format, name of the program where firmware looks for it, and modules of its own. A processor of
# 64 bits may have firmware of 32, which starts the kernel in its own mode.
EFI_PROGRAMS = {
    "x86_64-efi": "BOOTX64.EFI",
    "i386-efi": "BOOTIA32.EFI",
}
EFI_MODULES = ("efi_gop", "efi_uga", "video", "video_bochs", "video_cirrus")
EFI_IMAGE_KIB = 8192
# What a boot server hands out: name, modules' platform, format, and modules of its own. The first
# is for a BIOS.
NETWORK_PROGRAMS = {
    "grub.pxe": (BIOS, f"{BIOS}-pxe", (*BIOS_MODULES, "pxe")),
    "grubx64.efi": ("x86_64-efi", "x86_64-efi", (*EFI_MODULES, "efinet")),
    "grubia32.efi": ("i386-efi", "i386-efi", (*EFI_MODULES, "efinet")),
}
NETWORK_MODULES = ("http", "net", "tftp")

SECTOR_BYTES = 512
# Source: grub-core/boot/i386/pc/boot.S and diskboot.S. The address of the first sector of the core
# image in boot.img, and the list of the remaining sectors at the end of its own first sector:
# start, number of sectors, and the segment that they are loaded to.
BOOT_KERNEL_SECTOR = 0x5C
BOOT_CODE_BYTES = 440
BLOCK_LIST_OFFSET = 0x1F4
BLOCK_LIST = struct.Struct("<QHH")
BLOCK_LIST_SEGMENT = 0x820


def make_image(
    kind: str,
    embedded: str,
    target: Path,
    extra: tuple[str, ...] = (),
    modules: tuple[str, ...] = MODULES,
    *,
    memory_disk: Path | None = None,
    format_: str = "",
) -> None:
    """Link a core image.

    Args:
        kind: Platform, as GRUB names it.
        embedded: Configuration that finds the medium.
        target: Image to write.
        extra: Modules besides the usual ones.
        modules: The usual ones.
        memory_disk: Archive that GRUB has as the disk "memdisk".
        format_: Format of the image, if it is not named like the platform.

    Raises:
        ToolError: GRUB's modules for this platform are not installed.
    """
    if not (FOLDER / kind / "normal.mod").is_file():
        package = {BIOS: "grub-pc-bin", "i386-efi": "grub-efi-ia32-bin"}.get(
            kind, "grub-efi-amd64-bin"
        )
        raise ToolError(f"{FOLDER / kind}: not found", hint=f"apt-get install {package}")
    configuration = target.with_name(f"{target.name}.cfg")
    configuration.write_text(embedded)
    run(
        [
            "grub-mkimage",
            f"--directory={FOLDER / kind}",
            f"--format={format_ or kind}",
            "--prefix=/boot/grub",
            f"--config={configuration}",
            f"--output={target}",
            *(() if memory_disk is None else (f"--memdisk={memory_disk}",)),
            *sorted({*modules, *extra}),
        ]
    )
    configuration.unlink()


def make_efi_programs(embedded: str, folder: Path) -> list[Path]:
    """Link GRUB as an EFI program for each kind of firmware.

    Args:
        embedded: Configuration that finds the medium.
        folder: Folder to write to; the programs have the names that firmware looks for.

    Returns:
        The programs.
    """
    made = []
    for kind, name in EFI_PROGRAMS.items():
        made.append(folder / name)
        make_image(kind, embedded, folder / name, EFI_MODULES)
    return made


def make_network_programs(embedded: str, folder: Path) -> None:
    """Link GRUB for what firmware loads from a boot server.

    Args:
        embedded: Configuration that finds the menu on the server.
        folder: Folder to write to.
    """
    for name, (kind, format_, modules) in NETWORK_PROGRAMS.items():
        extra = (*modules, *NETWORK_MODULES)
        make_image(kind, embedded, folder / name, extra, format_=format_)


def make_efi_partition(
    programs: list[Path], target: Path, *, epoch: int, size_kib: int = EFI_IMAGE_KIB
) -> None:
    """Write the FAT file system that UEFI firmware reads its programs from.

    Args:
        programs: EFI programs, under the names that firmware looks for.
        target: Image to write.
        epoch: Time stamp of everything in it (seconds since 1970).
        size_kib: Its size in KiB.
    """
    # Without --invariant, the label carries the time of day.
    run(["mkfs.vfat", "-C", "--invariant", "-n", "EFI", target, str(size_kib)])
    environment = {"SOURCE_DATE_EPOCH": str(epoch), "TZ": "UTC"}
    run(["mmd", "-i", target, "::/EFI", "::/EFI/BOOT"], env=environment)
    for program in programs:
        os.utime(program, (epoch, epoch))
        name = f"::/EFI/BOOT/{program.name}"
        run(["mcopy", "-m", "-i", target, program, name], env=environment)


def boot_code(core: bytes, sector: int, room: int) -> tuple[bytes, bytes]:
    """Return what a BIOS starts from a disk: the code of sector 0, and the core image.

    Args:
        core: The core image, as it was linked.
        sector: Sector of the disk that it is written to.
        room: How many sectors there are for it.

    Returns:
        The first 440 bytes of sector 0, which leave the partition table alone, and the core image
        with the list of its own sectors, a multiple of 512 bytes long.

    Raises:
        ToolError: The core image is larger than the room for it.
    """
    linked = bytearray(core + bytes(-len(core) % SECTOR_BYTES))
    sectors = len(linked) // SECTOR_BYTES
    if sectors > room:
        raise ToolError(f"GRUB's core image has {sectors} sectors, and there is room for {room}")
    BLOCK_LIST.pack_into(linked, BLOCK_LIST_OFFSET, sector + 1, sectors - 1, BLOCK_LIST_SEGMENT)
    code = bytearray((FOLDER / BIOS / "boot.img").read_bytes())
    struct.pack_into("<Q", code, BOOT_KERNEL_SECTOR, sector)
    return bytes(code[:BOOT_CODE_BYTES]), bytes(linked)
