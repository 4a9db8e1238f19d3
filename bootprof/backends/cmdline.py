# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""The kernel's own trace events, switched on by its command line alone: nothing is added.

Each page that enters the page cache is an event with device and inode number
(``filemap:mm_filemap_add_to_page_cache``, include/trace/events/filemap.h). The events fill a ring
in the kernel's memory, and SysRq-z prints it on the serial port at the boot target. The layout of
the image turns inode numbers into paths.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from bootprof.backends import NOTHING, Backend
from bootprof.errors import FormatError, InputError

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np

    from bootprof.backends import Recording
    from optimizer.formats.events import Bootlog, Event
    from optimizer.images.layout import Layout

FILE: Final = "ring.log"
PAGE_BYTES: Final = 4096
OPTIONS: Final = (
    "trace_event=filemap:mm_filemap_add_to_page_cache trace_buf_size=24M trace_clock=boot "
    "sysrq_always_enabled=1 log_buf_len=32M"
)

# "systemd-1  [001] ..... 2123456us : mm_filemap_add_to_page_cache: dev 7:0 ino 3f2 pfn=0x1 ofs=0
# order=0"; the serial port has the time of printk in front of it, and \r at the end.
_EVENT = re.compile(
    rb"\A(?:\[[ \d]{1,8}\.\d{1,9}\](?:\[ *[TC]\d{1,10}\])?)?\s*(?P<command>\S.{0,15}?)"
    rb"-(?P<pid>\d{1,10})\s+(?:\[\d{1,5}\]\s+)?\S{1,12}\s+"
    rb"(?P<time>\d{1,14})us : mm_filemap_add_to_page_cache: dev (?P<major>\d{1,6}):"
    rb"(?P<minor>\d{1,8}) ino (?P<inode>[0-9a-f]{1,16}) .{0,80}?ofs=(?P<offset>\d{1,18})"
    rb"(?: order=(?P<order>\d{1,2}))?"
)
_LOST = re.compile(rb"\[LOST (\d{1,18}) EVENTS\]")
_DROPPED = re.compile(rb"\*\* (\d{1,12}) printk messages dropped \*\*")
# Of the inodes that a device's events name, how many a file system has to have.
_LEAST_FIT: Final = 0.9

_Row = tuple[int, int, bytes, int, int, int]
_Device = tuple[int, int]


def read(recording: Recording) -> Bootlog:
    """Turn the printed ring into a bootlog.

    Raises:
        InputError: There is no ring, or no image to map its inode numbers by.
        FormatError: The ring has no such event, or none of the image.
    """
    from optimizer.formats.events import Bootlog
    from optimizer.images.image import open_image

    path = recording.files.get(FILE)
    if path is None or recording.image is None:
        raise InputError(f"{FILE}: not recorded", hint="record the boot with --backend cmdline")
    by_device, lost = parse(path.read_bytes())
    layouts = open_image(recording.image).layouts()
    events = find_files(by_device, layouts)
    if not events:
        raise FormatError(
            f"{path}: no page of a file of {recording.image} in the kernel's trace ring",
            hint="the kernel needs CONFIG_EVENT_TRACING and a root that lies in the image as a "
            "file system whose layout can be read",
        )
    return Bootlog.of({"backend": "cmdline"}, events, lost)


def parse(text: bytes) -> tuple[Mapping[_Device, list[_Row]], int]:
    """Read a printed ring.

    Returns:
        The events of each device (time in ns, process, its name, inode, offset and length in
        bytes), and the number of events that are missing.
    """
    found: dict[_Device, list[_Row]] = {}
    lost = sum(int(match[1]) for match in _LOST.finditer(text))
    lost += sum(int(match[1]) for match in _DROPPED.finditer(text))
    for line in text.split(b"\n"):
        if b"mm_filemap_add_to_page_cache" not in line:
            continue
        match = _EVENT.search(line)
        if match is None:
            # Cut by other output of the kernel.
            lost += 1
            continue
        length = PAGE_BYTES << min(int(match["order"] or 0), 9)
        found.setdefault((int(match["major"]), int(match["minor"])), []).append(
            (
                int(match["time"]) * 1000,
                int(match["pid"]),
                match["command"].strip(),
                int(match["inode"], 16),
                int(match["offset"]),
                length,
            )
        )
    return found, lost


def find_files(by_device: Mapping[_Device, list[_Row]], layouts: tuple[Layout, ...]) -> list[Event]:
    """Return the events of files of an image, in the order of time.

    A device belongs to the file system that has the most of its inodes, and a file system is on the
    device that names the most of them. An overlay shows the inode numbers and the device of the
    file system below.
    """
    from optimizer.formats.events import Event, Operation

    events: list[Event] = []
    for (major, minor), layout in devices_of(by_device, layouts).items():
        files = numbers_of(layout)
        sizes = layout.inodes["size_bytes"]
        for time_ns, pid, command, inode, offset, length in by_device[major, minor]:
            place = files.get(inode)
            # Symbolic links have pages, too. Larger folios begin within a file and end behind it.
            if place is None or offset >= int(sizes[place]):
                continue
            events.append(
                Event(
                    time_ns=time_ns,
                    pid=pid,
                    command=command,
                    operation=Operation.CACHE,
                    offset_bytes=offset,
                    length_bytes=length,
                    device_major=major,
                    device_minor=minor,
                    inode=inode,
                    file_system=layout.format.encode(),
                    path=layout.paths_of(place)[0],
                )
            )
    events.sort(key=lambda event: event.time_ns)
    return events


def devices_of(
    by_device: Mapping[_Device, list[_Row]], layouts: tuple[Layout, ...]
) -> dict[_Device, Layout]:
    """Return which file system of an image is on which device, by the inode numbers."""
    fits = []
    for index, layout in enumerate(layouts):
        known = set(layout.inodes["number"].tolist())
        for device, rows in by_device.items():
            inodes = {row[3] for row in rows}
            hits = len(inodes & known)
            if hits and hits >= _LEAST_FIT * len(inodes):
                fits.append((hits, index, device))
    found: dict[_Device, Layout] = {}
    taken: set[int] = set()
    for _, index, device in sorted(fits, reverse=True):
        if index not in taken and device not in found:
            taken.add(index)
            found[device] = layouts[index]
    return found


def numbers_of(layout: Layout) -> dict[int, int]:
    """Return the index in ``layout.inodes`` of each regular file, by its inode number."""
    from optimizer.images.layout import FileType

    regular: np.ndarray[tuple[int], np.dtype[np.bool_]] = layout.inodes["type"] == FileType.FILE
    places = regular.nonzero()[0].tolist()
    return {int(layout.inodes["number"][place]): place for place in places}


BACKEND = Backend(
    name="cmdline",
    summary="what enters the page cache, by the kernel's trace events, mapped to files",
    starts="the kernel's own start, before the first process",
    needs="a boot menu that is found in the image, and nothing in the guest: not even a module",
    blind_to="reads by the boot loader; empty files; reads of pages that are cached already",
    agent=NOTHING,
    recorded=(FILE,),
    kernel_options=OPTIONS,
    read=read,
)
