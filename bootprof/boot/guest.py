# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""A running guest: its console, and the port that the agent in it answers on.

Data from a guest is not trusted: it is limited in memory and on disk, and shown only as printable
text (:func:`bootprof.process.last_line`).
"""

from __future__ import annotations

import contextlib
import re
import selectors
import socket
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO, Final

from bootprof.boot.harvest import REQUEST, TOTAL_LIMIT_BYTES, Harvest
from bootprof.boot.qmp import Keyboard, KeyPress, Monitor
from bootprof.boot.target import Target
from bootprof.errors import BootprofError, ToolError, UnsupportedError
from bootprof.process import last_line

# Long enough for the reply to a harvest of tens of megabytes under emulation.
HARVEST_PATIENCE_SECONDS = 120.0
# The agent answers once the driver of its port is loaded, which udev does early in the boot.
AGENT_PATIENCE_SECONDS = 60.0
POLL_SECONDS = 0.25
SCREEN_SECONDS = 1.0
"""Between two looks at the screen."""
RING_PATIENCE_SECONDS = 30.0
# kernel/trace/trace.c, ftrace_dump(): a line of dashes at its end, as after its title.
RING_END = re.compile(
    rb"\n(?![^\n]*Dumping ftrace buffer)[^\n]*\n[^\n]*-{33}\r?\n|\(ftrace buffer empty\)"
)
CONSOLE_LIMIT_BYTES: Final = 16 << 20
"""Limit of ``console.log``. Further output is only searched for the boot target."""
TAIL_BYTES: Final = 8192
"""Part of the console that is kept in memory."""
OVERLAP_BYTES: Final = 200
"""How much of the text before is searched again for the target, which may arrive in pieces."""

# kernel/watchdog.c; it says so every 20 seconds or so, with a growing time, until the end.
SOFT_LOCKUP = re.compile(rb"soft lockup - CPU#\d+ stuck for (\d{1,6})s!")
HUNG_SECONDS: Final = 40.0
"""A processor that is stuck for so long (the second report, at least) does not come back."""
# kernel/time/clocksource.c. The next line follows at once, without a read of the medium between.
LAST_LINE_OF_A_HANG = b"clocksource: Switched to clocksource"
SILENT_SECONDS: Final = 60.0
# A boot that goes on leaves a processor without work, or runs a program, at one of these looks.
BUSY_LOOKS: Final = 40
BUSY_LOOK_SECONDS: Final = 0.5
# arch/x86/kernel/traps.c: int3 where none is expected; kernel/panic.c.
PATCHED_BREAKPOINT = b"Oops: int3"
PANIC = b"Kernel panic - not syncing"


class HungError(BootprofError):
    """The guest's kernel hangs, as it does on emulated processors now and then."""


def find_hang(tail: bytes, silent_seconds: float) -> str:
    """Return from a console whether the guest's kernel hangs permanently.

    Emulated processors do that in about one of a hundred boots: each of them waits for the other,
    or for a clock. The kernel then reports a soft lockup again and again, or falls silent where it
    changes its clock. Or a processor runs a breakpoint that the kernel has already patched away,
    and the kernel panics.

    Args:
        tail: The end of the guest's output.
        silent_seconds: Time since it printed something.

    Returns:
        What shows it; empty if it does not hang.
    """
    stuck = max((int(seconds) for seconds in SOFT_LOCKUP.findall(tail)), default=0)
    if stuck >= HUNG_SECONDS:
        return f"the kernel reports a soft lockup of {stuck} s"
    if PATCHED_BREAKPOINT in tail and PANIC in tail:
        return "the kernel panicked at a breakpoint of its own, which it had patched away"
    lines = tail.strip().rsplit(b"\n", 1)
    if silent_seconds >= SILENT_SECONDS and LAST_LINE_OF_A_HANG in lines[-1]:
        return f"the kernel has been silent for {silent_seconds:.0f} s since it changed its clock"
    return ""


