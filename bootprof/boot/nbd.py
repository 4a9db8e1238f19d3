# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""The image, served to the machine by nbdkit: as fast as possible, or at the speed of a drive.

nbdkit's log filter writes down every read, which makes the block trace. The drive is
``bootprof/boot/drive.c``, a plugin for nbdkit; it computes by the formulas of
:mod:`optimizer.drives.models`, with the numbers of the same
:class:`~optimizer.drives.models.Drive`.
"""

from __future__ import annotations

import contextlib
import os
import re
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING

from bootprof.boot import child
from bootprof.errors import BootprofError, InputError, ToolError
from bootprof.files import scratch_folder
from bootprof.process import last_line, run, stop, wait_for
from bootprof.sources import DRIVE_PLUGIN

if TYPE_CHECKING:
    from optimizer.drives.models import Drive

# Fields of a drive that name it. The others are numbers, which the plugin takes.
NAMES = ("name", "title", "source")
START_SECONDS = 10.0
LOG_LIMIT_BYTES = 128 << 20
"""Of nbdkit's log: some 900,000 reads, where a boot makes a few thousand."""
ERROR_LIMIT_BYTES = 16 << 20
"""Of what nbdkit prints, which is a line for each failed read."""

_FAILED_READ = re.compile(rb"\.\.\.Read id=\d+ return=-1(?: error=(\w+))?")


@dataclass(frozen=True)
class Emulation:
    """A drive that an image is served like.

    Attributes:
        drive: The drive.
        scale: Factor to all of its times. Where the processor is emulated and so many times slower
            than a real one, the same factor keeps the proportion of computing to reading.
    """

    drive: Drive
    scale: float = 1.0


@dataclass(frozen=True)
class Statistics:
    """Statistics of the emulated drive.

    Attributes:
        requests: Number of reads.
        modelled_ns: Time that they should have taken by the model, in nanoseconds.
        waited_ns: Time that they took, in nanoseconds.
    """

    requests: int
    modelled_ns: int
    waited_ns: int


@dataclass(frozen=True)
class Server:
    """A running nbdkit.

    Attributes:
        socket_path: Unix socket that it serves on, in a folder that only this user can enter.
        process: Its process.
        image: The image that it serves.
        log: Its log of requests, open.
        errors: Its error output, open.
    """

    socket_path: Path
    process: subprocess.Popen[bytes]
    image: Path
    log: IO[bytes]
    errors: IO[bytes]

    def connect(self) -> socket.socket:
        """Return a new connection to it, for a program that cannot enter the socket's folder."""
        connection = socket.socket(socket.AF_UNIX)
        with short_name(self.socket_path) as name:
            connection.connect(name)
        return connection

    def check(self) -> None:
        """Check that it still serves, and has not written more than a boot can need.

        Raises:
            ToolError: It has ended.
            BootprofError: One of its logs exceeds its limit.
        """
        if self.process.poll() is not None:
            raise ToolError(f"nbdkit ended while it served {self.image}", hint=self.last_words())
        for stream, limit in ((self.log, LOG_LIMIT_BYTES), (self.errors, ERROR_LIMIT_BYTES)):
            if os.fstat(stream.fileno()).st_size > limit:
                raise BootprofError(
                    f"the log of the reads of {self.image} exceeds the limit of {limit >> 20} MiB",
                    hint="the guest reads its medium in a loop: see console.log",
                )

    def last_words(self) -> str:
        """Return the last line that it printed."""
        # By offset: its own descriptor and this one share a position.
        size_bytes = os.fstat(self.errors.fileno()).st_size
        return last_line(os.pread(self.errors.fileno(), 2000, max(0, size_bytes - 2000)))


def plugin_arguments(
    emulation: Emulation, image: Path, folder: Path, statistics: Path | str
) -> list[str]:
    """Compile the drive, and return the nbdkit arguments that load it.

    Args:
        emulation: The drive.
        image: What to serve.
        folder: Where the compiled plugin goes.
        statistics: File that is written when the server ends.

    Raises:
        InputError: The image does not fit on the drive.
        ToolError: The plugin does not compile.
    """
    drive = emulation.drive
    if image.stat().st_size > drive.capacity_bytes:
        raise InputError(
            f"{image}: {image.stat().st_size} bytes do not fit on {drive.title} "
            f"({drive.capacity_bytes} bytes)",
            hint="choose a larger drive",
        )
    plugin = folder / "drive.so"
    run(["gcc", "-shared", "-fPIC", "-O2", "-Wall", "-Werror", "-o", plugin, DRIVE_PLUGIN, "-lm"])
    plugin.chmod(0o755)
    numbers = {key: value for key, value in asdict(drive).items() if key not in NAMES}
    return [
        str(plugin),
        f"file={image.resolve()}",
        f"statistics={statistics}",
        f"scale={emulation.scale!r}",
        *(f"{key}={value!r}" for key, value in numbers.items()),
    ]


