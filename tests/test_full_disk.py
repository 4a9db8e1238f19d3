# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""A disk that is full: one line that says where, a status, and nothing half-written."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

TOP = Path(__file__).parent.parent


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 KiB."""
    folder = tmp_path / "small"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", folder], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", folder], check=True)


@pytest.fixture
def bootlog(tmp_path: Path) -> Path:
    path = tmp_path / "bootlog.list"
    path.write_text("".join(f"/usr/share/files/number-{number:08}\n" for number in range(5000)))
    return path


@pytest.mark.root
def test_a_file_is_replaced_whole_or_not_at_all(small: Path, bootlog: Path) -> None:
    target = small / "distrib.sort"
    target.write_text("as before\n")
    done = subprocess.run(
        [sys.executable, "-m", "bootprof", "sort", bootlog, "-o", target],
        cwd=TOP,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert done.stderr.splitlines()[0] == f"bootprof: error: {target}: No space left on device"
    assert "free some space" in done.stderr
    assert target.read_text() == "as before\n"
    assert list(small.iterdir()) == [target]


@pytest.mark.root
@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_standard_output_that_was_cut_is_an_error(
    small: Path, bootlog: Path, unbuffered: str
) -> None:
    with (small / "distrib.sort").open("wb") as output:
        done = subprocess.run(
            [sys.executable, "-m", "bootprof", "sort", bootlog],
            cwd=TOP,
            stdout=output,
            stderr=subprocess.PIPE,
            env={**os.environ, "PYTHONUNBUFFERED": unbuffered},
        )
    assert done.returncode == 1
    assert b"No space left on device" in done.stderr
