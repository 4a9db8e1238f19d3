# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""The file format of a readahead list, which docs/commands/readahead.md describes.

A list is for one file system only, whose superblock is in it: another order of the files gives
other positions of the tables. Its reader at boot is ``bootprof/guest/readahead``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from optimizer.errors import FormatError

MAGIC: Final = b"#bootprof-readahead 1"
SUPERBLOCK_BYTES: Final = 96
"""Bytes of the superblock in a list: the whole superblock of a squashfs; of an EROFS all with a
meaning of its own (UUID, time, checksum, places)."""

_HEADER_LINE = re.compile(rb"#([a-z0-9_]+): (.*)")
_RANGE_LINE = re.compile(rb"(\d{1,18})\t(\d{1,18})\t(tables|data)")

ListRanges = NDArray[np.void]
"""Rows of :data:`RANGE_DTYPE`."""

RANGE_DTYPE = np.dtype(
    [("offset_bytes", np.int64), ("length_bytes", np.int64), ("tables", np.bool_)]
)
"""One range: offset from the start of the squashfs and length in bytes, whether it has tables."""


@dataclass(frozen=True, eq=False)
class ReadaheadList:
    """A readahead list.

    Attributes:
        superblock: 96 bytes of the superblock of the file system that it is for.
        squashfs_bytes: Size of that squashfs, without padding.
        superblock_offset_bytes: Where these are in the file system.
        drive: Name of the drive that the gaps were weighed for.
        ranges: Shape (ranges,), of :data:`RANGE_DTYPE`, ascending; they do not overlap, and touch
            only where tables follow data.
    """

    superblock: bytes
    squashfs_bytes: int
    drive: str
    ranges: ListRanges
    superblock_offset_bytes: int = 0


def format_list(readahead: ReadaheadList) -> bytes:
    """Return a list as a file; :func:`parse_list` reads it."""
    lines = [
        MAGIC,
        b"#superblock: " + readahead.superblock.hex().encode(),
        *(
            [b"#superblock_offset: %d" % readahead.superblock_offset_bytes]
            if readahead.superblock_offset_bytes
            else []
        ),
        b"#squashfs_bytes: %d" % readahead.squashfs_bytes,
        b"#drive: " + readahead.drive.encode(),
        b"#ranges: %d" % len(readahead.ranges),
    ]
    lines += [
        b"%d\t%d\t%s" % (offset, length, b"tables" if tables else b"data")
        for offset, length, tables in readahead.ranges.tolist()
    ]
    return b"\n".join(lines) + b"\n"


def parse_list(stream: Iterable[bytes], file_name: str) -> ReadaheadList:
    """Read a list.

    Raises:
        FormatError: It is damaged, of another kind, or its ranges are not in order.
    """
    numbered = enumerate((line.rstrip(b"\n") for line in stream), 1)
    if next(numbered, (1, b""))[1] != MAGIC:
        raise FormatError(
            f"{file_name}: not a readahead list", hint="bootprof readahead IMAGE BOOTLOG makes one"
        )
    headers: dict[bytes, bytes] = {}
    rows: list[tuple[int, int, bool]] = []
    end = 0
    for number, line in numbered:
        if header := _HEADER_LINE.fullmatch(line):
            headers[header[1]] = header[2]
            continue
        match = _RANGE_LINE.fullmatch(line)
        if not match:
            raise FormatError(f"{file_name}: line {number}: not a range")
        offset, length = int(match[1]), int(match[2])
        if offset < end or not length:
            raise FormatError(
                f"{file_name}: line {number}: overlaps or precedes the range before it"
            )
        end = offset + length
        rows.append((offset, length, match[3] == b"tables"))
    try:
        superblock = bytes.fromhex(headers[b"superblock"].decode())
        size_bytes, count = int(headers[b"squashfs_bytes"]), int(headers[b"ranges"])
        drive = headers[b"drive"].decode()
        superblock_offset = int(headers.get(b"superblock_offset", b"0"))
    except (KeyError, ValueError):
        raise FormatError(f"{file_name}: a line of the header is missing or damaged") from None
    if len(superblock) != SUPERBLOCK_BYTES:
        raise FormatError(f"{file_name}: the superblock in the header is cut off")
    if count != len(rows):
        raise FormatError(
            f"{file_name}: the header announces {count} ranges, but {len(rows)} follow"
        )
    if end > size_bytes:
        raise FormatError(f"{file_name}: ranges reach past the end of the squashfs")
    return ReadaheadList(
        superblock, size_bytes, drive, np.array(rows, RANGE_DTYPE), superblock_offset
    )
