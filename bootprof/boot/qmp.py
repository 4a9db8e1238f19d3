# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""QEMU's machine protocol (QMP), as far as a boot needs it: keys, the screen, a serial break.

The monitor is a socket that QEMU inherits, so it has no path and no port. Source: QEMU's
docs/interop/qmp-spec.rst and the QMP reference.
"""

from __future__ import annotations

import json
import os
import re
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from bootprof.errors import InputError, ToolError
from optimizer.formats.text import printable

ANSWER_SECONDS: Final = 20.0
ANSWER_LIMIT_BYTES: Final = 1 << 20
PICTURE_LIMIT_BYTES: Final = 64 << 20
# QEMU's names of keys (QKeyCode): letters, digits, "ret", "down", "f10", "kp_enter".
_KEY = re.compile(r"[a-z0-9_]{1,20}(-[a-z0-9_]{1,20}){0,4}")
_WAIT = re.compile(r"\d{1,4}(\.\d{1,3})?")
MOST_KEYS = 100
# QEMU's target/i386/cpu-dump.c.
_PROCESSOR = re.compile(r"\bCPL=([0-3]) .*?\bHLT=([01])\b")


@dataclass(frozen=True)
class KeyPress:
    """Keys that are pressed at once.

    Attributes:
        after_seconds: Time since the press before, or since power-on.
        keys: QEMU's names.
    """

    after_seconds: float
    keys: tuple[str, ...]


def parse_keys(text: str) -> tuple[KeyPress, ...]:
    """Read keys to press: ``5,down,ret`` waits 5 s, then presses two keys, one after the other.

    Raises:
        InputError: It is something else.
    """
    found = []
    pause = 0.0
    for word in filter(None, (word.strip() for word in text.split(","))):
        # A digit is a key too, where it is quoted by its name: "digit1" has none in QEMU.
        if _WAIT.fullmatch(word):
            pause += float(word)
        elif _KEY.fullmatch(word):
            found.append(KeyPress(pause or 0.2, tuple(word.split("-"))))
            pause = 0.0
        else:
            raise InputError(
                f"keys {printable(text)!r}: {printable(word)!r} is neither seconds nor a key",
                hint="give seconds and QEMU's names of keys, for example 5,down,ret",
            )
    if not found or len(found) > MOST_KEYS:
        raise InputError(
            f"keys {printable(text)!r}: from 1 to {MOST_KEYS} keys are expected",
            hint="give seconds and QEMU's names of keys, for example 5,down,ret",
        )
    return tuple(found)


@dataclass(frozen=True)
class Processor:
    """What a processor of the guest does at a moment.

    Attributes:
        level: Privilege level: 0 runs the kernel (or firmware), 3 runs a program.
        halted: It waits for an interrupt.
    """

    level: int
    halted: bool


class Monitor:
    """Our end of a machine's monitor."""

    def __init__(self, connection: socket.socket) -> None:
        """Take the socket; nothing is sent before the first command."""
        self.connection = connection
        self.connection.settimeout(ANSWER_SECONDS)
        self.pending = b""
        self.greeted = False

    def execute(
        self, command: str, arguments: object = None, descriptors: Sequence[int] = ()
    ) -> object:
        """Execute a command and return its result.

        Args:
            command: Its name.
            arguments: What the protocol says.
            descriptors: File descriptors that go with it.

        Raises:
            ToolError: QEMU refused it, has ended, or does not answer.
        """
        try:
            if not self.greeted:
                self._answer()
                self.greeted = True
                self.execute("qmp_capabilities")
            message: dict[str, object] = {"execute": command}
            if arguments is not None:
                message["arguments"] = arguments
            data = json.dumps(message).encode() + b"\n"
            if descriptors:
                socket.send_fds(self.connection, [data], list(descriptors))
            else:
                self.connection.sendall(data)
            while True:
                answer = self._answer()
                if "error" in answer:
                    raise ToolError(f"QEMU refused {command}: {printable(str(answer['error']))}")
                if "return" in answer:
                    return answer["return"]
        except (OSError, ValueError) as error:
            raise ToolError(f"QEMU's monitor does not answer {command}: {error}") from None

    def _answer(self) -> dict[str, object]:
        while b"\n" not in self.pending:
            data = self.connection.recv(65536)
            if not data or len(self.pending) > ANSWER_LIMIT_BYTES:
                raise ValueError("it was closed")
            self.pending += data
        line, _, self.pending = self.pending.partition(b"\n")
        answer = json.loads(line)
        if not isinstance(answer, dict):
            raise ValueError("no object")
        return answer

    def press(self, press: KeyPress) -> None:
        """Press keys at once.

        Raises:
            ToolError: QEMU knows no such key, or has ended.
        """
        keys = [{"type": "qcode", "data": key} for key in press.keys]
        self.execute("send-key", {"keys": keys})

    def processors(self) -> list[Processor]:
        """Return what each processor does, of a machine whose processors are x86.

        Raises:
            ToolError: QEMU does not tell, or has ended.
        """
        answer = self.execute("human-monitor-command", {"command-line": "info registers -a"})
        found = _PROCESSOR.findall(str(answer))
        return [Processor(int(level), halted == "1") for level, halted in found]

    def send_break(self, chardev: str) -> None:
        """Send a break on a serial port."""
        self.execute("chardev-send-break", {"id": chardev})

    def screen(self) -> bytes:
        """Return the picture on the screen, in PPM format (netpbm's "P6")."""
        with open(os.memfd_create("screen"), "w+b", buffering=0) as file:  # noqa: PTH123
            # QEMU takes a descriptor that is for writing alone.
            writing = os.open(f"/proc/self/fd/{file.fileno()}", os.O_WRONLY | os.O_CLOEXEC)
            try:
                added = self.execute("add-fd", None, [writing])
            finally:
                os.close(writing)
            number = added["fdset-id"] if isinstance(added, dict) else 0
            try:
                self.execute("screendump", {"filename": f"/dev/fdset/{number}"})
            finally:
                self.execute("remove-fd", {"fdset-id": number})
            file.seek(0)
            return file.read(PICTURE_LIMIT_BYTES) or b""


class Keyboard:
    """Presses keys at their time."""

    def __init__(self, monitor: Monitor, presses: Sequence[KeyPress]) -> None:
        """Begin to count with the first press."""
        self.monitor = monitor
        self.waiting = list(presses)
        self.since = time.monotonic()

    def step(self) -> None:
        """Press what is due."""
        now = time.monotonic()
        if self.waiting and now - self.since >= self.waiting[0].after_seconds:
            self.monitor.press(self.waiting.pop(0))
            self.since = now
