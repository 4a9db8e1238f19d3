# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
r"""Data from the guest's agent: the protocol, and the guard against a hostile guest.

The other side is ``bootprof/guest/agent``:

    guest: ``ready KEY=VALUE ...\n``, once, when its port is there
    host:  ``harvest\n``
    guest: for each file ``file NAME LENGTH\n`` and LENGTH bytes, then ``end\n``

None of this is trusted. A file is accepted once, and only under a name that the backends in use
declare (:attr:`bootprof.backends.Backend.recorded`); the total size is limited. The files are
written to a folder of their own. Any other data ends the harvest.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable
from pathlib import Path
from typing import BinaryIO, Final

from bootprof import backends
from bootprof.errors import BootprofError
from optimizer.formats.text import printable

REQUEST: Final = b"harvest\n"
AGENT_FILES: Final = ("agent.log", "processor")
"""Files that the agent sends with any backend: a log of all backends, and processor times."""
READY_LIMIT_BYTES: Final = 4096
"""Of the line that says that the agent is ready, its newline included."""
LINE_LIMIT_BYTES: Final = 128
"""Of the line before a file, its newline included."""
TOTAL_LIMIT_BYTES: Final = 256 << 20
"""Of all files together: some 2.5 million events, where a boot to the desktop has 100,000."""

# Nine digits exceed the limit, and int() parses them quickly.
_FILE = re.compile(rb"file ([a-z0-9_.]+) (\d{1,9})")


def allowed_files(names: Iterable[str]) -> frozenset[str]:
    """Return the names of the files that a guest may send.

    Args:
        names: Backends that may run in it.
    """
    recorded = (name for backend in names for name in backends.load(backend).recorded)
    return frozenset((*recorded, *AGENT_FILES))


class Harvest:
    """The agent's half of the conversation, taken apart as it arrives.

    It keeps no more than a line in memory, and takes time in proportion to what arrives.

    Attributes:
        agent: The line by which the agent says that it is ready; empty until it came.
        files: Names of the files that arrived whole.
        finished: Whether the agent has sent all.
        received_bytes: How much of the files arrived.
    """

    def __init__(
        self,
        allowed: Collection[str],
        create: Callable[[str], BinaryIO],
        *,
        limit_bytes: int = TOTAL_LIMIT_BYTES,
    ) -> None:
        """Expect an agent.

        Args:
            allowed: Names that it may send.
            create: Opens the file of an allowed name to write to.
            limit_bytes: Most that is accepted of all files together.
        """
        self.allowed = allowed
        self.create = create
        self.limit_bytes = limit_bytes
        self.agent = ""
        self.files: list[str] = []
        self.finished = False
        self.received_bytes = 0
        self._line = bytearray()
        self._announced = 0
        self._missing = 0
        self._name = ""
        self._stream: BinaryIO | None = None

    def feed(self, data: bytes) -> None:
        """Process the next data. Data after the end is ignored.

        Raises:
            BootprofError: It does not follow the protocol, or it is too much.
        """
        position = 0
        while position < len(data) and not self.finished:
            if self._stream is not None:
                part = data[position : position + self._missing]
                self._stream.write(part)
                position += len(part)
                self.received_bytes += len(part)
                self._missing -= len(part)
                self._close_if_whole()
                continue
            limit = LINE_LIMIT_BYTES if self.agent else READY_LIMIT_BYTES
            end = data.find(b"\n", position)
            stop = end + 1 if end >= 0 else len(data)
            # The same amount is examined, independent of the size of the pieces.
            self._line += data[position : min(stop, position + limit - len(self._line))]
            position = stop
            if self._line.endswith(b"\n"):
                line = bytes(self._line[:-1])
                self._line.clear()
                self._take_line(line)
            elif len(self._line) >= limit:
                raise _violation(bytes(self._line))

    def close(self) -> None:
        """Close the file that has not arrived whole, if there is one."""
        if self._stream is not None:
            self._stream.close()
            self._stream = None

    def _take_line(self, line: bytes) -> None:
        if not self.agent:
            if line.split(b" ")[0] != b"ready":
                raise _violation(line)
            self.agent = printable(line)
            return
        if line == b"end":
            self.finished = True
            return
        found = _FILE.fullmatch(line)
        if found is None:
            raise _violation(line)
        name, length = found[1].decode("ascii"), int(found[2])
        if name not in self.allowed:
            raise BootprofError(
                f"the guest sent a file that no backend in use records: {name}",
                hint="the image has a profiler of another version of bootprof, or is hostile",
            )
        if name in self.files:
            raise BootprofError(f"the guest sent {name} twice", hint=_UNTRUSTED)
        self._announced += length
        if self._announced > self.limit_bytes:
            raise BootprofError(
                f"the guest's recordings exceed the limit of {self.limit_bytes >> 20} MiB",
                hint="choose an earlier boot target with --until, or another backend",
            )
        self._name, self._missing = name, length
        self._stream = self.create(name)
        self._close_if_whole()

    def _close_if_whole(self) -> None:
        if self._missing == 0:
            self.close()
            self.files.append(self._name)


_UNTRUSTED = "its profiler is damaged, or the image is hostile"


def _violation(line: bytes) -> BootprofError:
    shown = printable(line[:60])
    return BootprofError(
        f'the guest does not follow the agent\'s protocol: it sent "{shown}"', hint=_UNTRUSTED
    )


def create_in(folder: Path) -> Callable[[str], BinaryIO]:
    """Return what opens a new file in a folder by its name."""
    return lambda name: (folder / name).open("xb")
