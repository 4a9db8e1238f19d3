# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""The smallest image that a real build makes, for tests of whole builds."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

TOP = Path(__file__).parents[2]
CONFIG = """\
name = "small"
[system]
packages = ["linux-image-cloud-amd64"]
[squashfs]
compressor = "lz4"
[initrd]
compressor = "keep"
"""
EPOCH = 1_600_000_000
# Every program that a build starts inherits it.
MARK = "BOOTPROF_TEST_OF_A_SMALL_BUILD"


def start(
    folder: Path, *options: str, prefix: Sequence[str | Path] = ()
) -> subprocess.Popen[bytes]:
    """Start a build in a folder; its temporary files go into ``tmp`` there.

    Args:
        folder: The folder.
        options: Of the build.
        prefix: In front of the command.
    """
    (folder / "tmp").mkdir(parents=True, exist_ok=True)
    (folder / "live.cfg").write_text(CONFIG)
    words: list[str | Path] = [
        "--config",
        folder / "live.cfg",
        "--output",
        folder / "out",
        *options,
    ]
    return subprocess.Popen(
        [*prefix, sys.executable, "-m", "bootprof", "build", *words],
        cwd=TOP,
        env={
            **os.environ,
            MARK: str(folder),
            "TMPDIR": str(folder / "tmp"),
            # Of a time before each file of the archive: two bootstraps give the same bytes.
            "SOURCE_DATE_EPOCH": str(EPOCH),
        },
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )


def build(folder: Path, *options: str, prefix: Sequence[str | Path] = ()) -> dict[str, Any]:
    """Build to the end; return the manifest of the image."""
    child = start(folder, *options, prefix=prefix)
    _, said = child.communicate()
    assert child.returncode == 0, said.decode()
    manifest: dict[str, Any] = json.loads((folder / "out/small.json").read_text())
    return manifest


def forget(folder: Path) -> None:
    """Let the next build do again whatever follows the bootstrap."""
    for name in ("root-*", "filesystem-*", "initrd-*", "additions-*"):
        for path in (folder / "out/cache").glob(name):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
