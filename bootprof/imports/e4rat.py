"""Lists of e4rat-collect, and any other list of one path a line.

``e4rat-collect`` writes device, inode and path of each file in the order of first access; the
device is a number as stat(2) gives it, major and minor packed in 32 bits. Lists that people made
by hand have the path alone; e4rat reads both.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, BinaryIO

from bootprof.backends import Backend
from bootprof.errors import FormatError
from bootprof.imports.processes import header_of, only_file

if TYPE_CHECKING:
    from bootprof.backends import Recording
    from optimizer.formats.events import Bootlog, Event

_DETAILED = re.compile(rb"(\d{1,10}) (\d{1,19}) (/[^\0]*)\Z", re.DOTALL)


def _events(stream: BinaryIO, name: str) -> Iterator[Event]:
    from optimizer.formats.events import Event, Operation

    for number, line in enumerate(stream, 1):
        text = line.rstrip(b"\n")
        if not text:
            continue
        found = _DETAILED.match(text)
        device, inode, path = 0, 0, text
        if found is not None:
            device, inode, path = int(found[1]), int(found[2]), found[3]
        if not path.startswith(b"/") or b"\0" in path:
            shown = ascii(text[:60].decode(errors="surrogateescape"))
            raise FormatError(
                f"{name}:{number}: neither 'DEVICE INODE /PATH' nor '/PATH': {shown}",
                hint="a list of e4rat-collect is expected, or one absolute path a line",
            )
        yield Event(
            time_ns=0,
            pid=0,
            command=b"",
            operation=Operation.OPEN,
            offset_bytes=0,
            length_bytes=0,
            device_major=device >> 8 & 0xFFF,
            device_minor=(device & 0xFF) | (device >> 12 & 0xFFF00),
            inode=inode,
            file_system=b"",
            path=path,
        )


def read(recording: Recording) -> Bootlog:
    """Read a list.

    Raises:
        InputError: There is no such file.
        FormatError: A line of it is no path.
    """
    from optimizer.formats.events import Bootlog

    path = only_file(recording)
    with path.open("rb") as stream:
        bootlog = Bootlog.of(header_of("e4rat", path, {}), _events(stream, str(path)))
    if not len(bootlog.events):
        raise FormatError(f"{path}: holds no paths", hint="a list of e4rat-collect is expected")
    return bootlog


BACKEND = Backend(
    name="e4rat",
    summary="list of e4rat-collect, or any list of one path a line",
    starts="when the list was begun; e4rat-collect as init: before systemd",
    agent="",
    read=read,
)
