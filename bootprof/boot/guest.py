"""A running guest: its console, and the port that the agent in it answers on."""

from __future__ import annotations

import selectors
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from bootprof.boot.target import Target
from bootprof.errors import BootprofError, UnsupportedError
from bootprof.process import last_line, wait_for

# Long enough for the reply to a harvest of tens of megabytes under emulation.
HARVEST_PATIENCE_SECONDS = 120.0
# The agent answers once the driver of its port is loaded, which udev does early in the boot.
AGENT_PATIENCE_SECONDS = 60.0


class Watch:
    """A running guest, followed by its console and its harvest port."""

    def __init__(
        self,
        guest: subprocess.Popen[bytes],
        target: Target,
        console_log: Path,
        timeout_seconds: float,
        progress: Callable[[str], None],
    ) -> None:
        assert guest.stdout is not None
        self.guest = guest
        self.target = target
        self.timeout_seconds = timeout_seconds
        self.progress = progress
        self.started = time.monotonic_ns()
        self.console = bytearray()
        self.received = bytearray()
        self.agent = ""
        self.port: socket.socket | None = None
        self.log = console_log.open("wb")
        self.selector = selectors.DefaultSelector()
        self.selector.register(guest.stdout, selectors.EVENT_READ, self.read_console)

    def close(self) -> None:
        """Release the console and the port."""
        self.selector.close()
        self.log.close()
        if self.port is not None:
            self.port.close()
        if self.guest.stdout is not None:
            self.guest.stdout.close()

    def connect(self, path: Path) -> None:
        """Connect to the harvest port; QEMU makes its socket when it starts."""
        wait_for(lambda: path.exists() or self.guest.poll() is not None, 10)
        self.port = socket.socket(socket.AF_UNIX)
        try:
            self.port.connect(str(path))
        except OSError:
            # QEMU ended at once; until_target() reports it with QEMU's own words.
            return
        self.selector.register(self.port, selectors.EVENT_READ, self.read_port)

    def read_console(self) -> bool:
        """Take in what the guest printed; False at the end of the stream."""
        assert self.guest.stdout is not None
        data = self.guest.stdout.read1(65536)  # type: ignore[attr-defined]
        self.console += data
        self.log.write(data)
        self.log.flush()
        return bool(data)

    def read_port(self) -> bool:
        """Take in what the agent sent; False at the end of the stream."""
        assert self.port is not None
        data = self.port.recv(1 << 20)
        self.received += data
        if not self.agent and b"\n" in self.received:
            line, _, rest = self.received.partition(b"\n")
            self.agent = line.decode(errors="replace")
            self.received = bytearray(rest)
        return bool(data)

    def step(self) -> None:
        """Wait a moment for something to read, and read it."""
        for key, _ in self.selector.select(0.25):
            if not key.data():
                self.selector.unregister(key.fileobj)

    def elapsed_seconds(self) -> float:
        """Return the time since power-on."""
        return (time.monotonic_ns() - self.started) / 1e9

    def until_target(self) -> int:
        """Follow the boot; return the time from power-on to the boot target in nanoseconds."""
        searched = 0
        while True:
            self.step()
            now = time.monotonic_ns() - self.started
            if self.target.console is not None:
                # A little of what was searched before, in case the match was cut in two.
                if self.target.console.search(self.console, max(0, searched - 200)):
                    return now
                searched = len(self.console)
            if self.target.seconds is not None and now >= self.target.seconds * 1e9:
                return now
            where = f"the last line on its console is: {last_line(bytes(self.console[-4000:]))}"
            if self.guest.poll() is not None:
                raise BootprofError("the machine ended before the boot target", hint=where)
            if now > self.timeout_seconds * 1e9:
                raise BootprofError(
                    f"no boot target within {self.timeout_seconds:.0f} s",
                    hint=f"{where}; give another target with --until, or more time with --timeout",
                )
            self.progress(f"{now / 1e9:.0f} s, {last_line(bytes(self.console[-400:]))[:60]}")

    def harvest(self) -> dict[str, bytes]:
        """Ask the agent for the bootlog.

        Raises:
            UnsupportedError: No agent answers.
        """
        deadline = self.elapsed_seconds() + AGENT_PATIENCE_SECONDS
        deadline = min(deadline, max(self.timeout_seconds, self.elapsed_seconds() + 5))
        while not self.agent and self.elapsed_seconds() < deadline and self.guest.poll() is None:
            self.progress("waiting for the agent in the guest")
            self.step()
        if not self.agent or self.port is None:
            raise UnsupportedError(
                "no profiler answers in the guest",
                hint="build the image with --profiling, or take --backend block",
            )
        self.port.sendall(b"harvest\n")
        deadline = self.elapsed_seconds() + HARVEST_PATIENCE_SECONDS
        while (files := parse_harvest(self.received)) is None:
            if self.elapsed_seconds() > deadline or self.guest.poll() is not None:
                raise BootprofError(f"the harvest was cut off after {len(self.received)} bytes")
            self.progress(f"harvest, {len(self.received)} bytes")
            self.step()
        return files


def parse_harvest(data: bytearray) -> dict[str, bytes] | None:
    """Take apart the agent's answer (see ``bootprof/guest/agent/agent.c``).

    Returns:
        Content by name, or None while the answer is not complete.

    Raises:
        BootprofError: It is not the answer of an agent.
    """
    files: dict[str, bytes] = {}
    position = 0
    while (end := data.find(b"\n", position)) >= 0:
        words = bytes(data[position:end]).split(b" ")
        if words == [b"end"]:
            return files
        if len(words) != 3 or words[0] != b"file" or not words[2].isdigit():
            raise BootprofError(f"the agent in the guest says {words!r}, which is no harvest")
        position = end + 1 + int(words[2])
        files[words[1].decode()] = bytes(data[end + 1 : position])
    return None
