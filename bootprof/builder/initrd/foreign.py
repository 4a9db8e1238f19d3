# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""Readahead and quick probes in the initrd of an image that another tool built.

An archive is appended to the initrd: the readahead program, its list, and one script in a folder
that the initrd itself reads at boot. Where the kind of the initrd is unknown, nothing is added.
Quick probes are rules of udev for the initrd and, by the same script, for the root, and the program
that identifies a live medium by its beginning. Of what is in the initrd, only blkid of dracut is
replaced, by a script that asks udev, and runs it for all else.

Sources: init of initramfs-tools (it sources the files in conf/conf.d), live-boot (it sources
lib/live/boot/*.sh), dracut (it sources the scripts in its hook folders).
"""

from __future__ import annotations

import gzip
import lzma
import stat
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from bootprof.builder.initrd import additions, readahead
from bootprof.builder.initrd.archive import add, staged
from bootprof.builder.initrd.readahead import FOLDER, SOURCES
from bootprof.builder.initrd.repack import ZSTD_LEVEL, archives, drivers_in, entries, trimmed
from bootprof.errors import InputError
from optimizer.formats.text import printable

HINT = "omit --readahead, --quick-probes and --initrd"
# The rules for the root, where start-readahead looks for them.
ROOT_RULES = f"{FOLDER}/60-live-medium-root.rules"
# Begins each initrd of dracut and of initramfs-tools, where the rules for the root are not meant.
INITRD_FILES = ("/etc/initrd-release", "/scripts/functions")
# Of an ELF header: class (1: 32 bits, 2: 64 bits) at 4, machine at 18.
ARCHITECTURES = {(2, 62): "amd64", (1, 3): "i386"}
MACHINE_BYTES = 20
QUICK_ZSTD_LEVEL = 12
# dracut's scripts look for mount here before they find it in usr/bin, unless both are one folder.
DRACUT_FIRST = b"usr/sbin"
DRACUT_MOUNT = SOURCES / "dracut/mount"
DRACUT_BLKID = SOURCES / "dracut/blkid"
BLKID = (b"usr/sbin/blkid", b"usr/bin/blkid")
Compressor = Callable[[bytes], bytes]


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
class Trim:
    """What is left out of an initrd.

    Attributes:
        leave_out: Folders below the modules' ``kernel``, or modules.
        keep: Folders or modules of these that stay.
    """

    leave_out: tuple[str, ...]
    keep: tuple[str, ...]


@dataclass(frozen=True)
class Recognized:
    """What is known of an initrd.

    Attributes:
        kind: Its kind.
        folder: Where its hook goes.
        arch: Debian architecture of its programs.
        udev: Whether it has rules of udev where quick probes can be added.
        mount: Whether a program can be put in front of its mount.
        blkid: Of dracut, path and content of blkid; None if it is no program of its own.
    """

    kind: Kind
    folder: str
    arch: str
    udev: bool = False
    mount: bool = False
    blkid: tuple[str, bytes] | None = field(default=None, repr=False)


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
    arch = blkid = None
    for archive, _ in archives(initrd, name):
        for entry in entries(archive, name):
            path = entry.name.removeprefix(b"./").strip(b"/")
            modes[path] = int(archive[entry.start + 14 : entry.start + 22], 16)
            head = archive[entry.content : entry.content + min(MACHINE_BYTES, entry.size_bytes)]
            if path in BLKID and head[:4] == b"\x7fELF":
                content = archive[entry.content : entry.content + entry.size_bytes]
                blkid = (path.decode(), content)
            if arch is None and head[:4] == b"\x7fELF" and len(head) == MACHINE_BYTES:
                machine = int.from_bytes(head[18:20], "little")
                arch = ARCHITECTURES.get((head[4], machine))
    for kind in KINDS:
        for folder in kind.folders:
            if is_folder(folder, modes):
                found = _checked(kind, folder, modes, arch, name)
                return replace(found, blkid=blkid if kind.title == "dracut" else None)
    known = ", ".join(kind.title for kind in KINDS)
    raise InputError(f"{name}: the kind of this initrd is unknown (known: {known})", hint=HINT)


def _checked(
    kind: Kind, folder: bytes, modes: Mapping[bytes, int], arch: str | None, name: str
) -> Recognized:
    if arch is None:
        raise InputError(f"{name}: has no programs for amd64 or i386", hint=HINT)
    for wanted in (FOLDER.encode(), folder):
        if (link := first_link(wanted, modes)) is not None:
            raise InputError(f"{name}: {printable(link)} is no folder", hint=HINT)
    if b"usr" not in modes:
        raise InputError(f"{name}: has no folder usr", hint=HINT)
    rules = f"{additions.UDEV}/rules.d".encode()
    udev = is_folder(rules, modes) and first_link(rules, modes) is None
    mount = (
        kind.title == "dracut"
        and is_folder(DRACUT_FIRST, modes)
        and first_link(DRACUT_FIRST, modes) is None
        and b"usr/bin/mount" in modes
        and DRACUT_FIRST + b"/mount" not in modes
    )
    return Recognized(kind, folder.decode(), arch, udev, mount)


def first_link(folder: bytes, modes: Mapping[bytes, int]) -> bytes | None:
    """Return the first part of a path that is no folder in an initrd; None if all are, or missing.

    The kernel replaces a link by a folder of the same name, with all that was behind it.
    """
    parts = folder.split(b"/")
    for depth in range(1, len(parts) + 1):
        path = b"/".join(parts[:depth])
        if path in modes and not stat.S_ISDIR(modes[path]):
            return path
    return None


def is_folder(path: bytes, modes: Mapping[bytes, int]) -> bool:
    """Return whether an initrd has a folder, be it in a list or by what is in it."""
    if path in modes:
        return stat.S_ISDIR(modes[path])
    return any(each.startswith(path + b"/") for each in modes)


def make_archive(
    recognized: Recognized,
    content: bytes | None,
    squashfs: bytes,
    target: Path,
    *,
    epoch: int,
    quick_probes: bool,
) -> None:
    """Write the archive that reads ahead in a foreign initrd.

    Args:
        recognized: What is known of the initrd.
        content: The readahead list; None for quick probes alone.
        squashfs: Path of the squashfs on the medium, from its root; other file systems of the
            medium are left alone.
        target: Archive to write (cpio, newc).
        epoch: Time stamp of everything in it (seconds since 1970).
        quick_probes: Whether probes are kept off the medium's far end, where the initrd has udev.
    """
    hook, arch = recognized.kind.hook, recognized.arch
    hook_path = f"{recognized.folder}/{recognized.kind.name}"
    with staged(target, epoch) as staging:
        if content is None:
            readahead.stage_starter(staging, hook, hook_path)
        else:
            readahead.stage(staging, content, arch, hook=hook, hook_path=hook_path)
        (staging / FOLDER / "squashfs.path").write_bytes(squashfs + b"\n")
        if recognized.mount:
            add(DRACUT_MOUNT, staging, DRACUT_FIRST.decode())
        if quick_probes and recognized.udev:
            additions.stage_udev(staging, arch)
            (staging / ROOT_RULES).write_text(root_rules())
            if recognized.blkid is not None:
                path, program = recognized.blkid
                add(DRACUT_BLKID, staging, str(Path(path).parent))
                kept = staging / FOLDER / DRACUT_BLKID.name
                kept.write_bytes(program)
                kept.chmod(0o755)
            if recognized.kind.title == "live-boot":
                add(additions.LIVE_BOOT_PROBES, staging, recognized.folder)


def root_rules() -> str:
    """Return the rules for udev of a root, which do nothing as long as the initrd runs."""
    tests = "".join(f'TEST=="{path}", GOTO="live_medium_end"\n' for path in INITRD_FILES)
    head, first, rest = additions.UDEV_RULES.read_text().partition('ACTION=="remove"')
    return head + tests + first + rest


def joined(initrd: bytes, archive: bytes) -> bytes:
    """Append an archive to an initrd: the kernel looks for it at a multiple of 4."""
    return initrd + bytes(-len(initrd) % 4) + archive


def fitted(initrd: bytes, name: str, archive: bytes, *, slow: bool) -> bytes | None:
    """Append an archive to an initrd that stays as large as it is, by a higher level.

    The compressor stays the same, because the kernel may have no other. Zeros fill it up: the
    kernel skips them.

    Args:
        initrd: The initrd.
        name: Its name, for errors.
        archive: The archive, not compressed.
        slow: Whether to try what takes up to a minute, too.

    Returns:
        The new initrd; None if it would be larger.

    Raises:
        FormatError: It is no initrd, or its compression is not supported.
    """
    place = compressed_at(initrd, name)
    if place is None:
        return None
    position, magic, packed = place
    quick, others = COMPRESSORS[magic]
    for compress in (*quick, *(others if slow else ())):
        new = joined(initrd[:position] + compress(packed), compress(archive))
        if len(new) <= len(initrd):
            return new + bytes(len(initrd) - len(new))
    return None


def compressed_at(initrd: bytes, name: str) -> tuple[int, bytes, bytes] | None:
    """Return where an initrd is compressed.

    Returns:
        Its position, its first bytes, and its content; None if there is no compressed archive, or
        one of a format that is not written.
    """
    position = 0
    for data, compressed in archives(initrd, name):
        # Between archives there may be any number of zeros.
        position += len(initrd) - position - len(initrd[position:].lstrip(b"\0"))
        if compressed:
            found = (each for each in COMPRESSORS if initrd.startswith(each, position))
            magic = next(found, None)
            return None if magic is None else (position, magic, data)
        position += len(data)
    return None


def without_drivers(
    initrd: bytes, name: str, rules: Trim, drivers: Collection[bytes]
) -> bytes | None:
    """Return an initrd without the drivers that finding its root does not need.

    The compressor stays the same, because the kernel may have no other.

    Args:
        initrd: The initrd.
        name: Its name, for errors.
        rules: What is left out.
        drivers: The drivers of the root, as :func:`bootprof.builder.initrd.repack.drivers_in` names
            them: what the root does not have stays.

    Returns:
        The new initrd; None if it would not be smaller.

    Raises:
        FormatError: It is no initrd, or its compression is not supported.
    """
    parts = list(archives(initrd, name))
    own = drivers_in(entry.name for data, _ in parts for entry in entries(data, name))
    only = [each.partition(b"/kernel/")[2].decode(errors="replace") for each in own - set(drivers)]
    place = compressed_at(initrd, name)
    if place is None and any(compressed for _, compressed in parts):
        return None
    pack = best_compressor(place[1]) if place is not None else bytes
    kept = trimmed(parts, name, rules.leave_out, (*rules.keep, *only))
    new = b""
    for data, compressed in kept:
        new = joined(new, pack(data) if compressed else data)
    return new if len(new) < len(initrd) else None


def best_compressor(magic: bytes) -> Compressor:
    """Return what makes the smallest archive of a format."""
    quick, slow = COMPRESSORS[magic]
    return (*quick, *slow)[-1]


def with_zstd(data: bytes, level: int = ZSTD_LEVEL) -> bytes:
    """Compress as the kernel can read it: its window is 128 MiB at most."""
    import zstandard

    return zstandard.ZstdCompressor(level=level, threads=2).compress(data)


def with_xz(data: bytes) -> bytes:
    """Compress with the only check that the kernel knows."""
    return lzma.compress(data, lzma.FORMAT_XZ, lzma.CHECK_CRC32, preset=9)


def with_gzip(data: bytes) -> bytes:
    """Compress without the time, so that the same content gives the same bytes."""
    return gzip.compress(data, 9, mtime=0)


def with_quick_zstd(data: bytes) -> bytes:
    """Compress a little smaller than level 9 of initramfs-tools, in a fifth of the time of 19."""
    return with_zstd(data, QUICK_ZSTD_LEVEL)


# By the first bytes of the format: what takes seconds, and what takes up to a minute.
COMPRESSORS: Mapping[bytes, tuple[tuple[Compressor, ...], tuple[Compressor, ...]]] = {
    b"\x28\xb5\x2f\xfd": ((with_quick_zstd,), (with_zstd,)),
    b"\xfd7zXZ\0": ((), (with_xz,)),
    b"\x1f\x8b": ((), (with_gzip,)),
}
