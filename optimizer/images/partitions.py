# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""Where the partitions of a disk image begin: MBR with logical partitions, and GPT.

Sources: UEFI specification 2.10, chapter 5 (GPT, protective MBR); for logical partitions the chain
of extended boot records as the kernel follows it (block/partitions/msdos.c).
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import BinaryIO, Final

SECTOR_BYTES: Final = 512
_SIGNATURE = b"\x55\xaa"
_ENTRIES_OFFSET_BYTES = 446
_ENTRY_BYTES = 16
_EXTENDED = (0x05, 0x0F, 0x85)
_FIRST_LOGICAL = 5
_LOGICAL_LIMIT = 128
_GPT_MAGIC = b"EFI PART"
_GPT_ENTRIES_LIMIT = 1024


def partition_offsets(path: Path) -> dict[int, int]:
    """Return the offset in bytes of each partition of an image, by its number; empty if none.

    Partitions that begin behind the end of the image are left out.
    """
    with path.open("rb") as stream:
        size_bytes = stream.seek(0, os.SEEK_END)
        found = _gpt(stream, size_bytes) or _mbr(stream)
    return {number: offset for number, offset in found.items() if offset < size_bytes}


def _gpt(stream: BinaryIO, size_bytes: int) -> dict[int, int]:
    header = _sector(stream, 1)
    if not header.startswith(_GPT_MAGIC):
        return {}
    first = int.from_bytes(header[72:80], "little")
    count = min(int.from_bytes(header[80:84], "little"), _GPT_ENTRIES_LIMIT)
    size = int.from_bytes(header[84:88], "little")
    # The address has 64 bits, of which a file has fewer.
    if not 128 <= size <= 4096 or first * SECTOR_BYTES >= size_bytes:
        return {}
    stream.seek(first * SECTOR_BYTES)
    table = stream.read(count * size)
    found = {}
    for number in range(len(table) // size):
        entry = table[number * size : (number + 1) * size]
        if any(entry[:16]):
            found[number + 1] = int.from_bytes(entry[32:40], "little") * SECTOR_BYTES
    return found


def _mbr(stream: BinaryIO) -> dict[int, int]:
    found = {}
    for number, (kind, start) in enumerate(_entries(stream, 0), 1):
        if kind == 0:
            continue
        found[number] = start * SECTOR_BYTES
        if kind in _EXTENDED:
            record, logical = start, _FIRST_LOGICAL
            while logical < _FIRST_LOGICAL + _LOGICAL_LIMIT:
                entries = _entries(stream, record)
                if not entries or entries[0][0] == 0:
                    break
                found[logical] = (record + entries[0][1]) * SECTOR_BYTES
                logical += 1
                if entries[1][0] not in _EXTENDED:
                    break
                record = start + entries[1][1]
    return found


def _entries(stream: BinaryIO, sector: int) -> list[tuple[int, int]]:
    """Return type and first sector of the four entries of a boot record; none if it is none."""
    record = _sector(stream, sector)
    if len(record) < SECTOR_BYTES or record[510:] != _SIGNATURE:
        return []
    entries = []
    for offset in range(_ENTRIES_OFFSET_BYTES, 510, _ENTRY_BYTES):
        entry = record[offset : offset + _ENTRY_BYTES]
        entries.append((entry[4], int.from_bytes(entry[8:12], "little")))
    return entries


def _sector(stream: BinaryIO, sector: int) -> bytes:
    stream.seek(sector * SECTOR_BYTES)
    return stream.read(SECTOR_BYTES)