class Watch:
    """A running guest, followed by its console and its harvest port."""

    def __init__(
        self,
        guest: subprocess.Popen[bytes],
        target: Target,
        console_log: Path,
        *,
        timeout_seconds: float,
        progress: Callable[[str], None],
        check: Callable[[], None],
        monitor: Monitor | None = None,
        keys: Sequence[KeyPress] = (),
        reads: Path | None = None,
    ) -> None:
        """Follow a guest that was just powered on.

        Args:
            guest: QEMU, whose standard output is the console.
            target: When the boot is done.
            console_log: Where the console is logged.
            timeout_seconds: When to give up.
            progress: Called with the state of the boot.
            check: Called about four times a second; raises an error that ends the boot.
            monitor: QEMU's monitor, for keys, the screen and the trace ring.
            keys: What is pressed.
            reads: A file that grows with every read of the medium.
        """
        assert guest.stdout is not None
        assert guest.stderr is not None
        self.guest = guest
        self.target = target
        self.timeout_seconds = timeout_seconds
        self.progress = progress
        self.check = check
        self.started = time.monotonic_ns()
        self.reached_ns: int | None = None
        self.printed_ns = 0
        self.console_bytes = 0
        self.tail = b""
        self.errors = b""
        self.harvested: Harvest | None = None
        self.port: socket.socket | None = None
        self.log = console_log.open("wb")
        self.next_check = 0.0
        self.monitor = monitor
        self.keyboard = Keyboard(monitor, keys) if monitor is not None else None
        self.reads = reads
        self.reads_bytes = 0
        self.read_ns = 0
        self.next_screen = 0.0
        self.next_busy_look = 0.0
        self.busy_looks = 0
        self.ring: IO[bytes] | None = None
        self.selector = selectors.DefaultSelector()
        self.selector.register(guest.stdout, selectors.EVENT_READ, self.read_console)
        self.selector.register(guest.stderr, selectors.EVENT_READ, self.read_errors)

    def close(self) -> None:
        """Release the console and the port."""
        self.selector.close()
        self.log.close()
        if self.harvested is not None:
            self.harvested.close()
        for stream in (self.guest.stdin, self.guest.stdout, self.guest.stderr):
            if stream is not None:
                with contextlib.suppress(BrokenPipeError):
                    stream.close()

    def listen(self, port: socket.socket, harvest: Harvest) -> None:
        """Follow the harvest port, too.

        Args:
            port: Our end of it.
            harvest: Takes what arrives.
        """
        self.port = port
        self.harvested = harvest
        self.selector.register(port, selectors.EVENT_READ, self.read_port)

    def read_console(self) -> bool:
        """Process output of the guest; return False at the end of the stream."""
        data = read_some(self.guest.stdout)
        now = time.monotonic_ns() - self.started
        room = CONSOLE_LIMIT_BYTES - self.console_bytes
        if room > 0:
            self.log.write(data[:room])
            self.log.flush()
        self.console_bytes += len(data)
        if self.ring is not None:
            self.ring.write(data)
        if data:
            self.printed_ns = now
        window = self.tail + data
        if (
            self.reached_ns is None
            and self.target.console is not None
            and self.target.console.search(window, max(0, len(self.tail) - OVERLAP_BYTES))
        ):
            self.reached_ns = now
        self.tail = window[-TAIL_BYTES:]
        return bool(data)

    def read_errors(self) -> bool:
        """Take in what QEMU complained of; False at the end of the stream."""
        data = read_some(self.guest.stderr)
        self.errors = (self.errors + data)[-TAIL_BYTES:]
        return bool(data)

    def read_port(self) -> bool:
        """Process data from the agent; return False at the end of the stream."""
        assert self.port is not None
        assert self.harvested is not None
        try:
            data = self.port.recv(1 << 18)
        except ConnectionResetError:
            return False
        self.harvested.feed(data)
        return bool(data)

    def step(self, state: Callable[[], str]) -> None:
        """Wait a moment for something to read, and read it.

        Args:
            state: Returns what to show as progress.
        """
        for key, _ in self.selector.select(POLL_SECONDS):
            if not key.data():
                self.selector.unregister(key.fileobj)
        # A guest that floods us makes many steps a second.
        if time.monotonic() >= self.next_check:
            self.check()
            self.progress(state())
            self.next_check = time.monotonic() + POLL_SECONDS

    def elapsed_seconds(self) -> float:
        """Return the time since power-on."""
        return (time.monotonic_ns() - self.started) / 1e9

    def last_line(self) -> str:
        """Return the last line on the console, fit to be shown."""
        return last_line(self.tail)

    def until_target(self) -> int:
        """Follow the boot; return the time from power-on to the boot target in nanoseconds.

        Raises:
            HungError: The guest's kernel hangs.
            BootprofError: The machine ended or the time was up before the boot target.
        """
        while True:
            self.step(lambda: f"{self.elapsed_seconds():.0f} s, {self.last_line()[:60]}")
            now = time.monotonic_ns() - self.started
            if self.reached_ns is None and self.guest.poll() is None:
                self.look(now)
                self.look_for_a_silent_hang(now)
            if self.reached_ns is not None:
                return self.reached_ns
            if self.target.seconds is not None and now >= self.target.seconds * 1e9:
                return now
            where = f"the last line on its console is: {self.last_line()}"
            ended = self.guest.poll() is not None
            if ended:
                self.drain()
                if self.reached_ns is not None:
                    return self.reached_ns
            hang = find_hang(self.tail, (now - self.printed_ns) / 1e9)
            if hang:
                raise HungError(f"the guest hangs: {hang}", hint=where)
            if ended:
                said = last_line(self.errors) if self.errors.strip() else ""
                raise BootprofError(
                    "the machine ended before the boot target",
                    hint=f"QEMU printed: {said}" if said else where,
                )
            if now > self.timeout_seconds * 1e9:
                raise BootprofError(
                    f"no boot target within {self.timeout_seconds:.0f} s",
                    hint=f"{where}; give another target with --until, or more time with --timeout",
                )

    def look(self, now: int) -> None:
        """Press what is due, and see whether the medium is idle or the screen is as expected.

        Args:
            now: Nanoseconds since power-on.
        """
        if self.keyboard is not None:
            self.keyboard.step()
        target = self.target
        if self.reads is not None:
            size_bytes = self.reads.stat().st_size
            idle_ns = now - self.read_ns
            if size_bytes != self.reads_bytes:
                self.reads_bytes, self.read_ns = size_bytes, now
            elif (
                target.idle_seconds is not None
                and size_bytes
                and idle_ns >= target.idle_seconds * 1e9
            ):
                self.reached_ns = self.read_ns
        if target.picture is not None and self.monitor is not None and now >= self.next_screen:
            self.next_screen = now + SCREEN_SECONDS * 1e9
            if target.picture.is_on(self.monitor.screen()):
                self.reached_ns = now

    def look_for_a_silent_hang(self, now: int) -> None:
        """Look at the processors of a guest that neither prints nor reads.

        Two processors that run a breakpoint which is patched away (docs/kmod.md) report nothing if
        they do so with interrupts off.

        Args:
            now: Nanoseconds since power-on.

        Raises:
            HungError: For 20 seconds, none of at least two processors has run a program or waited.
        """
        silent_seconds = (now - max(self.printed_ns, self.read_ns)) / 1e9
        if silent_seconds < SILENT_SECONDS:
            self.busy_looks = 0
            return
        if self.monitor is None or now < self.next_busy_look:
            return
        self.next_busy_look = now + BUSY_LOOK_SECONDS * 1e9
        try:
            processors = self.monitor.processors()
        except ToolError:
            # It has ended, which is found out next.
            return
        busy = len(processors) > 1 and not any(one.level or one.halted for one in processors)
        self.busy_looks = self.busy_looks + 1 if busy else 0
        if self.busy_looks >= BUSY_LOOKS:
            seconds = BUSY_LOOKS * BUSY_LOOK_SECONDS
            raise HungError(
                f"the guest hangs: {len(processors)} processors have run nothing but the kernel "
                f"for {seconds:.0f} s, without output or reads",
                hint=f"the last line on its console is: {self.last_line()}",
            )

    def dump_ring(self, path: Path) -> None:
        """Let the kernel print its trace ring (SysRq-z after a break), and keep it in a file.

        Raises:
            UnsupportedError: The kernel does not print it.
            BootprofError: It does not end.
        """
        assert self.monitor is not None
        assert self.guest.stdin is not None
        with path.open("w+b") as self.ring:
            self.monitor.send_break("console")
            self.guest.stdin.write(b"z")
            self.guest.stdin.flush()
            began = self.elapsed_seconds()
            self.tail = b""
            while not RING_END.search(self.tail[-2 * OVERLAP_BYTES :]):
                self.step(lambda: f"trace ring, {self.ring.tell() if self.ring else 0} bytes")
                self.ring.flush()
                silent = self.elapsed_seconds() - max(began, self.printed_ns / 1e9)
                if self.ring.tell() > TOTAL_LIMIT_BYTES or self.guest.poll() is not None:
                    raise BootprofError(
                        f"the trace ring stopped after {self.ring.tell()} bytes",
                        hint="choose an earlier boot target with --until",
                    )
                if silent > RING_PATIENCE_SECONDS:
                    raise UnsupportedError(
                        "the kernel does not print its trace ring on the serial port",
                        hint="it needs CONFIG_MAGIC_SYSRQ_SERIAL and the console ttyS0; choose "
                        "another backend",
                    )
        self.ring = None

    def drain(self) -> None:
        """Read the remaining output of a guest that has ended."""
        for stream, read in (
            (self.guest.stdout, self.read_console),
            (self.guest.stderr, self.read_errors),
        ):
            if stream in self.selector.get_map():
                while read():
                    pass

    def harvest(self) -> Harvest:
        """Request the recordings from the agent; return them when they are complete.

        Raises:
            UnsupportedError: No agent answers.
            BootprofError: The agent does not follow its protocol, or stops in the middle.
        """
        assert self.harvested is not None
        assert self.port is not None
        harvest = self.harvested
        deadline = self.elapsed_seconds() + AGENT_PATIENCE_SECONDS
        deadline = min(deadline, max(self.timeout_seconds, self.elapsed_seconds() + 5))
        while not harvest.agent and self.elapsed_seconds() < deadline and self.guest.poll() is None:
            self.step(lambda: "waiting for the agent in the guest")
        if not harvest.agent:
            raise UnsupportedError(
                "no profiler responds in the guest",
                hint="build the image with --profiling, or choose --backend block",
            )
        # Of a machine that has just ended, the loop below says so.
        with contextlib.suppress(OSError):
            self.port.sendall(REQUEST)
        deadline = self.elapsed_seconds() + HARVEST_PATIENCE_SECONDS
        while not harvest.finished:
            if self.elapsed_seconds() > deadline or self.guest.poll() is not None:
                raise BootprofError(
                    f"the harvest stopped after {harvest.received_bytes} bytes",
                    hint=f"the last line on the guest's console is: {self.last_line()}",
                )
            self.step(lambda: f"harvest, {harvest.received_bytes} bytes")
        return harvest


def read_some(stream: IO[bytes] | None) -> bytes:
    """Return what can be read from a pipe now; empty at its end."""
    assert stream is not None
    return stream.read1(65536)  # type: ignore[attr-defined,no-any-return]
