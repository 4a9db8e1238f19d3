# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""Pack files of ureadahead, and the output of ``ureadahead --dump``.

A pack (struct PackFile of its pack.h, version 2) describes the page cache at the end of a boot,
file by file in the order of their opens: header, device, time, inode groups, paths of 256 bytes,
blocks. All numbers are those of a little-endian 64-bit machine.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Final

from bootprof.errors import FormatError
from bootprof.imports import Import
from bootprof.imports.common.source import (
    UINT32_LIMIT,
    Counts,
    Source,
    access,
    gathered,
    guarded,
    header_of,
    number,
)

if TYPE_CHECKING:
    from optimizer.formats.events import Bootlog, Event

_MAGIC: Final = b"ura"
_VERSION: Final = 2
_HEADER = struct.Struct("<3sBB3xQq")  # magic, version, flags, device, time
_COUNT = struct.Struct("<Q")
_GROUP = struct.Struct("<i")
_PATH = struct.Struct("<i4xQ256s")  # group, inode, path
_BLOCK = struct.Struct("<Qqqq")  # path, offset, length, place on the disk

_PACK_BYTES: Final = 1 << 28
"""Largest pack that is read: 4.8 million blocks."""
_TITLE = re.compile(rb"for (?:hdd|ssd) (?P<major>\d{1,10}+):(?P<minor>\d{1,10}+)\s*\Z")
_SIZES = re.compile(rb" \(\d++ kB\), \d++ blocks \(\d++ kB\)\s*\Z")
_PIECE = re.compile(rb"\t(?P<offset>\d++), (?P<length>\d++) bytes \(at -?\d++\)\s*\Z")


def _event(
    path: bytes, inode: int, device: tuple[int, int], offset_bytes: int, length_bytes: int
) -> Event:
    from optimizer.formats.events import Operation

    return access(
        path,
        Operation.CACHE if length_bytes else Operation.OPEN,
        offset_bytes=offset_bytes,
        length_bytes=length_bytes,
        device=device,
        inode=inode,
    )


def _packed_events(content: bytes, name: str) -> Iterator[Event]:
    """Yield the events of a pack file."""
    if len(content) < _HEADER.size:
        raise FormatError(f"{name}: truncated in its header, at byte {len(content)}")
    magic, version, _, packed, _ = _HEADER.unpack_from(content)
    if magic != _MAGIC or version != _VERSION:
        raise FormatError(
            f"{name}: a pack of version {version}, not of version {_VERSION}",
            hint="convert the output of ureadahead --dump instead",
        )
    major = (packed >> 8 & 0xFFF) | (packed >> 32 & 0xFFFFF000)
    device = major, (packed & 0xFF) | (packed >> 12 & 0xFFFFFF00)
    position = _HEADER.size

    def records(record: struct.Struct, what: str) -> bytes:
        nonlocal position
        if position + _COUNT.size > len(content):
            raise FormatError(f"{name}: truncated before its {what}, at byte {len(content)}")
        size = _COUNT.unpack_from(content, position)[0] * record.size
        start = position + _COUNT.size
        if start + size > len(content):
            raise FormatError(f"{name}: truncated in its {what}, at byte {len(content)}")
        position = start + size
        return content[start:position]

    records(_GROUP, "inode groups")
    paths = list(_PATH.iter_unpack(records(_PATH, "paths")))
    pieces: list[list[tuple[int, int]]] = [[] for _ in paths]
    for file, offset, length, _ in _BLOCK.iter_unpack(records(_BLOCK, "blocks")):
        if file >= len(paths) or offset < 0 or length < 0:
            raise FormatError(f"{name}: a block of file {file}, but it has {len(paths)} files")
        pieces[file].append((offset, length))
    for (_, inode, padded), blocks in zip(paths, pieces, strict=True):
        path = padded.partition(b"\0")[0]
        if not path.startswith(b"/"):
            raise FormatError(f"{name}: not an absolute path: {path.decode(errors='replace')!a}")
        for offset, length in blocks or [(0, 0)]:
            yield _event(path, inode, device, offset, length)


class _Dump:
    """Follows what ``ureadahead --dump`` printed, line by line."""

    def __init__(self, counts: Counts) -> None:
        self.counts = counts
        self.device = 0, 0
        self.path = b""
        self.pieces = 0

    def parse(self, line: bytes) -> Iterator[Event]:
        """Yield the events that a line completes."""
        if piece := _PIECE.match(line):
            if self.path:
                self.pieces += 1
                offset, length = number(piece["offset"]), number(piece["length"])
                yield _event(self.path, 0, self.device, offset, length)
        elif line.startswith(b"/") and (sizes := _sizes(line)) is not None:
            yield from self.end()
            self.counts.records += 1
            self.path, self.pieces = line[: sizes.start()], 0
        elif b": created " in line and (title := _TITLE.search(line, max(len(line) - 80, 0))):
            self.device = number(title["major"], UINT32_LIMIT), number(title["minor"], UINT32_LIMIT)

    def end(self) -> Iterator[Event]:
        """Yield the event of a file without pieces."""
        path, self.path = self.path, b""
        if path and not self.pieces:
            yield _event(path, 0, self.device, 0, 0)


def _sizes(line: bytes) -> re.Match[bytes] | None:
    """Return the end of a line that names a file."""
    return _SIZES.search(line, max(len(line) - 120, 0))


def _events(source: Source, counts: Counts) -> Iterator[Event]:
    if source.head.startswith(_MAGIC):
        source.stream.seek(0)
        content = source.stream.read(_PACK_BYTES + 1)
        if len(content) > _PACK_BYTES:
            raise FormatError(
                f"{source.name}: a pack of more than {_PACK_BYTES >> 20} MiB",
                hint="convert the output of ureadahead --dump instead",
            )
        for event in _packed_events(content, source.name):
            counts.records += 1
            yield event
        return
    dump = _Dump(counts)
    yield from source.records(counts, dump.parse)
    yield from guarded(counts, dump.end())


def read(sources: Sequence[Source]) -> Bootlog:
    """Read a pack file, or the text of one.

    Raises:
        FormatError: It is neither, or it is truncated.
    """
    counts = Counts()
    return gathered(
        header_of("ureadahead", sources),
        _events(sources[0], counts),
        counts,
        "neither a pack file of ureadahead nor the text of ureadahead --dump",
        "packs are /var/lib/ureadahead/pack and *.pack beside it",
    )


def looks_like(source: Source) -> bool:
    """Return whether a file is a pack of ureadahead, or the text of one."""
    if source.head.startswith(_MAGIC):
        return source.head[3:4] < b" "
    return any(line.startswith(b"/") and _sizes(line) for line in source.sample)


IMPORT = Import(
    name="ureadahead",
    summary="pack file of ureadahead, or the text of ureadahead --dump",
    gives="cache",
    record="ureadahead --dump FILE",
    looks_like=looks_like,
    read=read,
)
