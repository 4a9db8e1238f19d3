"""Pack files of ureadahead, and what ``ureadahead --dump`` prints of them.

A pack (struct PackFile of its pack.h, version 2) is what was in the page cache at the end of a
boot, file by file in the order in which they were opened: header, device, time, inode groups,
paths of 256 bytes, blocks. All numbers are those of a little-endian 64-bit machine.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from typing import TYPE_CHECKING, BinaryIO, Final

from bootprof.backends import Backend
from bootprof.errors import FormatError
from bootprof.imports.processes import header_of, only_file

if TYPE_CHECKING:
    from pathlib import Path

    from bootprof.backends import Recording
    from optimizer.formats.events import Bootlog, Event

_MAGIC: Final = b"ura"
_VERSION: Final = 2
_HEADER = struct.Struct("<3sBB3xQq")  # magic, version, flags, device, time
_COUNT = struct.Struct("<Q")
_GROUP = struct.Struct("<i")
_PATH = struct.Struct("<i4xQ256s")  # group, inode, path
_BLOCK = struct.Struct("<Qqqq")  # path, offset, length, place on the disk

_TITLE = re.compile(
    rb".*: created .* for (?:hdd|ssd) (?P<major>\d+):(?P<minor>\d+)\s*\Z", re.DOTALL
)
_FILE = re.compile(rb"(?P<path>/.*) \(\d+ kB\), \d+ blocks \(\d+ kB\)\s*\Z", re.DOTALL)
_PIECE = re.compile(rb"\t(?P<offset>\d{1,18}), (?P<length>\d{1,18}) bytes \(at \d+\)\s*\Z")


def _event(
    path: bytes, inode: int, device: tuple[int, int], offset_bytes: int, length_bytes: int
) -> Event:
    from optimizer.formats.events import Event, Operation

    return Event(
        time_ns=0,
        pid=0,
        command=b"",
        operation=Operation.CACHE if length_bytes else Operation.OPEN,
        offset_bytes=offset_bytes,
        length_bytes=length_bytes,
        device_major=device[0],
        device_minor=device[1],
        inode=inode,
        file_system=b"",
        path=path,
    )


def _packed_events(content: bytes, name: str) -> Iterator[Event]:
    """Yield the events of a pack file."""
    if len(content) < _HEADER.size:
        raise FormatError(f"{name}: truncated in its header, at byte {len(content)}")
    magic, version, _, packed, _ = _HEADER.unpack_from(content)
    if magic != _MAGIC or version != _VERSION:
        raise FormatError(
            f"{name}: a pack of version {version}, not of version {_VERSION}",
            hint="print it with ureadahead --dump, and import that",
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
    for number, offset, length, _ in _BLOCK.iter_unpack(records(_BLOCK, "blocks")):
        if number >= len(paths) or offset < 0 or length < 0:
            raise FormatError(f"{name}: a block of file {number}, but it has {len(paths)} files")
        pieces[number].append((offset, length))
    for (_, inode, padded), blocks in zip(paths, pieces, strict=True):
        path = padded.partition(b"\0")[0]
        if not path.startswith(b"/"):
            raise FormatError(f"{name}: not an absolute path: {path.decode(errors='replace')!a}")
        for offset, length in blocks or [(0, 0)]:
            yield _event(path, inode, device, offset, length)


def _printed_events(stream: BinaryIO) -> Iterator[Event]:
    """Yield the events of what ``ureadahead --dump`` printed."""
    device = 0, 0
    path, pieces = b"", 0
    for line in stream:
        if piece := _PIECE.match(line):
            if path:
                pieces += 1
                yield _event(path, 0, device, int(piece["offset"]), int(piece["length"]))
            continue
        file = _FILE.match(line)
        if file is not None:
            if path and not pieces:
                yield _event(path, 0, device, 0, 0)
            path, pieces = file["path"], 0
        elif title := _TITLE.match(line):
            device = int(title["major"]) % 2**32, int(title["minor"]) % 2**32
    if path and not pieces:
        yield _event(path, 0, device, 0, 0)


def _read_file(path: Path) -> Bootlog:
    from optimizer.formats.events import Bootlog

    header = header_of("ureadahead", path, {})
    with path.open("rb") as stream:
        if stream.read(len(_MAGIC)) == _MAGIC:
            stream.seek(0)
            return Bootlog.of(header, _packed_events(stream.read(), str(path)))
        stream.seek(0)
        return Bootlog.of(header, _printed_events(stream))


def read(recording: Recording) -> Bootlog:
    """Read a pack file, or the text of one.

    Raises:
        InputError: There is no such file.
        FormatError: It is neither, or it is truncated.
    """
    path = only_file(recording)
    bootlog = _read_file(path)
    if not len(bootlog.events):
        raise FormatError(
            f"{path}: neither a pack file of ureadahead nor the text of ureadahead --dump",
            hint="packs are /var/lib/ureadahead/pack and *.pack beside it",
        )
    return bootlog


BACKEND = Backend(
    name="ureadahead",
    summary="pack file of ureadahead, or the text of ureadahead --dump",
    starts="when ureadahead was started; it keeps what was in the page cache at its end",
    agent="",
    read=read,
)
