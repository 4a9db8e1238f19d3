# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""Boot entries of any image: kernel, initrds and command line, as its own boot menu has them.

:func:`find_entries` reads the menus of GRUB (``grub.cfg``, ``loopback.cfg``), syslinux and
systemd-boot, and unified kernel images, out of an ISO 9660 or FAT file system, without mounting
anything. :func:`extract` copies kernel and initrd out, for a boot with QEMU's ``-kernel``.
"""

from __future__ import annotations

import shutil
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bootprof.boot.menus import (
    LONGEST_TEXT,
    MOST_ENTRIES,
    MenuEntry,
    read_grub,
    read_loader_entry,
    read_syslinux,
)
from bootprof.boot.volumes import CHUNK_BYTES, FILE_LIMIT_BYTES, Volume, free_folder, volumes
from bootprof.errors import FormatError, InputError
from optimizer.formats.text import printable

# In the order of trust: what the firmware of most machines starts comes first.
GRUB_MENUS: Final = (
    *("/boot/grub/grub.cfg", "/boot/grub2/grub.cfg", "/grub/grub.cfg", "/efi/boot/grub.cfg"),
    *("/boot/grub/loopback.cfg", "/efi/debian/grub.cfg", "/efi/fedora/grub.cfg"),
)
SYSLINUX_MENUS: Final = (
    *("/isolinux/isolinux.cfg", "/boot/isolinux/isolinux.cfg", "/boot/syslinux/isolinux.cfg"),
    *("/syslinux/syslinux.cfg", "/boot/syslinux/syslinux.cfg", "/boot/syslinux/archiso.cfg"),
    *("/isolinux.cfg", "/syslinux.cfg", "/extlinux/extlinux.conf", "/boot/extlinux/extlinux.conf"),
)
LOADER_ENTRIES: Final = ("/loader/entries/", "/boot/loader/entries/")
UNIFIED_IMAGES: Final = "/efi/linux/"
UNIFIED_FALLBACK: Final = ("/efi/boot/bootx64.efi", "/efi/boot/bootia32.efi")

# Documentation/arch/x86/boot.rst: the header of a bzImage, and where it names the kernel's version.
_HEADER_MAGIC = b"HdrS"
_HEADER_OFFSET = 0x202
_VERSION_OFFSET = 0x20E
_HEAD_BYTES = 64 << 10
# Microsoft's PE format: "MZ", the offset of the PE header, then 20 bytes of COFF header.
_MOST_SECTIONS = 96
_SECTION_BYTES = 40


@dataclass(frozen=True)
class BootEntry:
    """A boot entry of an image.

    Attributes:
        title: As the menu shows it.
        kernel: Path of the kernel on its file system; of a unified kernel image, that image.
        initrds: Paths of the initrds, in the order in which they are joined; none in a unified
            kernel image, which has it inside.
        options: Command line of the kernel.
        menu: Path of the menu that has the entry.
        volume: The file system that all of them are in.
        release: Release of the kernel (``uname -r``); empty if it does not say.
        unified: Whether the kernel is a unified kernel image.
    """

    title: str
    kernel: str
    initrds: tuple[str, ...]
    options: str
    menu: str
    volume: Volume
    release: str
    unified: bool = False


@dataclass(frozen=True)
class DirectKernel:
    """What QEMU starts without a boot loader.

    Attributes:
        kernel: The kernel.
        initrd: Its initrd, and what is added to it.
        options: Command line of the kernel.
        release: Release of the kernel; empty if it does not say.
    """

    kernel: Path
    initrd: Path
    options: str
    release: str = ""


def find_entries(image: Path) -> tuple[BootEntry, ...]:
    """Return the boot entries of an image that start Linux, the one of the menu's choice first.

    Entries that are the same in several menus are returned once; entries whose kernel or initrd is
    missing, or whose kernel is no Linux kernel (memory tests), are left out.

    Args:
        image: ISO or disk image.

    Raises:
        InputError: There is no such image.
        FormatError: It is an ISO whose directories are damaged.
    """
    found: list[BootEntry] = []
    preferred: list[BootEntry] = []
    for volume in volumes(image):
        releases: dict[str, str | None] = {}
        for one in _menu_entries(volume):
            entry = _checked(volume, one, releases)
            same = [other for other in found if _same(other, entry)] if entry else []
            if entry is None or same:
                continue
            found.append(entry)
            if one.preferred:
                preferred.append(entry)
        found += _unified(volume, found)
    first = preferred[:1]
    return tuple(first + [entry for entry in found if entry not in first])[:MOST_ENTRIES]


def choose_entry(image: Path, wanted: str | None = None) -> BootEntry:
    """Return the boot entry of an image with a number (from 1 on) or a title.

    Args:
        image: ISO or disk image.
        wanted: Number, title or a part of it that no other title has; None for the first entry.

    Raises:
        InputError: There is no such entry, or no entry at all.
        FormatError: As for :func:`find_entries`.
    """
    entries = find_entries(image)
    if not entries:
        raise InputError(
            f"{image}: no boot menu found that starts a Linux kernel",
            hint="menus of GRUB, syslinux and systemd-boot are read from ISO 9660 and FAT; "
            "record the reads of any image that boots with --backend block",
        )
    if wanted is None:
        return entries[0]
    if wanted.isascii() and wanted.isdigit() and len(wanted) < 5:
        if 1 <= int(wanted) <= len(entries):
            return entries[int(wanted) - 1]
        found: Sequence[BootEntry] = ()
    else:
        found = [entry for entry in entries if entry.title == wanted] or [
            entry for entry in entries if wanted.lower() in entry.title.lower()
        ]
    if len(found) == 1:
        return found[0]
    raise InputError(
        f"{image}: {'several boot entries are' if found else 'no boot entry is'} "
        f"called {printable(wanted)}",
        hint="list them with --list-entries, and give a number",
    )


def extract(entry: BootEntry, folder: Path, archives: Sequence[Path], options: str) -> DirectKernel:
    """Copy kernel and initrd of an entry out of its image.

    Args:
        entry: The entry.
        folder: Where to.
        archives: Initrd archives that are appended.
        options: What is added to the command line; it goes in front of ``--``, after which the
            words are for the first process.

    Raises:
        FormatError: A file cannot be read, or the initrds are larger than
            :data:`FILE_LIMIT_BYTES` together.
    """
    kernel, initrd = folder / "kernel", folder / "initrd"
    entry.volume.copy(entry.kernel, kernel)
    parts: list[Path] = []
    if entry.unified:
        unified, kernel = kernel, folder / "kernel.linux"
        sections = pe_sections(unified)
        _cut(unified, sections[".linux"], kernel)
        if ".initrd" in sections:
            parts.append(folder / "part0")
            _cut(unified, sections[".initrd"], parts[0])
    for number, path in enumerate(entry.initrds):
        parts.append(folder / f"part{number}")
        entry.volume.copy(path, parts[-1])
        # A medium can have one large file under many names.
        if sum(part.stat().st_size for part in parts) > FILE_LIMIT_BYTES:
            raise FormatError(
                f"{entry.volume.image}: {entry.menu}: the initrds of an entry have more than "
                f"{FILE_LIMIT_BYTES} bytes"
            )
    with initrd.open("xb") as stream:
        for part in (*parts, *archives):
            with part.open("rb") as source:
                shutil.copyfileobj(source, stream, CHUNK_BYTES)
            # The kernel takes an archive that is not compressed only at a multiple of 4.
            stream.write(bytes(-stream.tell() % 4))
    for part in parts:
        part.unlink()
    words = entry.options.split()
    end = words.index("--") if "--" in words else len(words)
    text = " ".join([*words[:end], *options.split(), *words[end:]])
    return DirectKernel(kernel, initrd, text, entry.release)


def kernel_release(kernel: bytes) -> str | None:
    """Return the release that a kernel for x86 names; None if it is none, empty if it names none.

    Args:
        kernel: Its beginning.
    """
    if kernel[_HEADER_OFFSET : _HEADER_OFFSET + 4] != _HEADER_MAGIC:
        return None
    pointer = int.from_bytes(kernel[_VERSION_OFFSET : _VERSION_OFFSET + 2], "little")
    text = kernel[pointer + 0x200 :][:64] if pointer else b""
    return printable(text.split(b"\0")[0].split(b" ")[0])


def pe_sections(path: Path) -> dict[str, tuple[int, int]]:
    """Return offset and length in bytes of the sections of a program for UEFI, by name.

    Source: Microsoft's specification of PE and COFF. Empty if it is no such program.
    """
    with path.open("rb") as stream:
        size_bytes = path.stat().st_size
        head = stream.read(64)
        if head[:2] != b"MZ" or len(head) < 64:
            return {}
        stream.seek(int.from_bytes(head[60:64], "little"))
        coff = stream.read(24)
        if coff[:4] != b"PE\0\0" or len(coff) < 24:
            return {}
        count, optional_bytes = struct.unpack_from("<H12xH", coff, 6)
        stream.seek(optional_bytes, 1)
        table = stream.read(min(count, _MOST_SECTIONS) * _SECTION_BYTES)
    found = {}
    for start in range(0, len(table) - _SECTION_BYTES + 1, _SECTION_BYTES):
        name = table[start : start + 8].rstrip(b"\0").decode(errors="replace")
        virtual, _, raw, offset = struct.unpack_from("<IIII", table, start + 8)
        length = min(virtual or raw, raw)
        if offset + length <= size_bytes:
            found[name] = (offset, length)
    return found


def _menu_entries(volume: Volume) -> list[MenuEntry]:
    """Return the entries of all menus of a file system."""
    found: list[MenuEntry] = []
    more = [
        name
        for name in volume.names
        if name.endswith("/grub.cfg") and "/i386" not in name and name not in GRUB_MENUS
    ]
    for menu in (*GRUB_MENUS, *more[:10]):
        if volume.find(menu):
            found += read_grub(volume.text, menu)
    for menu in SYSLINUX_MENUS:
        if volume.find(menu):
            found += read_syslinux(volume.text, menu)
    entries = [
        name for name in volume.names if name.startswith(LOADER_ENTRIES) and name.endswith(".conf")
    ]
    for name in sorted(entries)[:MOST_ENTRIES]:
        entry = read_loader_entry(volume.text, name)
        if entry is not None:
            found.append(entry)
    return found


def _checked(
    volume: Volume, menu_entry: MenuEntry, releases: dict[str, str | None]
) -> BootEntry | None:
    """Return an entry whose files are there, with the kernel's release."""
    kernel = volume.find(menu_entry.kernel)
    initrds = [volume.find(path) for path in menu_entry.initrds]
    if kernel is None or None in initrds:
        return None
    if kernel not in releases:
        releases[kernel] = kernel_release(volume.head(kernel, _HEAD_BYTES))
    release = releases[kernel]
    # iPXE has the header of a kernel, too. A kernel without an initrd needs to know its root.
    if release is None or (not initrds and not (release and menu_entry.options)):
        return None
    return BootEntry(
        title=printable(menu_entry.title),
        kernel=kernel,
        initrds=tuple(path for path in initrds if path is not None),
        options=menu_entry.options,
        menu=menu_entry.menu,
        volume=volume,
        release=release,
    )


