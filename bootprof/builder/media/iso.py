# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""The ISO image: kernel, initrd and root image behind a boot loader, for BIOS and for UEFI.

One image serves as a CD (El Torito), as a USB stick (a partition table in the system area), and as
a file that another boot loader starts (``/boot/grub/loopback.cfg``).
"""

from __future__ import annotations

import shutil
import struct
from pathlib import Path

from bootprof.builder import bootmenu, grub
from bootprof.builder.config import Media
from bootprof.builder.media import contents as parts
from bootprof.builder.media.contents import Contents
from bootprof.errors import ToolError
from bootprof.files import staging_beside
from bootprof.process import run

EFI_IMAGE = "boot/grub/efi.img"
BIOS_IMAGE = "boot/grub/bios.img"

ISOLINUX = Path("/usr/lib/ISOLINUX")
SYSLINUX_MODULES = Path("/usr/lib/syslinux/modules/bios")
# The menu, and what it is linked with.
ISOLINUX_MODULES = ("ldlinux.c32", "libutil.c32", "menu.c32")

SECTOR_BYTES = 512
PARTITION_TABLE_OFFSET = 446
PARTITION_ENTRY = struct.Struct("<B3sB3sII")
EFI_SYSTEM_PARTITION = 0xEF


def make_iso(media: Media, contents: Contents, target: Path, *, epoch: int) -> None:
    """Write a hybrid ISO image.

    Args:
        media: Titles and labels.
        contents: What is on it.
        target: Image to write.
        epoch: Time stamp of everything in it (seconds since 1970).
    """
    with staging_beside(target) as staging:
        tree = staging / "tree"
        parts.stage(media, contents, tree, epoch=epoch)
        (tree / "EFI/BOOT").mkdir(parents=True)
        embedded = bootmenu.find_by_label(media.label)
        programs = grub.make_efi_programs(embedded, tree / "EFI/BOOT")
        grub.make_efi_partition(programs, tree / EFI_IMAGE, epoch=epoch)
        if media.boot_loader == "isolinux":
            stage_isolinux(media, contents, tree)
        else:
            core = staging / "core.img"
            grub.make_image(grub.BIOS, embedded, core, grub.BIOS_MODULES)
            code = (grub.FOLDER / grub.BIOS / "cdboot.img").read_bytes()
            (tree / BIOS_IMAGE).write_bytes(code + core.read_bytes())
        parts.set_times(tree, contents, epoch)
        run_xorriso(media, contents, tree, target, epoch)
        add_efi_partition(target)


def stage_isolinux(media: Media, contents: Contents, tree: Path) -> None:
    """Lay out isolinux, its menu and its modules.

    Raises:
        ToolError: They are not installed.
    """
    (tree / "isolinux").mkdir()
    for path in (
        ISOLINUX / "isolinux.bin",
        *(SYSLINUX_MODULES / name for name in ISOLINUX_MODULES),
    ):
        if not path.is_file():
            raise ToolError(f"{path}: not found", hint="apt-get install isolinux syslinux-common")
        shutil.copyfile(path, tree / "isolinux" / path.name)
    menu = parts.menu_of(media, contents)
    (tree / "isolinux/isolinux.cfg").write_text(bootmenu.isolinux_configuration(menu))


def reading_order(media: Media, contents: Contents) -> list[str]:
    """Return the files in their order on the medium.

    That is the order in which a boot reads them, so that one pass over the medium is enough. A
    disc turns at constant speed, though, and is read faster near its outer edge
    (optimizer/drives/models.py): with ``media.outer_edge``, kernel and initrd lie there, and the
    head returns once to the superblock of the squashfs at the front.
    """
    loaded = ["/live/vmlinuz", *(f"/live/{path.name}" for path in contents.initrds)]
    roots = [f"/live/{root.name}" for root in contents.roots]
    menu = ["/isolinux"] if media.boot_loader == "isolinux" else []
    order = [*roots, *loaded] if media.outer_edge else [*loaded, *roots]
    return [*menu, "/boot", "/EFI", *order]


def run_xorriso(media: Media, contents: Contents, tree: Path, target: Path, epoch: int) -> None:
    """Write the ISO image from the staged tree."""
    weights: list[str] = []
    order = reading_order(media, contents) if media.reading_order else ()
    for number, path in enumerate(order):
        weights += ["--sort-weight", str(1000 - number), path]
    if media.boot_loader == "isolinux":
        bios = ["-eltorito-boot", "isolinux/isolinux.bin", "-eltorito-catalog", "isolinux/boot.cat"]
        system = ["-isohybrid-mbr", str(ISOLINUX / "isohdpfx.bin")]
    else:
        bios = ["-eltorito-boot", BIOS_IMAGE, "--grub2-boot-info"]
        system = ["--grub2-mbr", str(grub.FOLDER / grub.BIOS / "boot_hybrid.img")]
    run(
        [
            *("xorriso", "-as", "mkisofs", "-quiet"),
            *("-volid", media.label, "-iso-level", "3", "-rational-rock", "-joliet"),
            *(*bios, "-no-emul-boot", "-boot-load-size", "4", "-boot-info-table", *system),
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
