# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""What the tools print on this machine is read; what it lacks is skipped."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

from bootprof.imports import Source, recognise
from tests.foreign import imported

NAMES = ("one", "with space", 'comma,quote"', "\xfe")


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    top = tmp_path / "tree"
    (top / "sub").mkdir(parents=True)
    for name in NAMES:
        (top / "sub" / name).write_text("content")
    return top


def recorded(tree: Path, output: Path, *command: str, ready: bytes | None = None) -> bytes:
    """Record the reading of the files of a tree; return what the tool wrote."""
    if shutil.which(command[0]) is None:
        pytest.skip(f"{command[0]} is not installed")
    with output.open("wb") as out, output.with_suffix(".errors").open("wb") as errors:
        recorder = subprocess.Popen(command, stdout=out, stderr=errors, cwd=tree)
    probe = tree / "probe"
    probe.write_text("")
    try:
        # Once an access shows, the recorder has begun.
        for _ in range(600):
            if recorder.poll() is not None:
                pytest.skip(f"{command[0]} does not start here")
            probe.read_text()
            if (ready or b"probe") in output.read_bytes() + output.with_suffix(
                ".errors"
            ).read_bytes():
                break
            time.sleep(0.05)
        else:
            pytest.skip(f"{command[0]} sees nothing here")
        for name in NAMES:
            (tree / "sub" / name).read_text()
        for _ in range(600):
            if os.fsencode(NAMES[-1]) in output.read_bytes():
                break
            time.sleep(0.05)
    finally:
        recorder.send_signal(signal.SIGINT)
        with contextlib.suppress(subprocess.TimeoutExpired):
            recorder.wait(10)
        recorder.kill()
        recorder.wait()
    return output.read_bytes()


def found(name: str, content: bytes, tree: Path) -> list[bytes]:
    """Return which files of the tree an import finds, in their order."""
    import io

    assert recognise([Source("log", io.BytesIO(content))]).name == name
    prefix = os.fsencode(tree / "sub") + b"/"
    paths = imported(name, content).paths
    return [path.removeprefix(prefix) for path in paths if path.startswith(prefix)]


@pytest.mark.parametrize(
    "options",
    [
        [],
        ["--csv"],
        ["--timefmt", "%F %T", "--format", "%T %w%f %e"],
        ["--timefmt", "%s", "--format", "%T %e %w%f"],
        ["--timefmt", "%H:%M:%S", "--format", "%T %w %e %f"],
    ],
    ids=" ".join,
)
def test_inotifywait(tree: Path, tmp_path: Path, options: list[str]) -> None:
    command = ["inotifywait", "-m", "-r", *options, str(tree)]
    content = recorded(tree, tmp_path / "out", *command, ready=b"Watches established")
    assert found("inotifywait", content, tree) == [os.fsencode(name) for name in NAMES]


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="fanotify needs root")
@pytest.mark.parametrize("options", [[], ["-t"], ["-t", "-t"]], ids=" ".join)
def test_fatrace(tree: Path, tmp_path: Path, options: list[str]) -> None:
    content = recorded(tree, tmp_path / "out", "fatrace", "-c", *options)
    assert found("fatrace", content, tree) == [os.fsencode(name) for name in NAMES]
