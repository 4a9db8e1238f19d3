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


def test_an_idle_medium_ends_a_boot_without_a_console(
    image: Path, tmp_path: Path, output: Path
) -> None:
    folder = profile(
        *(image, tmp_path / "idle", output, "--backend", "block", "--until", "idle:30"),
        # isolinux starts from a CD-ROM only.
        *("--medium", "cdrom", "--keys", "2,ret", "--screenshot", str(tmp_path / "screen.png")),
    )
    assert json.loads((folder / "profile.json").read_text())["reads"] > 50
    assert (tmp_path / "screen.png").read_bytes().startswith(b"\x89PNG")
