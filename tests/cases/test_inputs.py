# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""Small inputs of the kinds that people have, each with the value that is right for it."""

from __future__ import annotations

import random
import shutil
import subprocess
from pathlib import Path

import pytest

from bootprof.cli import main

HERE = Path(__file__).parent


def said(capfd: pytest.CaptureFixture[str], *arguments: str | Path, status: int = 0) -> str:
    """Run bootprof; return standard output."""
    assert main([str(argument) for argument in arguments]) == status
    return capfd.readouterr().out


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A squashfs of one file, /f, of 400,000 bytes that do not compress."""
    if shutil.which("mksquashfs") is None:
        pytest.skip("mksquashfs is not installed: apt-get install squashfs-tools")
    root = tmp_path_factory.mktemp("cases") / "root"
    root.mkdir()
    (root / "f").write_bytes(random.Random(1).randbytes(400_000))
    made = root.parent / "i.sqfs"
    subprocess.run(["mksquashfs", root, made, "-quiet", "-no-progress"], check=True)
    return made


def test_the_sort_file_of_a_distribution_is_read_by_every_command(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    given = HERE / "old.sort"
    paths = "/bin/sed\n/etc/ld.so.cache\n/usr/lib/with space\n"
    in_order = "bin/sed 32767\netc/ld.so.cache 32766\nusr/lib/with\\ space 32765\n"
    assert said(capfd, "sort", given) == in_order
    assert said(capfd, "merge", given, given) == paths
    assert said(capfd, "convert", given) == paths
    assert said(capfd, "convert", "--from", "e4rat", given) == paths
    for name in ("bin/sed", "etc/ld.so.cache"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    checked = said(capfd, "check", given, "--root", tmp_path)
    assert checked.startswith("3 files: 2 kept, 0 moved, 1 gone")


def test_the_root_directory_in_a_list_is_no_file(capfd: pytest.CaptureFixture[str]) -> None:
    assert said(capfd, "sort", HERE / "slash.list") == "a/hot 32767\n"


@pytest.mark.parametrize(
    ("files", "paths"),
    [
        (("decode-pids.strace",), "/bin/sh\n/etc/a\n"),
        (("decode-pids-terminal.strace",), "/etc/b\n"),
        (("syscall-number.strace",), "/bin/sh\n/etc/a\n"),
        (("nocomm.perf",), "/etc/a\n"),
        (("noduration.perf",), "/etc/a\n"),
        (("noinherit.perf",), "/etc/a\n"),
        (("strace.10", "strace.11"), "/bin/sh\n/etc/fstab\n"),
        (("strace.11", "strace.10"), "/bin/sh\n/etc/fstab\n"),
        (("names-with-flags.strace",), "/etc/NO_PATH\n/etc/x\n"),
    ],
)
def test_what_tools_print_is_recognised_and_read(
    capfd: pytest.CaptureFixture[str], files: tuple[str, ...], paths: str
) -> None:
    assert said(capfd, "convert", *(HERE / file for file in files)) == paths


@pytest.mark.parametrize("file", ["trace_pipe", "trace-cmd.report"])
def test_both_texts_of_the_block_tracepoints_are_read(
    capfd: pytest.CaptureFixture[str], image: Path, file: str
) -> None:
    assert said(capfd, "convert", HERE / file, "--image", image) == "/f\n"


def test_block_dump_without_lengths_counts_pages_and_says_so(
    capfd: pytest.CaptureFixture[str], image: Path
) -> None:
    command = ["convert", HERE / "old-block_dump.log", "--image", image, "--threshold", "0"]
    assert main([str(argument) for argument in command]) == 0
    assert "2 reads without a number of sectors count as one page each" in capfd.readouterr().err
