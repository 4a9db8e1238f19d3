# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""Sticks with faults, without a boot: nbdkit serves them, and a loop device makes them a disk."""

from __future__ import annotations

import contextlib
import os
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from bootprof.sources import LIVE_TOOL

MIB = 1 << 20


def live(*words: object, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run bootprof-live without a terminal."""
    return subprocess.run(
        ["sh", LIVE_TOOL, *map(str, words)],
        env={**os.environ, **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )


@contextlib.contextmanager
def loop(path: Path, *options: str) -> Iterator[str]:
    """Give a loop device over a file."""
    made = subprocess.run(
        ["/usr/sbin/losetup", "--find", "--show", *options, path],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    try:
        yield made
    finally:
        subprocess.run(["/usr/sbin/losetup", "--detach", made], check=True)


@contextlib.contextmanager
def served(folder: Path, *plugin: str | Path) -> Iterator[Path]:
    """Give a file that nbdkit serves.

    Args:
        folder: For the mount point.
        plugin: Filters, plugin and their arguments.
    """
    file = folder / "served"
    file.touch()
    command: Sequence[str | Path] = ["nbdfuse", file, "--command", "nbdkit", "-s", *plugin]
    child = subprocess.Popen(command)
    try:
        deadline = time.monotonic() + 60
        while not os.path.ismount(file):
            assert child.poll() is None and time.monotonic() < deadline, "nbdfuse did not start"
            time.sleep(0.05)
        yield file
    finally:
        subprocess.run(["fusermount3", "-u", file], check=False)
        child.wait()


@contextlib.contextmanager
def exported(file: Path, *nodes: str) -> Iterator[Path]:
    """Give a file that QEMU serves from its block layer.

    Args:
        file: Where it appears.
        nodes: Block devices, as ``--blockdev`` takes them; the last one is served.
    """
    file.touch()
    export = f"fuse,id=served,node-name=top,mountpoint={file},writable=on"
    options = [word for node in (*nodes[:-1], f"{nodes[-1]},node-name=top") for word in
               ("--blockdev", node)]  # fmt: skip
    child = subprocess.Popen(["qemu-storage-daemon", *options, "--export", export])
    try:
        deadline = time.monotonic() + 60
        while file.stat().st_size == 0:
            assert child.poll() is None and time.monotonic() < deadline, "nothing is served"
            time.sleep(0.05)
        yield file
    finally:
        child.terminate()
        child.wait()
