# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""The disk image for a USB stick: BIOS and UEFI, on a file system of Linux.

It is written without loop devices and without mounting anything, so that an ordinary user can.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from bootprof.builder import bootmenu, grub
from bootprof.builder.config import Media
from bootprof.builder.media import contents as parts
from bootprof.builder.media import disklayout
from bootprof.builder.media.contents import Contents
from bootprof.builder.media.disklayout import MIB, DiskLayout, Table
from bootprof.process import run

# No journal, since nothing writes to it; no reserved blocks; and no spare group descriptors, since
# it is never enlarged.
FEATURES = "^has_journal,^resize_inode"
# The part of a file system that is not content: inode tables and group descriptors (ext4 with one
# inode for 16 KiB of content), and what a small one needs anyway.
OVERHEAD = 1.05
OVERHEAD_BYTES = 8 * MIB
COPY_BYTES = MIB


def make_disk(
    media: Media, contents: Contents, target: Path, *, epoch: int, table: Table = "gpt"
) -> DiskLayout:
    """Write the image of a disk.

    Args:
        media: Titles and labels.
        contents: What is on it.
        target: Image to write.
        epoch: Time stamp of everything in it (seconds since 1970).
        table: Kind of its partition table.

    Returns:
        The partitions.
    """
    content = parts.digest_of(media, contents)
    uuid = disklayout.identifier(content, "live")
    staging = target.parent / f"{target.name}.staging"
    try:
        tree = staging / "tree"
        parts.stage(media, contents, tree, epoch=epoch)
        embedded = bootmenu.find_by_uuid(uuid)
        core, esp, live = (staging / name for name in ("core.img", "esp.img", "live.img"))
        grub.make_image(grub.BIOS, embedded, core, grub.BIOS_MODULES)
        grub.make_efi_partition(grub.make_efi_programs(embedded, staging), esp, epoch=epoch)
        make_file_system(media, contents, tree, live, uuid=uuid, epoch=epoch)
        layout = disklayout.resolve(
            disklayout.STICK, {"live": live.stat().st_size}, table=table, content=content
        )
        with target.open("wb") as stream:
            stream.truncate(layout.size_bytes)
        script = disklayout.sfdisk_script(layout)
        run(["sfdisk", "--quiet", target], stdin=script.encode())
        code, linked = grub.boot_code(core.read_bytes(), layout.of("bios").start)
        if len(linked) > layout.of("bios").size_bytes:
            raise ValueError("GRUB's core image is larger than its partition")
        with target.open("r+b") as stream:
            stream.write(code)
            stream.seek(layout.of("bios").offset_bytes)
            stream.write(linked)
            for file, partition in ((esp, layout.of("esp")), (live, layout.of("live"))):
                stream.seek(partition.offset_bytes)
                with file.open("rb") as source:
                    shutil.copyfileobj(source, stream, COPY_BYTES)
        return layout
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def make_file_system(
    media: Media, contents: Contents, tree: Path, target: Path, *, uuid: str, epoch: int
) -> None:
    """Write the file system of a stick from a staged tree, the same bytes each time.

    mke2fs takes the change times of inodes from the files that it copies; they are set afterwards.

    Args:
        media: Label of the file system.
        contents: What is on it.
        tree: The staged tree.
        target: Image to write.
        uuid: Identifier of the file system.
        epoch: Time stamp of everything in it (seconds since 1970).
    """
    parts.set_times(tree, contents, epoch)
    size = sum(path.stat().st_size for path in tree.rglob("*") if path.is_file())
    size = int(size * OVERHEAD + OVERHEAD_BYTES) // MIB * MIB
    environment = {"SOURCE_DATE_EPOCH": str(epoch), "E2FSPROGS_FAKE_TIME": str(epoch), "TZ": "UTC"}
    label = media.label[:16]
    extended = f"hash_seed={disklayout.identifier(uuid, 'hash')},lazy_itable_init=0"
    command: list[str | Path] = [
        *("mke2fs", "-q", "-F", "-t", "ext4", "-O", FEATURES, "-m", "0", "-L", label, "-U", uuid),
        *("-E", f"{extended},root_owner=0:0", "-d", tree, target, f"{size // 1024}k"),
    ]
    run(command, env=environment)
    names = sorted(str(path.relative_to(tree)) for path in tree.rglob("*"))
    times = dict.fromkeys(("ctime", "atime", "mtime", "crtime"), f"@{epoch}")
    parts_of_times = dict.fromkeys(
        ("ctime_extra", "atime_extra", "mtime_extra", "crtime_extra"), "0"
    )
    fields = {**times, **parts_of_times, "uid": "0", "gid": "0"}
    commands = [
        f'set_inode_field "/{name}" {field} {value}'
        for name in ("", *names)
        for field, value in fields.items()
    ]
    run(["debugfs", "-w", "-f", "-", target], stdin="\n".join(commands).encode(), env=environment)
    os.utime(target, (epoch, epoch))
