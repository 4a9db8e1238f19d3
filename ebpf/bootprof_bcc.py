# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""Record opened and executed files with bcc, on a development host that has kernel headers.

    bootprof_bcc.py [--output FILE] [--seconds N] [COMMAND [ARGUMENT]...]

Writes an events file at the end: after COMMAND, after --seconds, or at SIGINT or SIGTERM. For
experiments, because the BPF program (bootprof_bcc.c) is compiled anew at each start. For
everything else there is bootprof-trace, which needs neither compiler nor headers and sees what
was opened, where this program sees only by which name. What that costs is in docs/ebpf.md.
"""

from __future__ import annotations

import argparse
import ctypes
import os
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from optimizer.errors import BootprofError, InputError
from optimizer.formats.bootlog import OPERATIONS, SCHEMA_VERSION
from optimizer.formats.text import escape

HERE = Path(__file__).parent
DEBIAN_PACKAGES = "/usr/lib/python3/dist-packages"
KERNEL_HEADERS_IN_KERNEL = Path("/sys/kernel/kheaders.tar.xz")
TRACEFS = (Path("/sys/kernel/tracing"), Path("/sys/kernel/debug/tracing"))
# struct bootprof_event in bootprof_event.h, without its text.
EVENT = struct.Struct("=4Q2I4H16s16s")
AT_FDCWD = -100


@dataclass(frozen=True)
class Named:
    """An access by name.

    Attributes:
        time_ns: Time in nanoseconds since boot.
        process: Process identifier.
        command: Name of the task.
        operation: Index into :data:`optimizer.formats.bootlog.OPERATIONS`.
        path: Absolute path; links in it are not resolved.
    """

    time_ns: int
    process: int
    command: bytes
    operation: int
    path: bytes


def load_bcc() -> Any:
    """Import bcc, which Debian installs for its own Python only; any CPython 3.11 can use it.

    Raises:
        InputError: It is not installed.
    """
    try:
        import bcc
    except ImportError:
        sys.path.append(DEBIAN_PACKAGES)
        try:
            import bcc
        except ImportError:
            raise InputError(
                "bcc is not installed",
                hint="apt-get install python3-bpfcc (the package bcc of PyPI is something else)",
            ) from None
    return bcc


def check_host() -> None:
    """Make sure that bcc can compile and load programs.

    Raises:
        InputError: Headers or privileges are missing.
    """
    if os.geteuid():
        raise InputError("no privilege to load BPF programs", hint="run it as root")
    if not any((folder / "events").exists() for folder in TRACEFS):
        raise InputError(
            f"{TRACEFS[0]}: tracefs is not mounted", hint=f"mount -t tracefs none {TRACEFS[0]}"
        )
    release = os.uname().release
    source = os.environ.get("BCC_KERNEL_SOURCE")
    if source:
        if not (Path(source) / "include/linux/kconfig.h").exists():
            raise InputError(
                f"{source}: no kernel headers (BCC_KERNEL_SOURCE)",
                hint="merge linux-headers-VERSION-common and -amd64 of Debian into one folder",
            )
        return
    build = Path(f"/lib/modules/{release}/build")
    if not build.exists() and not KERNEL_HEADERS_IN_KERNEL.exists():
        raise InputError(
            f"{build}: no headers of the running kernel, which bcc compiles against",
            hint=f"apt-get install linux-headers-{release}, or set BCC_KERNEL_SOURCE to those of "
            "another kernel, or use bootprof-trace, which needs none",
        )


def absolute(process: int, directory: int, name: bytes) -> bytes:
    """Make a name absolute by what /proc still knows of the process.

    Args:
        process: Whose name it is.
        directory: Handle that it is relative to, or AT_FDCWD.
        name: The name as it was given.
    """
    if not name.startswith(b"/"):
        link = "cwd" if directory == AT_FDCWD else f"fd/{directory}"
        try:
            base = os.fsencode(Path(f"/proc/{process}/{link}").readlink())
        except OSError:
            # It has ended, or closed the handle.
            base = b"/"
        name = base + b"/" + name
    return b"/" + os.path.normpath(name).lstrip(b"/")


def parse_event(record: bytes) -> Named:
    """Read a struct bootprof_event with its text."""
    fields = EVENT.unpack_from(record)
    name_bytes = fields[9]
    name = record[EVENT.size : EVENT.size + name_bytes].partition(b"\0")[0]
    directory = ctypes.c_int32(fields[4]).value
    command = fields[10].partition(b"\0")[0]
    return Named(fields[0], fields[5], command, fields[6], absolute(fields[5], directory, name))


def record(
    bcc: Any, go_on: Callable[[], bool], begin: Callable[[], None]
) -> tuple[list[Named], int]:
    """Trace until told to stop.

    Args:
        bcc: The module.
        go_on: Asked about ten times a second.
        begin: Called once all is traced.

    Returns:
        Events in order of time, and how many were lost.

    Raises:
        BootprofError: The compiler or the kernel refused the program.
    """
    try:
        program = bcc.BPF(
            src_file=os.fsencode(HERE / "bootprof_bcc.c"),
            cflags=[f"-I{HERE}", f"-DOWN_PROCESS={os.getpid()}"],
        )
    except Exception as error:
        raise BootprofError(
            f"bcc could not build its program: {error}", hint="the compiler's words are above"
        ) from None
    events: list[Named] = []

    def take(_context: object, data: int, size_bytes: int) -> None:
        events.append(parse_event(ctypes.string_at(data, size_bytes)))

    program[b"events"].open_ring_buffer(take)
    begin()
    while go_on():
        program.ring_buffer_poll(100)
    program.ring_buffer_consume()
    lost = program[b"losses"][ctypes.c_int(0)].value
    program.cleanup()
    return sorted(events, key=lambda event: event.time_ns), lost


def write(stream: BinaryIO, events: list[Named], lost: int) -> None:
    """Write an events file; device, inode and file system are those of the path as it is now."""
    stream.write(
        f"#bootprof-bootlog {SCHEMA_VERSION}\n#backend: bcc (tracepoint arguments)\n"
        f"#kernel: {os.uname().release}\n#lost: {lost}\n".encode()
    )
    for event in events:
        try:
            status = os.stat(event.path)  # noqa: PTH116 - a Path cannot hold every name as it is
            device, inode = status.st_dev, status.st_ino
        except OSError:
            device = inode = 0
        stream.write(
            b"%d\t%d\t%b\t%b\t0\t0\t%d:%d\t%d\t\t%b\n"
            % (
                *(event.time_ns, event.process, escape(event.command)),
                OPERATIONS[event.operation],
                *(os.major(device), os.minor(device), inode),
                escape(event.path),
            )
        )


def run(options: argparse.Namespace) -> None:
    """Trace a command, or for a time, and write the bootlog."""
    bcc = load_bcc()
    check_host()
    child: subprocess.Popen[bytes] | None = None
    deadline = float("inf")
    stopped: list[int] = []
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda number, _frame: stopped.append(number))

    def begin() -> None:
        nonlocal child, deadline
        if options.seconds:
            deadline = time.monotonic() + options.seconds
        if options.command:
            child = subprocess.Popen(options.command)

    def go_on() -> bool:
        ended = child is not None and child.poll() is not None
        return not (ended or stopped or time.monotonic() > deadline)

    events, lost = record(bcc, go_on, begin)
    if options.output == "-":
        write(sys.stdout.buffer, events, lost)
        return
    partial = Path(f"{options.output}.partial")
    with partial.open("wb") as stream:
        write(stream, events, lost)
    partial.rename(options.output)


def main() -> int:
    """Parse the command line; return the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--output", default="-", help="where to write; - is standard output")
    parser.add_argument("--seconds", type=float, help="stop after so many seconds")
    parser.add_argument("command", nargs=argparse.REMAINDER, help="what to trace")
    try:
        run(parser.parse_args())
    except BootprofError as error:
        print(f"bootprof_bcc: error: {error.message}", file=sys.stderr)
        if error.hint:
            print(f"bootprof_bcc: hint: {error.hint}", file=sys.stderr)
        return error.exit_status
    except OSError as error:
        print(f"bootprof_bcc: error: {error.filename}: {error.strerror}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
