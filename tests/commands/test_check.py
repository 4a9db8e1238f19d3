# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""``bootprof check`` as a person runs it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

TOP = Path(__file__).parent.parent.parent


def check(*arguments: str | Path) -> subprocess.CompletedProcess[bytes]:
    command: list[str | Path] = [sys.executable, "-m", "bootprof", "check", *arguments]
    done = subprocess.run(command, capture_output=True, cwd=TOP)
    assert b"Traceback" not in done.stderr
    return done


@pytest.fixture
def given(tmp_path: Path) -> tuple[Path, Path]:
    """A bootlog of four files, and a root that has one of them and one in another version."""
    root = tmp_path / "root"
    (root / "usr/lib").mkdir(parents=True)
    (root / "usr/lib/libz.so.1.3").write_text("new")
    (root / "init").write_text("same")
    bootlog = tmp_path / "bootlog.list"
    bootlog.write_bytes(
        b"/proc/1\n/usr/lib/libz.so.1.2\n/init\n/gone\n/made/at\\012boot\npipe:[1]\n"
    )
    return bootlog, root


def test_text_says_what_is_kept_moved_and_gone(given: tuple[Path, Path]) -> None:
    bootlog, root = given
    done = check(bootlog, "--root", root)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.decode().splitlines()
    assert lines[0] == "4 files: 1 kept, 1 moved, 2 gone (50.0 %)"
    assert "  /usr/lib/libz.so.1.2 -> /usr/lib/libz.so.1.3" in lines
    assert "  /gone" in lines


def test_the_mapped_bootlog_and_json(given: tuple[Path, Path], tmp_path: Path) -> None:
    bootlog, root = given
    old, output = tmp_path / "old", tmp_path / "mapped.list"
    (old / "usr/lib").mkdir(parents=True)
    for name in ("gone", "usr/lib/libz.so.1.2"):
        (old / name).write_text("old")
    done = check(bootlog, "--root", root, "--old", old, "-o", output, "--json")
    assert done.returncode == 0, done.stderr
    assert output.read_bytes() == b"/usr/lib/libz.so.1.3\n/init\n"
    answer = json.loads(done.stdout)
    assert answer["moved"] == [
        {"old": "/usr/lib/libz.so.1.2", "new": "/usr/lib/libz.so.1.3", "rule": "soname"}
    ]
    assert (answer["kept"], answer["gone"], answer["never"]) == (1, ["/gone"], 1)


def test_a_threshold_decides_the_exit_status(given: tuple[Path, Path]) -> None:
    bootlog, root = given
    assert check(bootlog, "--root", root, "--fail-above", "50").returncode == 0
    done = check(bootlog, "--root", root, "--fail-above", "49.9")
    assert done.returncode == 1
    assert b"50.0 % of the files are gone, more than 49.9 %" in done.stderr


def test_the_rules_are_printed() -> None:
    done = check("--rules")
    assert done.returncode == 0
    for name in (b"kernel-version", b"python-version", b"soname", b"byte-code"):
        assert name in done.stdout


def test_wrong_input_is_one_line_and_a_hint(given: tuple[Path, Path], tmp_path: Path) -> None:
    bootlog, root = given
    empty = tmp_path / "empty.list"
    empty.write_bytes(b"/proc/1\n")
    cases: tuple[tuple[tuple[str | Path, ...], bytes], ...] = (
        ((bootlog,), b"give a bootlog and --root"),
        (("--root", root), b"a bootlog"),
        ((bootlog, "--root", tmp_path / "no"), b"not a directory"),
        ((tmp_path / "no", "--root", root), b"no such file"),
        ((empty, "--root", root), b"contains no files"),
        ((bootlog, "--root", root, "--fail-above", "101"), b"not a percentage"),
    )
    for arguments, words in cases:
        done = check(*arguments)
        assert done.returncode == 2, (arguments, done.stderr)
        assert words in done.stderr
