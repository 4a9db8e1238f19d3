# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""The file systems that a stick can have, written without mounting them, the same bytes each time.

What matters besides: a root image lies in one piece, so that its layout is that of the medium.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bootprof.builder import mke2fs
from bootprof.builder.media import disklayout
from bootprof.builder.media.disklayout import MIB
from bootprof.errors import InputError
from bootprof.process import run

# No journal, since nothing writes to it, and no spare group descriptors, since it never grows. No
# copies of the superblock, and the tables of all groups together in front, since they would lie in
# the middle of files. An extent has up to 128 MiB and an inode four of them, so a file of more than
# 512 MiB still gets a block of extents in its midst.
EXT4_FEATURES = "^has_journal,^resize_inode,^sparse_super,sparse_super2"
# Blocks of 4 KiB even on a small one, all groups' tables together, an inode for 64 KiB.
EXT4_SIZES = ("-b", "4096", "-G", "1048576", "-i", "65536")
# The part of a file system that is not content: inode tables and group descriptors (ext4 with one
# inode for 64 KiB of content), and what a small one needs anyway.
EXT4_OVERHEAD = 1.05
# Two tables with four bytes for each cluster of at least 512 bytes, and clusters that are not full.
FAT_OVERHEAD = 1.02
OVERHEAD_BYTES = 8 * MIB
# The size of a file has 32 bits (Microsoft's FAT specification 1.03, section 6).
FAT_LARGEST_BYTES = (1 << 32) - 1
FAT_LABEL_CHARACTERS = 11
# Characters that a FAT label cannot have.
FAT_FORBIDDEN = str.maketrans(dict.fromkeys('"*+,./:;<=>?[\\]|', "_"))
EXT4_LABEL_CHARACTERS = 16


@dataclass(frozen=True)
class FileSystem:
    """A kind of file system.

    Attributes:
        identifier: Makes the identifier, by which GRUB finds it, from a digest of what it holds.
        make: Writes it: see :func:`make_fat`.
        largest_bytes: What a file can have at most; None for more than any medium.
    """

    identifier: Callable[[str], str]
    make: Callable[..., None]
    largest_bytes: int | None = None

    def check(self, name: str, size_bytes: int) -> None:
        """Check that a file fits.

        Raises:
            InputError: It is too large.
        """
        if self.largest_bytes is not None and size_bytes > self.largest_bytes:
            raise InputError(
                f"{name} has {size_bytes} bytes, and FAT holds files below 4 GiB",
                hint='set media.file_system = "ext4", or root.largest_mb = 4000',
            )


def make_fat(
    tree: Path, order: Sequence[str], target: Path, *, label: str, uuid: str, epoch: int
) -> None:
    """Write a FAT file system.

    Args:
        tree: The staged tree; all times in it are the same.
        order: Its files in the order in which they lie on the file system.
        target: Image to write.
        label: Label of the file system.
        uuid: Its identifier.
        epoch: Time stamp of everything in it (seconds since 1970).
    """
    size = _size_bytes(tree, FAT_OVERHEAD)
    name = label.upper().translate(FAT_FORBIDDEN)[:FAT_LABEL_CHARACTERS].strip()
    serial = uuid.replace("-", "")
    make = ("mkfs.vfat", "-C", "--invariant", "-i", serial, "-n", name)
    run([*make, target, str(size // 1024)])
    environment = {"SOURCE_DATE_EPOCH": str(epoch), "TZ": "UTC"}
    folders = sorted(str(path.relative_to(tree)) for path in tree.rglob("*") if path.is_dir())
    run(["mmd", "-i", target, *(f"::/{name}" for name in folders)], env=environment)
    for name in order:
        run(["mcopy", "-i", target, tree / name, f"::/{name}"], env=environment)


def make_ext4(
    tree: Path, order: Sequence[str], target: Path, *, label: str, uuid: str, epoch: int
) -> None:
    """Write an ext4 file system; its files lie in the order of mke2fs."""
    del order
    size = _size_bytes(tree, EXT4_OVERHEAD)
    times = dict.fromkeys(("ctime", "atime", "mtime", "crtime"), f"@{epoch}")
    fractions = dict.fromkeys(("ctime_extra", "atime_extra", "mtime_extra", "crtime_extra"), "0")
    mke2fs.write(
        tree,
        target,
        f"{size // 1024}k",
        ["-O", EXT4_FEATURES, *EXT4_SIZES, "-L", label[:EXT4_LABEL_CHARACTERS]],
        extended=["num_backup_sb=0"],
        uuid=uuid,
        seed=disklayout.identifier(uuid, "hash"),
        fields={**times, **fractions, "uid": "0", "gid": "0"},
        epoch=epoch,
    )
    os.utime(target, (epoch, epoch))


def fat_identifier(content: str) -> str:
    """Return the serial number of a FAT file system, as GRUB and blkid write it."""
    digits = disklayout.identifier(content, "live").replace("-", "").upper()
    return f"{digits[:4]}-{digits[4:8]}"


def ext4_identifier(content: str) -> str:
    """Return the UUID of an ext4 file system."""
    return disklayout.identifier(content, "live")


def _size_bytes(tree: Path, overhead: float) -> int:
    content = sum(path.stat().st_size for path in tree.rglob("*") if path.is_file())
    return int(content * overhead + OVERHEAD_BYTES) // MIB * MIB


FILE_SYSTEMS: Mapping[str, FileSystem] = {
    "fat": FileSystem(fat_identifier, make_fat, FAT_LARGEST_BYTES),
    "ext4": FileSystem(ext4_identifier, make_ext4),
}
