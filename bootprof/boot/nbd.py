"""The drive emulator: an image, served as slowly as a drive would.

The emulator (``bootprof/boot/drive.c``, a plugin for nbdkit) computes by the formulas of
:mod:`optimizer.drives.models`, with the numbers of the very same
:class:`~optimizer.drives.models.Drive`.
"""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bootprof.errors import InputError, ToolError
from bootprof.files import scratch_folder
from bootprof.process import last_line, program, run, stop, wait_for
from bootprof.sources import DRIVE_PLUGIN

if TYPE_CHECKING:
    from optimizer.drives.models import Drive

# What a drive is called, and not how fast it is.
WORDS = ("name", "title", "source")


@dataclass(frozen=True)
class Emulation:
    """How an image is served.

    Attributes:
        drive: The drive.
        scale: Factor to all of its times. Where the processor is emulated and so many times slower
            than a real one, the same factor keeps the proportion of computing to reading.
    """

    drive: Drive
    scale: float = 1.0


@dataclass(frozen=True)
class Statistics:
    """What the emulator did.

    Attributes:
        requests: Number of reads.
        modelled_ns: How long they should have taken by the model, in nanoseconds.
        waited_ns: How long they took.
    """

    requests: int
    modelled_ns: int
    waited_ns: int


def plugin_arguments(
    emulation: Emulation, image: Path, folder: Path, statistics: Path
) -> list[str]:
    """Compile the plugin, and return nbdkit's words for it.

    Args:
        emulation: How to serve.
        image: What to serve.
        folder: Where the compiled plugin goes.
        statistics: File that is written when the server ends.

    Raises:
        InputError: The image does not fit on the drive.
        ToolError: It does not compile.
    """
    drive = emulation.drive
    if image.stat().st_size > drive.capacity_bytes:
        raise InputError(
            f"{image}: {image.stat().st_size} bytes do not fit on {drive.title} "
            f"({drive.capacity_bytes} bytes)",
            hint="take a larger drive",
        )
    plugin = folder / "drive.so"
    run(["gcc", "-shared", "-fPIC", "-O2", "-Wall", "-Werror", "-o", plugin, DRIVE_PLUGIN, "-lm"])
    numbers = {key: value for key, value in asdict(drive).items() if key not in WORDS}
    return [
        str(plugin),
        f"file={image.resolve()}",
        f"statistics={statistics}",
        f"scale={emulation.scale!r}",
        *(f"{key}={value!r}" for key, value in numbers.items()),
    ]


def read_statistics(path: Path) -> Statistics:
    """Read what the emulator wrote at its end."""
    requests, modelled_ns, waited_ns = (int(word) for word in path.read_text().split())
    return Statistics(requests, modelled_ns, waited_ns)


@contextlib.contextmanager
def served(
    image: Path,
    log_file: Path,
    emulation: Emulation | None = None,
    statistics: Path | None = None,
) -> Iterator[Path]:
    """Serve an image with nbdkit, read-only, and log every request.

    Args:
        image: Image to serve.
        log_file: Where the log goes (format of nbdkit-log-filter).
        emulation: The drive to serve it like; None to serve it as fast as can be.
        statistics: Where the emulator writes what it did, when the server has ended.

    Yields:
        The Unix socket that it is served on.
    """
    with scratch_folder() as folder:
        unix_socket = folder / "nbd"
        source = ["file", str(image.resolve())]
        if emulation is not None:
            results = statistics or folder / "statistics"
            source = plugin_arguments(emulation, image, folder, results)
        server = subprocess.Popen(
            [
                program("nbdkit"),
                "--foreground",
                "--exit-with-parent",
                "--readonly",
                f"--unix={unix_socket}",
                "--filter=log",
                *source,
                f"logfile={log_file}",
            ],
            stdin=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        try:
            wait_for(unix_socket.exists, 10)
            if not unix_socket.exists():
                stop(server)
                assert server.stderr is not None
                raise ToolError(f"nbdkit does not serve {image}: {last_line(server.stderr.read())}")
            yield unix_socket
        finally:
            stop(server)
