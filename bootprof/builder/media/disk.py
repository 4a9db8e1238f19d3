# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""The disk image for a USB stick: BIOS and UEFI, on a FAT or ext4 file system.

It is written without loop devices and without mounting anything, so that an ordinary user can.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from bootprof.builder import bootmenu, grub
from bootprof.builder.config import Media
from bootprof.builder.media import contents as parts
from bootprof.builder.media import disklayout, filesystems
from bootprof.builder.media.contents import Contents
from bootprof.builder.media.disklayout import DiskLayout
from bootprof.files import staging_beside
from bootprof.process import run

COPY_BYTES = 1 << 20


@dataclass(frozen=True)
class StickParts:
    """What a stick holds.

    Attributes:
        content: Digest of it, from which identifiers are made.
        core: GRUB's core image for a BIOS.
        esp: File system that UEFI starts GRUB from.
        live: File system of the live system.
        uuid: Identifier of that file system, by which GRUB finds it.
    """

    content: str
    core: Path
    esp: Path
    live: Path
    uuid: str


def make_parts(media: Media, contents: Contents, staging: Path, *, epoch: int) -> StickParts:
    """Write what a stick holds.

    Args:
        media: Titles and labels.
        contents: What is on the stick.
        staging: Folder for it.
        epoch: Time stamp of everything in it (seconds since 1970).

    Raises:
        InputError: A file is too large for the file system.
    """
    system = filesystems.FILE_SYSTEMS[media.file_system]
    for root in contents.roots:
        system.check(root.name, root.file.stat().st_size)
    content = parts.digest_of(media, contents)
    uuid = system.identifier(content)
    tree = staging / "tree"
    parts.stage(media, contents, tree, epoch=epoch)
    embedded = bootmenu.find_by_uuid(uuid)
    core, esp, live = (staging / name for name in ("core.img", "esp.img", "live.img"))
    grub.make_image(grub.BIOS, embedded, core, grub.BIOS_MODULES)
    grub.make_efi_partition(grub.make_efi_programs(embedded, staging), esp, epoch=epoch)
    order = parts.files_in_reading_order(tree, contents)
    system.make(tree, order, live, label=media.label, uuid=uuid, epoch=epoch)
    return StickParts(content, core, esp, live, uuid)


def make_disk(media: Media, contents: Contents, target: Path, *, epoch: int) -> DiskLayout:
    """Write the image of a disk.

    Args:
        media: Titles and labels.
        contents: What is on it.
        target: Image to write.
        epoch: Time stamp of everything in it (seconds since 1970).

    Returns:
        The partitions.

    Raises:
        InputError: A file is too large for the file system.
    """
    with staging_beside(target) as staging:
        stick = make_parts(media, contents, staging, epoch=epoch)
        layout = disklayout.resolve(
            disklayout.stick(media.file_system),
            {"live": stick.live.stat().st_size},
            content=stick.content,
        )
        with target.open("wb") as stream:
            stream.truncate(layout.size_bytes)
        script = disklayout.sfdisk_script(layout)
        run(["sfdisk", "--quiet", target], stdin=script.encode())
        bios = layout.of("bios")
        code, linked = grub.boot_code(stick.core.read_bytes(), bios.start, bios.sectors)
        with target.open("r+b") as stream:
            stream.write(code)
            stream.seek(bios.offset_bytes)
            stream.write(linked)
            for file, partition in (
                (stick.esp, layout.of("esp")),
                (stick.live, layout.of("live")),
            ):
                stream.seek(partition.offset_bytes)
                with file.open("rb") as source:
                    shutil.copyfileobj(source, stream, COPY_BYTES)
        return layout
