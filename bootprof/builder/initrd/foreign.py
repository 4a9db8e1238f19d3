# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""Readahead in the initrd of an image that another tool built.

An archive is appended to the initrd: the readahead program, its list, and one script in a folder
that the initrd itself reads at boot. Nothing in the initrd is replaced, so where the kind of the
initrd is unknown, nothing is added.

Sources: init of initramfs-tools (it sources the files in conf/conf.d), live-boot (it sources
lib/live/boot/*.sh), dracut (it sources the scripts in its hook folders).
"""

from __future__ import annotations

import gzip
import lzma
import stat
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from bootprof.builder.initrd import readahead
from bootprof.builder.initrd.readahead import FOLDER, SOURCES
from bootprof.builder.initrd.repack import ZSTD_LEVEL, archives, entries
from bootprof.errors import InputError
from optimizer.formats.text import printable

HINT = "omit --readahead"
# Of an ELF header: class (1: 32 bits, 2: 64 bits) at 4, machine at 18.
ARCHITECTURES = {(2, 62): "amd64", (1, 3): "i386"}
MACHINE_BYTES = 20


@dataclass(frozen=True)
class Kind:
    """A kind of initrd.

    Attributes:
        title: Its name.
        folders: Where it may have its folder of hooks; the first that is there counts.
        hook: The script that goes there.
        name: Under which name.
    """

    title: str
    folders: tuple[bytes, ...]
    hook: Path
    name: str


KINDS = (
    Kind(
        "live-boot",
        (b"usr/lib/live/boot", b"lib/live/boot"),
        SOURCES / "9999-readahead.sh",
        "9999-readahead.sh",
    ),
    Kind(
        "dracut",
        tuple(each + b"lib/dracut/hooks/pre-mount" for each in (b"usr/", b"var/", b"")),
        SOURCES / "dracut/start-live.sh",
        "01-bootprof-readahead.sh",
    ),
    Kind(
        "initramfs-tools",
        (b"conf/conf.d",),
        SOURCES / "initramfs-tools-conf",
        "bootprof-readahead",
    ),
)


@dataclass(frozen=True)
class Recognized:
    """What is known of an initrd.

    Attributes:
        kind: Its kind.
        folder: Where its hook goes.
        arch: Debian architecture of its programs.
    """

    kind: Kind
    folder: str
    arch: str


def recognize(initrd: bytes, name: str) -> Recognized:
    """Find out how an initrd starts a program before it mounts the root.

    Args:
        initrd: The initrd.
        name: Its name, for messages.

    Raises:
        InputError: That is not known of it.
        FormatError: It is no initrd, or its compression is not supported.
    """
    modes: dict[bytes, int] = {}
    arch = None
    for archive, _ in archives(initrd, name):
        for entry in entries(archive, name):
            path = entry.name.removeprefix(b"./").strip(b"/")
            modes[path] = int(archive[entry.start + 14 : entry.start + 22], 16)
            head = archive[entry.content : entry.content + min(MACHINE_BYTES, entry.size_bytes)]
            if arch is None and head[:4] == b"\x7fELF" and len(head) == MACHINE_BYTES:
                machine = int.from_bytes(head[18:20], "little")
                arch = ARCHITECTURES.get((head[4], machine))
    for kind in KINDS:
        for folder in kind.folders:
            if is_folder(folder, modes):
                return _checked(kind, folder, modes, arch, name)
    known = ", ".join(kind.title for kind in KINDS)
    raise InputError(f"{name}: the kind of this initrd is unknown (known: {known})", hint=HINT)


def _checked(
    kind: Kind, folder: bytes, modes: Mapping[bytes, int], arch: str | None, name: str
) -> Recognized:
    if arch is None:
        raise InputError(f"{name}: has no programs for amd64 or i386", hint=HINT)
    # The kernel replaces a link by a folder of the same name, with all that was behind it.
    for wanted in (FOLDER.encode(), folder):
        parts = wanted.split(b"/")
        for depth in range(1, len(parts) + 1):
            path = b"/".join(parts[:depth])
            if path in modes and not stat.S_ISDIR(modes[path]):
                raise InputError(f"{name}: {printable(path)} is no folder", hint=HINT)
    if b"usr" not in modes:
        raise InputError(f"{name}: has no folder usr", hint=HINT)
    return Recognized(kind, folder.decode(), arch)


def is_folder(path: bytes, modes: Mapping[bytes, int]) -> bool:
    """Return whether an initrd has a folder, be it in a list or by what is in it."""
    if path in modes:
        return stat.S_ISDIR(modes[path])
    return any(each.startswith(path + b"/") for each in modes)


def make_archive(
    recognized: Recognized, content: bytes, squashfs: bytes, target: Path, *, epoch: int
) -> None:
    """Write the archive that reads ahead in a foreign initrd.

    Args:
        recognized: What is known of the initrd.
        content: The readahead list.
        squashfs: Path of the squashfs on the medium, from its root; other file systems of the
            medium are left alone.
        target: Archive to write (cpio, newc).
        epoch: Time stamp of everything in it (seconds since 1970).
    """
    readahead.make_archive(
        content,
        recognized.arch,
        target,
        epoch=epoch,
        hook=recognized.kind.hook,
        hook_path=f"{recognized.folder}/{recognized.kind.name}",
        squashfs=squashfs,
    )


def joined(initrd: bytes, archive: bytes) -> bytes:
    """Append an archive to an initrd: the kernel looks for it at a multiple of 4."""
    return initrd + bytes(-len(initrd) % 4) + archive


def fitted(initrd: bytes, name: str, archive: bytes) -> bytes | None:
    """Append an archive to an initrd that stays as large as it is, by a higher level.

    The compressor stays the same, because the kernel may have no other. Zeros fill it up: the
    kernel skips them.

    Args:
        initrd: The initrd.
        name: Its name, for errors.
        archive: The archive, not compressed.

    Returns:
        The new initrd; None if it would be larger.

    Raises:
        FormatError: It is no initrd, or its compression is not supported.
    """
    position, packed = 0, None
    for data, compressed in archives(initrd, name):
        # Between archives there may be any number of zeros.
        position += len(initrd) - position - len(initrd[position:].lstrip(b"\0"))
        if compressed:
            packed = data
        else:
            position += len(data)
    magic = next((each for each in STRONGEST if initrd.startswith(each, position)), None)
    if packed is None or magic is None:
        return None
    compress = STRONGEST[magic]
    new = joined(initrd[:position] + compress(packed), compress(archive))
    return new + bytes(len(initrd) - len(new)) if len(new) <= len(initrd) else None


def strongest_zstd(data: bytes) -> bytes:
    """Compress as the kernel can read it: its window is 128 MiB at most."""
    import zstandard

    return zstandard.ZstdCompressor(level=ZSTD_LEVEL, threads=2).compress(data)


def strongest_xz(data: bytes) -> bytes:
    """Compress with the only check that the kernel knows."""
    return lzma.compress(data, lzma.FORMAT_XZ, lzma.CHECK_CRC32, preset=9)


def strongest_gzip(data: bytes) -> bytes:
    """Compress without the time, so that the same content gives the same bytes."""
    return gzip.compress(data, 9, mtime=0)


STRONGEST: Mapping[bytes, Callable[[bytes], bytes]] = {
    b"\x28\xb5\x2f\xfd": strongest_zstd,
    b"\xfd7zXZ\0": strongest_xz,
    b"\x1f\x8b": strongest_gzip,
}
