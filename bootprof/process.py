"""The one way in which bootprof starts external programs.

A failed command is reported as a line that can be pasted into a shell, together with the last
lines that it printed; a program that is not installed is reported with the Debian package that
holds it.
"""

from __future__ import annotations

import logging
import os
import shlex
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from bootprof.errors import ToolError

log = logging.getLogger(__name__)

# Debian package of each program that bootprof runs, for the hint when one is missing.
PACKAGES = {
    "clang": "clang",
    "bpftool": "bpftool",
    "gensquashfs": "squashfs-tools-ng",
    "grub-mkimage": "grub-common",
    "mcopy": "mtools",
    "mmd": "mtools",
    "mkfs.vfat": "dosfstools",
    "mksquashfs": "squashfs-tools",
    "mmdebstrap": "mmdebstrap",
    "nbdkit": "nbdkit",
    "qemu-system-i386": "qemu-system-x86",
    "qemu-system-x86_64": "qemu-system-x86",
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
    stdin: bytes | None = None,
    log_file: Path | None = None,
) -> bytes:
    """Run a program to its end and return what it wrote to standard output.

    Args:
        command: Program and arguments; the program is looked up with :func:`program`.
        cwd: Working directory.
        env: Variables that are set on top of this process's environment.
        stdin: Bytes for standard input; nothing if None.
        log_file: If given, standard output and standard error go to this file instead, and the
            return value is empty.

    Raises:
        ToolError: The program is missing or ended with a status other than 0.
    """
    words = [str(word) for word in command]
    words[0] = program(words[0])
    log.info("running: %s", shlex.join(words))
    environment = {**os.environ, **(env or {})}
    if log_file is not None:
        with log_file.open("ab") as sink:
            done = subprocess.run(
                words, cwd=cwd, env=environment, input=stdin, stdout=sink, stderr=sink, check=False
            )
        if done.returncode:
            raise ToolError(
                f"command failed with status {done.returncode}: {shlex.join(words)}",
                hint=f"see the end of {log_file}: {last_line(log_file.read_bytes())}",
            )
        return b""
    finished = subprocess.run(
        words, cwd=cwd, env=environment, input=stdin, capture_output=True, check=False
    )
    if finished.returncode:
        raise ToolError(
            f"command failed with status {finished.returncode}: {shlex.join(words)}",
            hint=last_line(finished.stderr or finished.stdout),
        )
    return finished.stdout


def last_line(output: bytes) -> str:
    """Return the last line of a program's output that is not blank, for use in a hint."""
    lines = [line for line in output.decode(errors="replace").splitlines() if line.strip()]
    return lines[-1].strip() if lines else "it printed nothing"
