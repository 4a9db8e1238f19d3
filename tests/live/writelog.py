# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""A disk whose writes QEMU records, one by one: what a power cut leaves after any of them.

The format is that of QEMU's driver ``blklogwrites`` and of the kernel's target ``log-writes``:
https://docs.kernel.org/admin-guide/device-mapper/log-writes.html
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from bootprof.builder.media.incomplete import SIZE_BYTES

MIB = 1 << 20
SECTOR = 512
MAGIC = 0x6A736677736872


@dataclass(frozen=True)
class Write:
    """A write: where it begins on the disk, and what it wrote."""

    offset: int
    data: bytes


def recorded(name: str, disk: Path, log: Path) -> list[str]:
    """Return what gives a machine a stick whose writes are recorded; none waits in a cache.

    Args:
        name: Serial number of the stick.
        disk: Its content.
        log: For its writes; made here.
    """
    log.write_bytes(b"")
    drive = (
        "driver=blklogwrites,file.driver=file,log.driver=file,if=none,cache=directsync,"
        f"id={name},file.filename={disk},log.filename={log}"
    )
    device = f"usb-storage,drive={name},removable=on,serial={name},id=usb{name}"
    return ["-drive", drive, "-device", device]


def read_log(log: Path) -> Iterator[Write]:
    """Read the writes of a log in their order."""
    with log.open("rb") as stream:
        magic, version, _, sector = struct.unpack("<QQQI", stream.read(28))
        assert (magic, version, sector) == (MAGIC, 1, SECTOR)
        stream.seek(SECTOR)
        while len(head := stream.read(SECTOR)) == SECTOR:
            at, sectors, flags, _ = struct.unpack_from("<QQQQ", head)
            if not sectors and not flags:
                return
            # All else is a flush, which has no data.
            if sectors:
                yield Write(at * SECTOR, stream.read(sectors * SECTOR))


def replayed(blank: Path, log: Path, count: int, target: Path) -> Path:
    """Write the disk as it was after so many writes.

    Args:
        blank: The disk before the first write.
        log: Its writes.
        count: How many of them are done.
        target: File to write.
    """
    with blank.open("rb") as stream, target.open("wb") as copy:
        copy.write(stream.read(SECTOR))
        copy.truncate(blank.stat().st_size)
        for _, write in zip(range(count), read_log(log), strict=False):
            copy.seek(write.offset)
            copy.write(write.data)
    return target


def sector_of_before() -> bytes:
    """Return a boot sector of something else, which a stick has before a copy."""
    return b"boot code of before".ljust(510, b"x") + b"\x55\xaa"


@dataclass(frozen=True)
class Cut:
    """What a stick is after one of its writes: its boot sector, a digest of the menu, and what is
    where ISO 9660 has its first descriptor.
    """

    sector: bytes
    menu: bytes
    iso: bytes


def cuts(log: Path, size: int) -> list[Cut]:
    """Return what a power cut after each write of a stick leaves.

    Args:
        log: Its writes.
        size: Size of the stick in bytes.
    """
    sector, menu, iso = sector_of_before(), bytearray(SIZE_BYTES), bytearray(b"CD001")
    found = []
    for write in read_log(log):
        if write.offset == 0:
            sector = write.data[:SECTOR]
        overlay(menu, (size // MIB - 1) * MIB - SIZE_BYTES, write)
        overlay(iso, 32769, write)
        found.append(Cut(sector, hashlib.sha256(menu).digest(), bytes(iso)))
    return found


def overlay(part: bytearray, place: int, write: Write) -> None:
    """Apply a write to a part of a disk, which begins at a place."""
    begin = max(write.offset, place)
    end = min(write.offset + len(write.data), place + len(part))
    if begin < end:
        part[begin - place : end - place] = write.data[begin - write.offset : end - write.offset]


def check_cuts(log: Path, stick: Path) -> tuple[int, int]:
    """Check that a copy to a whole stick does not start as if it were whole before its last write.

    Args:
        log: The writes of the stick.
        stick: The stick with the finished copy.

    Returns:
        The number of the first write that makes it start the menu, and that of all writes.
    """
    with stick.open("rb") as stream:
        complete = stream.read(SECTOR)
    found = cuts(log, stick.stat().st_size)
    # The boot sector of a complete copy is there from the last write on.
    assert [cut.sector == complete for cut in found] == [False] * (len(found) - 1) + [True]
    # The first moments start nothing, and all that follow the menu, which is written before.
    first = next(number for number, cut in enumerate(found) if any(cut.sector))
    assert 0 < first < len(found) // 4
    assert len({(cut.sector, cut.menu) for cut in found[first:-1]}) == 1
    # UEFI starts from the file system of an ISO, whatever the boot sector says.
    assert b"CD001" not in {cut.iso for cut in found[first:-1]}
    assert found[first].sector[450] == 0xEF
    return first, len(found)
