# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""External programs: the only module that starts them.

A failed command is reported as a line that can be pasted into a shell, together with the last
lines that it printed; a program that is not installed is reported with the Debian package that
holds it.
"""

from __future__ import annotations

import contextlib
import ctypes
import logging
import os
import re
import shlex
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NoReturn

from bootprof.errors import ToolError
from bootprof.files import inherited
from optimizer.formats.text import printable

log = logging.getLogger(__name__)

# What boot loaders and systemd send to a terminal besides text: ECMA-48 control sequences.
TERMINAL_CONTROL = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]")

# In front of a command whose mounts and processes must be gone when it is, however it ends: the
# kernel ends all processes of a PID namespace with its first, and unmounts with the last.
ISOLATED = ("unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc")

# prctl(2): the signal that a process gets when its parent ends.
PR_SET_PDEATHSIG = 1
# Looked up before the fork: what runs in between has to do little.
PRCTL = ctypes.CDLL(None).prctl

# Debian package of each program that bootprof runs, for the hint when one is missing.
PACKAGES = {
    "clang": "clang",
    "bpftool": "bpftool",
    "debugfs": "e2fsprogs",
    "dumpe2fs": "e2fsprogs",
    "gensquashfs": "squashfs-tools-ng",
    "grub-mkimage": "grub-common",
    "implantisomd5": "isomd5sum",
    "mcopy": "mtools",
    "mdir": "mtools",
    "mmd": "mtools",
    "mke2fs": "e2fsprogs",
    "mkfs.erofs": "erofs-utils",
    "mkfs.vfat": "dosfstools",
    "mksquashfs": "squashfs-tools",
    "mmdebstrap": "mmdebstrap",
    "nbdkit": "nbdkit",
    "prlimit": "util-linux",
    "qemu-system-i386": "qemu-system-x86",
    "qemu-system-x86_64": "qemu-system-x86",
    "setpriv": "util-linux",
    "unshare": "util-linux",
    "unsquashfs": "squashfs-tools",
    "xorriso": "xorriso",
}


def program(name: str) -> str:
    """Return the path of an external program.

    Raises:
        ToolError: The program is not installed; the hint names its Debian package.
    """
    found = shutil.which(name) or shutil.which(name, path="/usr/sbin:/sbin")
    if found is None:
        package = PACKAGES.get(name, name)
        raise ToolError(f"{name}: program not found", hint=f"apt-get install {package}")
    return found


def run(
    command: Sequence[str | Path],
    *,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    stdin: bytes = b"",
    log_file: Path | None = None,
    progress: Callable[[str], None] | None = None,
    shown: str = "",
) -> bytes:
    """Run a program to its end and return what it wrote to standard output.

    Args:
        command: Program and arguments; the program is looked up with :func:`program`.
        cwd: Working directory.
        env: Variables that are set on top of this process's environment.
        stdin: Bytes for standard input.
        log_file: If given, standard output and standard error are appended to this file instead,
            and the return value is empty.
        progress: Called about twice a second with the last line of ``log_file``.
        shown: What an error calls the command, if not by its own text.

    Raises:
        ToolError: The program is missing or ended with a status other than 0.
    """
    words = [str(word) for word in command]
    text = shlex.join(words)
    words[0] = program(words[0])
    log.info("running: %s", text)
    environment = {**os.environ, **(env or {})}
    with contextlib.ExitStack() as stack:
        standard_output = standard_error = subprocess.PIPE
        if log_file is not None:
            sink = stack.enter_context(log_file.open("ab"))
            standard_output = standard_error = sink.fileno()
        child = subprocess.Popen(
            words,
            cwd=cwd,
            env=environment,
            preexec_fn=ends_with_parent(),
            # A program's folders stay locked as long as it runs.
            pass_fds=inherited(),
            stdin=subprocess.PIPE,
            stdout=standard_output,
            stderr=standard_error,
        )
        # unshare does not forward a request to end to its child, so there is no use in waiting.
        stack.callback(stop, child, 0.1 if command[0] == ISOLATED[0] else 10)
        pending: bytes | None = stdin
        while True:
            try:
                output, errors = child.communicate(pending, timeout=0.5)
                break
            except subprocess.TimeoutExpired:
                pending = None
                if progress is not None and log_file is not None:
                    progress(last_line(tail(log_file)))
    if child.returncode:
        printed = tail(log_file) if log_file is not None else errors or output
        where = f"; all it printed is in {log_file}" if log_file is not None else ""
        raise ToolError(
            f"{shown}: failed with status {child.returncode}"
            if shown
            else f"command failed with status {child.returncode}: {text}",
            hint=last_line(printed) + where,
        )
    return output or b""


def become(command: Sequence[str | Path]) -> NoReturn:
    """Replace this process by a program, which gets its terminal, signals and exit status.

    Args:
        command: Program and arguments; the program is looked up with :func:`program`.

    Raises:
        ToolError: The program is missing.
    """
    words = [str(word) for word in command]
    log.info("running: %s", shlex.join(words))
    os.execv(program(words[0]), words)


def ends_with_parent() -> Callable[[], None]:
    """Return a ``preexec_fn`` that lets a child be killed when this process ends, however it ends.

    The kernel counts the end of the thread that starts the child as the end of its parent.
    """
    parent = os.getpid()

    def prepare() -> None:
        PRCTL(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        # Ended between the fork and here, the parent has sent no signal.
        if os.getppid() != parent:
            os._exit(1)

    return prepare


def stop(child: subprocess.Popen[bytes], patience_seconds: float = 10) -> None:
    """End a child process, if it still runs: SIGTERM first, SIGKILL later."""
    if child.poll() is None:
        child.terminate()
        try:
            child.wait(patience_seconds)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()


def wait_for(condition: Callable[[], bool], seconds: float) -> bool:
    """Wait until a condition holds, up to a time limit; return whether it does."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def tail(path: Path, size_bytes: int = 2000) -> bytes:
    """Return the end of a file."""
    with path.open("rb") as stream:
        stream.seek(max(0, path.stat().st_size - size_bytes))
        return stream.read()


def last_line(output: bytes) -> str:
    """Return the last line of a program's output that is not blank, printable, for a hint."""
    text = TERMINAL_CONTROL.sub("", output.decode(errors="replace")).replace("\r", "\n")
    lines = [line for line in text.splitlines() if line.strip()]
    return printable(lines[-1].strip()) if lines else "it printed no output"
