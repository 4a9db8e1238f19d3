# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""The command bootprof of a key, with a small builder, in a mount namespace of its own."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from bootprof.process import run
from bootprof.sources import KEY_TOOL

pytestmark = pytest.mark.root

# What the builder has in the place of bootprof.
BOOTPROF = """\
#!/bin/sh
echo "arguments: $# $2"
echo "etc: $(cat /etc/of-the-builder) $(grep -c . /etc/passwd)"
echo "cache: $PYTHONPYCACHEPREFIX"
[ "$1" != again ] || exec sh "$0.command" last
exit 7
"""
# A live system in miniature: its /run is another one, and nothing is left of it afterwards.
LIVE = """\
set -e
mount -t tmpfs tmpfs /run
if [ -f "$1/builder.squashfs" ]; then
    mkdir -p /run/live/medium/builder
    cp "$1/builder.squashfs" /run/live/medium/builder
fi
tool=$2
shift 2
set +e
sh "$tool" "$@"
echo "status: $?"
[ ! -e /etc/of-the-builder ] || echo "left behind"
sh "$tool" again 'two words' > /dev/null
echo "mounts: $(grep -c /run/bootprof/builder /proc/mounts)"
umount /run/bootprof/builder 2> /dev/null || true
"""


def call(folder: Path, *arguments: str) -> tuple[str, str]:
    """Call the command in a live system; return what it printed, and its errors."""
    words: list[str | Path] = [
        "unshare",
        "--mount",
        "sh",
        "-c",
        LIVE,
        "sh",
        folder,
        KEY_TOOL,
        *arguments,
    ]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    return done.stdout, done.stderr


@pytest.fixture
def medium(tmp_path: Path) -> Path:
    tree = tmp_path / "tree"
    (tree / "usr/bin").mkdir(parents=True)
    (tree / "etc").mkdir()
    (tree / "etc/of-the-builder").write_text("yes\n")
    for name, text in (("bootprof", BOOTPROF), ("bootprof.command", KEY_TOOL.read_text())):
        (tree / "usr/bin" / name).write_text(text)
        (tree / "usr/bin" / name).chmod(0o755)
    run(["mksquashfs", tree, tmp_path / "builder.squashfs", "-quiet", "-no-progress"])
    return tmp_path


def test_the_builder_is_there_for_the_command_only(medium: Path) -> None:
    users = len(Path("/etc/passwd").read_text().splitlines())
    said, errors = call(medium, "build", "two words")
    assert said.splitlines() == [
        "arguments: 2 two words",
        # The live system's own users.
        f"etc: yes {users}",
        "cache: /run/bootprof/pycache",
        "status: 7",
        "mounts: 1",
    ]
    assert errors == ""


def test_a_command_that_calls_the_command_finds_the_builder(medium: Path) -> None:
    said, _ = call(medium, "again", "x")
    assert said.splitlines()[3:6] == [
        "arguments: 1 ",
        said.splitlines()[1],
        "cache: /run/bootprof/pycache",
    ]


def test_without_the_medium_it_says_so(tmp_path: Path) -> None:
    said, errors = call(tmp_path, "build")
    assert said.splitlines()[0] == "status: 1"
    assert "builder.squashfs: not found" in errors
    assert "boot from the key" in errors
