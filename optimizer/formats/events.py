# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""The event type: one access of a boot to one file, and a whole bootlog of them.

A bootlog of a real boot has some 100,000 events, so they are held in a numpy structured array,
and the few distinct paths, commands and file systems in tables beside it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import IntEnum

import numpy as np
import numpy.typing as npt


class Operation(IntEnum):
    """The operation of an event on its file."""

    OPEN = 0
    """Opened, successfully."""
    EXEC = 1
    """Executed: the program itself, its interpreter, the dynamic loader."""
    MAP = 2
    """Mapped into memory."""
    READ = 3
    """Read by a system call."""
    FAULT = 4
    """A mapped page was touched."""
    CACHE = 5
    """A page entered the page cache: read from the medium, including kernel readahead."""
    BLOCK = 6
    """A block of the medium was read that holds a part of the file."""


ASKED_FOR = (Operation.READ, Operation.FAULT)
"""Operations that record which part of a file a process requested."""

SERVED = (Operation.CACHE, Operation.BLOCK)
"""Operations that record which part of a file was read from the medium, with kernel readahead. They
stand for the requested part if that is not recorded."""


EVENT_DTYPE = np.dtype(
    [
        ("time_ns", "<i8"),
        ("pid", "<i4"),
        ("command", "<u4"),
        ("operation", "u1"),
        ("offset_bytes", "<i8"),
        ("length_bytes", "<i8"),
        ("device_major", "<u4"),
        ("device_minor", "<u4"),
        ("inode", "<u8"),
        ("file_system", "<u4"),
        ("path", "<u4"),
    ]
)
"""One event. ``time_ns`` counts from boot; ``operation`` is an :class:`Operation`; ``length_bytes``
0 means not known, or the whole file; ``command``, ``file_system`` and ``path`` are positions in the
tables of the :class:`Bootlog`."""


@dataclass(frozen=True, slots=True)
class Event:
    """One access.

    Attributes:
        time_ns: Nanoseconds since boot.
        pid: Process, 0 where there was none.
        command: Name of the process as the kernel has it (15 bytes at most).
        operation: The operation.
        offset_bytes: Where in the file.
        length_bytes: How much of it; 0: not known, or the whole file.
        device_major: Device of the file system, major number.
        device_minor: Device of the file system, minor number.
        inode: Number of the inode on that device.
        file_system: Type of the file system as the kernel names it (``overlay``, ``squashfs``).
        path: Absolute path; empty if only device and inode are known.
    """

    time_ns: int
    pid: int
    command: bytes
    operation: Operation
    offset_bytes: int
    length_bytes: int
    device_major: int
    device_minor: int
    inode: int
    file_system: bytes
    path: bytes


@dataclass(frozen=True)
class Bootlog:
    """Events in the order of access.

    Attributes:
        header: Header lines of the recorder, in their order (``backend``, ``kernel``, ...),
            without ``lost``.
        lost: Number of events that the recorder could not keep.
        truncated: Number of events that were cut short at the end of the file and left out.
        wrong: Number of other events that were left out, because a field of theirs is wrong.
        events: Shape (events,), of :data:`EVENT_DTYPE`.
        commands: Distinct names of processes, in order of first appearance.
        file_systems: Distinct types of file systems, likewise.
        paths: Distinct paths, likewise: first-access order.
    """

    header: Mapping[str, str]
    lost: int
    events: npt.NDArray[np.void]
    commands: list[bytes]
    file_systems: list[bytes]
    paths: list[bytes]
    truncated: int = field(default=0)
    wrong: int = field(default=0)

    @classmethod
    def of(cls, header: Mapping[str, str], events: Iterable[Event], lost: int = 0) -> Bootlog:
        """Gather single events.

        Args:
            header: Keys and values for the header, without ``lost``.
            events: In the order of access.
            lost: Number of events that the recorder could not keep.
        """
        commands: dict[bytes, int] = {}
        file_systems: dict[bytes, int] = {}
        paths: dict[bytes, int] = {}
        rows = [
            (
                event.time_ns,
                event.pid,
                commands.setdefault(event.command, len(commands)),
                event.operation,
                event.offset_bytes,
                event.length_bytes,
                event.device_major,
                event.device_minor,
                event.inode,
                file_systems.setdefault(event.file_system, len(file_systems)),
                paths.setdefault(event.path, len(paths)),
            )
            for event in events
        ]
        return cls(
            header=dict(header),
            lost=lost,
            events=np.array(rows, dtype=EVENT_DTYPE),
            commands=list(commands),
            file_systems=list(file_systems),
            paths=list(paths),
        )

    def event(self, index: int) -> Event:
        """Return one event."""
        row = self.events[index]
        return Event(
            time_ns=int(row["time_ns"]),
            pid=int(row["pid"]),
            command=self.commands[row["command"]],
            operation=Operation(int(row["operation"])),
            offset_bytes=int(row["offset_bytes"]),
            length_bytes=int(row["length_bytes"]),
            device_major=int(row["device_major"]),
            device_minor=int(row["device_minor"]),
            inode=int(row["inode"]),
            file_system=self.file_systems[row["file_system"]],
            path=self.paths[row["path"]],
        )
