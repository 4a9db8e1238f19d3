# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""An image that nobody prepared, booted with its own kernel: what two kinds of recorders see."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from bench.images.__main__ import build, recorded_files
from optimizer.images.image import open_image

pytestmark = [pytest.mark.vm, pytest.mark.images]
TOP = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A live system of busybox, started by isolinux."""
    return build("busybox", tmp_path_factory.mktemp("images"))


def profile(image: Path, folder: Path, output: Path, *options: str) -> Path:
    command = [sys.executable, "-m", "bootprof", "profile", str(image), "--output", str(folder)]
    command += ["--cache", str(output / "cache"), *options]
    done = subprocess.run(command, cwd=TOP, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return folder


def test_the_kernels_own_events_give_the_files_that_the_tracer_gives(
    image: Path, tmp_path: Path, output: Path
) -> None:
    traced = profile(image, tmp_path / "auto", output)
    printed = profile(image, tmp_path / "cmdline", output, "--backend", "cmdline")
    layout = open_image(image).layout()
    expected, found = recorded_files(traced, layout), recorded_files(printed, layout)
    assert len(expected) > 50
    assert len(found & expected) >= 0.99 * len(expected)
    assert len(found & expected) >= 0.95 * len(found)
    said = json.loads((printed / "profile.json").read_text())
    assert said["lost"] == 0
    assert said["kernel"]
    assert "rdinit" not in said["kernel_options"]


def by_its_own_loader(image: Path, folder: Path, output: Path, *options: str) -> Path:
    # isolinux starts from a CD-ROM only; 2 is past its timeout, and Enter does no harm.
    own = ("--backend", "block", "--medium", "cdrom", "--keys", "2,ret")
    return profile(image, folder, output, *own, *options)


def test_without_a_console_an_idle_medium_and_then_its_screen_end_a_boot(
    image: Path, tmp_path: Path, output: Path
) -> None:
    screen = tmp_path / "screen.png"
    idle = ("--until", "idle:30", "--screenshot", str(screen))
    first = by_its_own_loader(image, tmp_path / "idle", output, *idle)
    assert screen.read_bytes().startswith(b"\x89PNG")
    second = by_its_own_loader(image, tmp_path / "screen", output, "--until", f"screen:{screen}")
    reads = [
        json.loads((folder / "profile.json").read_text())["reads"] for folder in (first, second)
    ]
    assert reads[0] > 50
    # What is on the screen at the end is not there before the files were read.
    assert reads[1] > 0.9 * reads[0]


def test_systemd_says_when_it_has_started_all(tmp_path: Path, output: Path) -> None:
    image = output / "images/dracut.iso"
    if not image.exists():
        build("dracut", image.parent)
    folder = profile(image, tmp_path / "systemd", output, "--until", "systemd")
    said = json.loads((folder / "profile.json").read_text())
    assert "systemd.log_target=console" in said["kernel_options"]
    assert b"Startup finished in" in (folder / "console.log").read_bytes()
    assert b"/usr/lib/systemd/systemd" in (folder / "bootlog.list").read_bytes()


def test_what_qemu_says_when_it_ends_at_once_reaches_the_user(
    image: Path, tmp_path: Path, output: Path
) -> None:
    command = [sys.executable, "-m", "bootprof", "profile", str(image), "--backend", "block"]
    command += ["--output", str(tmp_path / "none"), "--memory", "999999"]
    done = subprocess.run(command, cwd=TOP, capture_output=True, text=True)
    assert done.returncode == 1
    assert "QEMU printed: " in done.stderr
    assert "memory" in done.stderr
    assert not (tmp_path / "none").exists()