def read_statistics(path: Path) -> Statistics:
    """Read the statistics that the emulated drive wrote when its server ended.

    Raises:
        ToolError: It did not write it.
    """
    numbers = path.read_bytes().split()
    if len(numbers) != 3:
        raise ToolError(f"{path}: the emulated drive has not written its statistics")
    requests, modelled_ns, waited_ns = map(int, numbers)
    return Statistics(requests, modelled_ns, waited_ns)


def failed_reads(log_file: Path) -> tuple[int, str]:
    """Return how many reads the server could not answer, and the error of the first one."""
    count, first = 0, ""
    with log_file.open("rb") as stream:
        for line in stream:
            # The search is for the lines that can match alone.
            if b"return=-1" in line and (found := _FAILED_READ.search(line)):
                count += 1
                first = first or (found[1] or b"unknown").decode()
    return count, first


@contextlib.contextmanager
def served(
    image: Path,
    log_file: Path,
    emulation: Emulation | None = None,
    statistics: Path | None = None,
) -> Iterator[Server]:
    """Serve an image with nbdkit, read-only, and log every request.

    Args:
        image: Image to serve.
        log_file: Where the log goes (format of nbdkit-log-filter); an existing file is replaced.
        emulation: The drive to serve it like; None to serve it as fast as possible.
        statistics: Where the emulated drive writes its statistics when the server ends.

    Yields:
        The server.

    Raises:
        InputError: The image does not fit on the drive.
        ToolError: nbdkit does not serve it.
    """
    with contextlib.ExitStack() as stack:
        scratch = stack.enter_context(scratch_folder())
        listener = stack.enter_context(socket.socket(socket.AF_UNIX))
        unix_socket = scratch / "nbd"
        with short_name(unix_socket) as name:
            listener.bind(name)
        listener.listen()
        errors = stack.enter_context(tempfile.TemporaryFile())
        ready = stack.enter_context(writable_by_children(scratch / "ready"))
        log = stack.enter_context(writable_by_children(log_file))
        files = [ready, log]
        source = ["file", str(image.resolve())]
        if emulation is not None:
            results = stack.enter_context(writable_by_children(statistics or scratch / "drive"))
            plugin, *arguments = plugin_arguments(emulation, image, scratch, inherited(results))
            code = stack.enter_context(Path(plugin).open("rb"))
            files += [results, code]
            source = [inherited(code), *arguments]
        process = child.start(
            [
                *("nbdkit", "--foreground", "--readonly", f"--pidfile={inherited(ready)}"),
                *("--filter=log", *source, f"logfile={inherited(log)}"),
            ],
            # For an image that only root can read, it may read every file, and write none.
            capabilities=() if child.readable(image) else (child.READ_ANY_FILE,),
            stderr=errors,
            descriptors=[file.fileno() for file in files],
            listener=listener,
        )
        stack.callback(stop, process)
        server = Server(unix_socket, process, image, log, errors)

        def is_ready() -> bool:
            return os.fstat(ready.fileno()).st_size > 0

        wait_for(lambda: is_ready() or process.poll() is not None, START_SECONDS)
        if process.poll() is not None or not is_ready():
            stop(process)
            raise ToolError(f"nbdkit does not serve {image}: {server.last_words()}")
        yield server


@contextlib.contextmanager
def short_name(path: Path) -> Iterator[str]:
    """Give a name of a socket for the kernel, which takes 107 bytes, wherever the folder is."""
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)


@contextlib.contextmanager
def writable_by_children(path: Path) -> Iterator[IO[bytes]]:
    """Make a file that the programs of a boot can write to while the block runs."""
    with path.open("wb") as stream:
        child.give(stream.fileno())
        try:
            yield stream
        finally:
            child.take_back(stream.fileno())


def inherited(stream: IO[bytes]) -> str:
    """Return the path by which a child opens a file that it inherits."""
    return f"/dev/fd/{stream.fileno()}"
