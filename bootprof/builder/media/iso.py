# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""The ISO image: kernel, initrd and squashfs behind GRUB, for BIOS and for UEFI.

One image serves as a CD (El Torito) and as a USB stick (a partition table in the system area).
GRUB's images are linked from its modules by name: grub-mkrescue would write the time of day and
random identifiers into them.
"""

from __future__ import annotations

import errno
import os
import shutil
import struct
from dataclasses import dataclass
from pathlib import Path

from bootprof.builder import bootmenu
from bootprof.builder.config import Media
from bootprof.process import run

GRUB_FOLDER = Path("/usr/lib/grub")
GRUB_MODULES = [
    "configfile",
    "echo",
    "fat",
    "gzio",
    "iso9660",
    "linux",
    "minicmd",
    "normal",
    "part_gpt",
    "part_msdos",
    "search",
    "search_label",
    "serial",
    "terminal",
    "test",
]
EFI_IMAGE = "boot/grub/efi.img"
EFI_IMAGE_KIB = 4096
SQUASHFS = "/live/filesystem.squashfs"

SECTOR_BYTES = 512
PARTITION_TABLE_OFFSET = 446
PARTITION_ENTRY = struct.Struct("<B3sB3sII")
EFI_SYSTEM_PARTITION = 0xEF


@dataclass(frozen=True)
class BootFiles:
    """Files for the boot loader.

    Attributes:
        kernel: Kernel image.
        initrds: Initial ramdisk archives, in the order in which the kernel unpacks them.
        boot_options: Kernel command line.
    """

    kernel: Path
    initrds: tuple[Path, ...]
    boot_options: str


def make_iso(media: Media, boot: BootFiles, squashfs: Path, target: Path, *, epoch: int) -> None:
    """Write a hybrid ISO image.

    Args:
        media: Titles and labels.
        boot: Kernel, initrds and command line.
        squashfs: Root image; it is ``/live/filesystem.squashfs`` on the medium, where live-boot
            looks for it.
        target: Image to write.
        epoch: Time stamp of everything in it (seconds since 1970).
    """
    staging = target.parent / f"{target.name}.staging"
    try:
        tree = staging / "tree"
        (tree / "live").mkdir(parents=True)
        (tree / "boot/grub").mkdir(parents=True)
        (tree / "EFI/BOOT").mkdir(parents=True)
        link_or_copy(squashfs, tree / "live/filesystem.squashfs")
        shutil.copyfile(boot.kernel, tree / "live/vmlinuz")
        for initrd in boot.initrds:
            shutil.copyfile(initrd, tree / "live" / initrd.name)
        initrds = [f"/live/{path.name}" for path in boot.initrds]
        menu = bootmenu.configuration(media.title, boot.boot_options, initrds, media.timeout)
        (tree / "boot/grub/grub.cfg").write_text(menu)
        make_bios_image(media, staging, tree / "boot/grub/bios.img")
        make_efi_image(media, staging, tree, epoch)
        for path in (tree, *tree.rglob("*")):
            if path.name != "filesystem.squashfs":
                os.utime(path, (epoch, epoch))
        run_xorriso(media, boot, tree, target, epoch)
        add_efi_partition(target)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def link_or_copy(source: Path, target: Path) -> None:
    """Make a hard link, or a copy where the two are on different file systems."""
    try:
        os.link(source, target)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        shutil.copyfile(source, target)


def make_grub_image(media: Media, staging: Path, kind: str, target: Path, extra: list[str]) -> None:
    """Link a GRUB core image that finds the medium by its label."""
    embedded = staging / f"embedded-{kind}.cfg"
    embedded.write_text(bootmenu.embedded_configuration(media.label))
    run(
        [
            "grub-mkimage",
            f"--directory={GRUB_FOLDER / kind}",
            f"--format={kind}",
            "--prefix=/boot/grub",
            f"--config={embedded}",
            f"--output={target}",
            *GRUB_MODULES,
            *extra,
        ]
    )


def make_bios_image(media: Media, staging: Path, target: Path) -> None:
    """Write the El Torito image that a BIOS loads from a CD."""
    core = staging / "core.img"
    make_grub_image(media, staging, "i386-pc", core, ["biosdisk"])
    target.write_bytes((GRUB_FOLDER / "i386-pc/cdboot.img").read_bytes() + core.read_bytes())


def make_efi_image(media: Media, staging: Path, tree: Path, epoch: int) -> None:
    """Write GRUB as an EFI program, and the FAT image that UEFI reads it from."""
    program = tree / "EFI/BOOT/BOOTX64.EFI"
    make_grub_image(media, staging, "x86_64-efi", program, ["efi_gop"])
    image = tree / EFI_IMAGE
    # Without --invariant, the label carries the time of day.
    run(["mkfs.vfat", "-C", "--invariant", "-n", "EFI", image, str(EFI_IMAGE_KIB)])
    os.utime(program, (epoch, epoch))
    environment = {"SOURCE_DATE_EPOCH": str(epoch), "TZ": "UTC"}
    run(["mmd", "-i", image, "::/EFI", "::/EFI/BOOT"], env=environment)
    run(["mcopy", "-m", "-i", image, program, "::/EFI/BOOT/BOOTX64.EFI"], env=environment)


def reading_order(media: Media, boot: BootFiles) -> list[str]:
    """Return the files in their order on the medium.

    That is the order in which a boot reads them, so that one pass over the medium is enough. A
    disc turns at constant speed, though, and is read faster near its outer edge
    (optimizer/drives/models.py): with ``media.outer_edge``, kernel and initrd lie there, and the
    head returns once to the superblock of the squashfs at the front.
    """
    loaded = ["/live/vmlinuz", *(f"/live/{path.name}" for path in boot.initrds)]
    return ["/boot", "/EFI", *([SQUASHFS, *loaded] if media.outer_edge else [*loaded, SQUASHFS])]


def run_xorriso(media: Media, boot: BootFiles, tree: Path, target: Path, epoch: int) -> None:
    """Write the ISO image from the staged tree."""
    weights: list[str] = []
    for number, path in enumerate(reading_order(media, boot) if media.reading_order else ()):
        weights += ["--sort-weight", str(1000 - number), path]
    run(
        [
            *("xorriso", "-as", "mkisofs", "-quiet"),
            *("-volid", media.label, "-iso-level", "3", "-rational-rock", "-joliet"),
            *("-eltorito-boot", "boot/grub/bios.img", "-no-emul-boot", "-boot-load-size", "4"),
            *("-boot-info-table", "--grub2-boot-info"),
            *("--grub2-mbr", GRUB_FOLDER / "i386-pc/boot_hybrid.img"),
            *("-eltorito-alt-boot", "-e", EFI_IMAGE, "-no-emul-boot"),
            *weights,
            *("-o", target, tree),
        ],
        env={"SOURCE_DATE_EPOCH": str(epoch), "TZ": "UTC"},
    )


def add_efi_partition(image: Path) -> None:
    """Enter the EFI image into the partition table, for UEFI booting from a USB stick.

    The partition lies inside the ISO file system. xorriso would append a copy behind it, and
    each probe of the medium's partitions would then seek from one end to the other.
    Format: the classic partition table of a master boot record, entry 2 of 4, with the cylinder,
    head and sector fields at their limit, which means that only the sector numbers count.
    """
    from optimizer.images.iso9660 import read_iso

    (region,) = read_iso(image).files()[b"/" + EFI_IMAGE.encode()]
    entry = PARTITION_ENTRY.pack(
        0,
        b"\xfe\xff\xff",
        EFI_SYSTEM_PARTITION,
        b"\xfe\xff\xff",
        region.offset_bytes // SECTOR_BYTES,
        region.length_bytes // SECTOR_BYTES,
    )
    with image.open("r+b") as stream:
        stream.seek(PARTITION_TABLE_OFFSET + PARTITION_ENTRY.size)
        stream.write(entry)