def _same(one: BootEntry, other: BootEntry) -> bool:
    return (one.kernel, one.initrds, one.options) == (other.kernel, other.initrds, other.options)


def _unified(volume: Volume, found: Sequence[BootEntry]) -> list[BootEntry]:
    """Return the unified kernel images of a file system; of the fallback if it has no entry."""
    names = [
        path
        for name, path in volume.names.items()
        if name.startswith(UNIFIED_IMAGES) and name.endswith(".efi")
    ]
    if not names and not found:
        names = [path for name in UNIFIED_FALLBACK if (path := volume.find(name))]
    entries = []
    room_bytes = FILE_LIMIT_BYTES
    for path in sorted(names)[:MOST_ENTRIES]:
        if room_bytes < 0:
            break
        with free_folder(FILE_LIMIT_BYTES // 8) as folder:
            image = folder / "unified"
            try:
                volume.copy(path, image)
            except FormatError:
                continue
            room_bytes -= image.stat().st_size
            sections = pe_sections(image)
            if ".linux" not in sections:
                continue
            release = kernel_release(_section(image, sections, ".linux", _HEAD_BYTES))
            options = _section(image, sections, ".cmdline", LONGEST_TEXT)
            name = _section(image, sections, ".osrel", LONGEST_TEXT)
        if release is None:
            continue
        titles = [line for line in name.split(b"\n") if line.startswith(b"PRETTY_NAME=")]
        title = titles[0][12:].strip(b"\"'") if titles else path.encode(errors="replace")
        text = options.rstrip(b"\0\n ").decode(errors="replace")
        entries.append(
            BootEntry(printable(title), path, (), text, path, volume, release, unified=True)
        )
    return entries


def _section(image: Path, sections: dict[str, tuple[int, int]], name: str, limit: int) -> bytes:
    offset, length = sections.get(name, (0, 0))
    with image.open("rb") as stream:
        stream.seek(offset)
        return stream.read(min(length, limit))


def _cut(source: Path, section: tuple[int, int], target: Path) -> None:
    offset, left = section
    with source.open("rb") as stream, target.open("xb") as output:
        stream.seek(offset)
        while left and (data := stream.read(min(CHUNK_BYTES, left))):
            output.write(data)
            left -= len(data)
