"""Text of blkparse: what blktrace recorded of block devices.

The default format of blkparse(1), ``8,0 3 1 0.000000000 697 G R 223490 + 8 [kjournald]``: device,
processor, sequence, seconds, pid, action, operation, first sector (of 512 bytes, from the start of
the disk) and number of sectors, process. Requests count where they were queued (Q); a trace that
was filtered to what the drive got has only issued ones (D).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, BinaryIO

from bootprof.backends import Backend
from bootprof.backends.block_files import needed_image
from bootprof.backends.devices import SECTOR_BYTES, DeviceRead, locate_device_reads
from bootprof.errors import FormatError
from bootprof.imports.processes import header_of, only_file

if TYPE_CHECKING:
    from bootprof.backends import Recording
    from bootprof.backends.block_files import Located
    from optimizer.formats.events import Bootlog

_LINE = re.compile(
    rb"\s*(?P<major>\d+),(?P<minor>\d+)\s+\d+\s+\d+\s+(?P<second>\d+)\.(?P<nanosecond>\d{9})\s+"
    rb"(?P<pid>\d+)\s+(?P<action>[QD])\s+(?P<operation>[A-Z]+)\s+"
    rb"(?P<sector>\d+) \+ (?P<sectors>\d+) (?:\([^)]*\) )?\[(?P<command>.*)\]\s*\Z",
    re.DOTALL,
)
_LOOP_MAJOR = 7


def _reads(stream: BinaryIO) -> Iterator[tuple[bytes, DeviceRead]]:
    """Yield action and read, in their order."""
    for line in stream:
        found = _LINE.match(line)
        if found is None or found["operation"].removeprefix(b"F")[:1] != b"R":
            continue
        if found["sectors"] == b"0":
            continue
        major, minor = int(found["major"]), int(found["minor"])
        name = b"loop%d" % minor if major == _LOOP_MAJOR else b"%d:%d" % (major, minor)
        yield (
            found["action"],
            DeviceRead(
                int(found["second"]) * 1_000_000_000 + int(found["nanosecond"]),
                name,
                int(found["sector"]) * SECTOR_BYTES,
                int(found["sectors"]) * SECTOR_BYTES,
                int(found["pid"]),
                found["command"],
            ),
        )


def locate_files(recording: Recording) -> Located:
    """Find the files that the text tells of, whatever their confidence.

    Raises:
        InputError: There is no text or no image, or they have nothing to do with each other.
        FormatError: The text has no such lines, or the image is corrupt.
    """
    path = only_file(recording)
    image = needed_image(recording.image, str(path))
    with path.open("rb") as stream:
        seen = list(_reads(stream))
    if not seen:
        raise FormatError(
            f"{path}: no line like '8,0 3 1 0.000000000 697 Q R 223490 + 8 [bash]'",
            hint="the text of blkparse in its default format is expected: blkparse -i TRACE",
        )
    queued = {one.device for action, one in seen if action == b"Q"}
    reads = [one for action, one in seen if action == b"Q" or one.device not in queued]
    header = header_of("blkparse", path, {})
    return locate_device_reads(image, reads, header, str(path), from_partition=False)


def read(recording: Recording) -> Bootlog:
    """Return the accesses to the files that were probably read; errors as in `locate_files`."""
    return locate_files(recording).bootlog()


BACKEND = Backend(
    name="blkparse",
    summary="text of blkparse, told into files; needs the image",
    starts="when blktrace was started",
    agent="",
    read=read,
)
