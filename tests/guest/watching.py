# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""What the tests of bootprof-watch share: the program, and a watcher that runs for a while."""

import contextlib
import os
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.guest.programs import WATCH, build


@dataclass
class Watcher:
    """A watcher that is ready; what it left behind once it has ended."""

    process: subprocess.Popen[bytes]
    output: Path
    status: int | None = None
    errors: str = ""

    @property
    def partial(self) -> Path:
        return self.output.with_name(self.output.name + ".partial")

    def end(self, number: int = signal.SIGTERM) -> None:
        self.process.send_signal(number)
        _, errors = self.process.communicate(timeout=30)
        self.status, self.errors = self.process.returncode, errors.decode()


def build_watcher(folder: Path, *settings: str) -> Path:
    return build(WATCH, folder, settings=settings)


@contextlib.contextmanager
def watching(program: Path, output: Path, *options: str | Path) -> Iterator[Watcher]:
    """Start a watcher, wait until it is ready, end it in the end if the test has not."""
    ready, told = os.pipe()
    process = subprocess.Popen(
        [program, "--output", output, "--ready-fd", str(told), *options],
        pass_fds=[told],
        stderr=subprocess.PIPE,
    )
    os.close(told)
    watcher = Watcher(process, output)
    try:
        with os.fdopen(ready, "rb") as stream:
            assert stream.read() == b"ready\n"
        yield watcher
        if watcher.status is None:
            watcher.end()
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
