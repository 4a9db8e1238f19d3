# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""``bootprof merge`` as a person runs it."""

import json
import subprocess
import sys
from pathlib import Path

TOP = Path(__file__).parent.parent.parent


def bootprof(*arguments: str | Path, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    command: list[str | Path] = [sys.executable, "-m", "bootprof", *arguments]
    done = subprocess.run(command, capture_output=True, cwd=TOP, input=stdin)
    assert b"Traceback" not in done.stderr
    return done


def lists(folder: Path) -> tuple[Path, Path]:
    first, second = folder / "first.list", folder / "second.list"
    first.write_bytes(b"/proc/1/stat\n/a\n/new\\012line\n/b\npipe:[1]\n")
    second.write_bytes(b"/b\n/a\n/c\n")
    return first, second


def test_the_result_is_a_bootlog_that_sort_takes(tmp_path: Path) -> None:
    done = bootprof("merge", *lists(tmp_path))
    assert done.returncode == 0, done.stderr
    assert done.stdout == b"/a\n/b\n/new\\012line\n/c\n"
    assert b"4 files of 2 bootlogs, 2 of them in all" in done.stderr
    ordered = bootprof("sort", "-", "-f", "list", stdin=done.stdout)
    assert ordered.stdout == done.stdout


def test_weights_support_output_and_report(tmp_path: Path) -> None:
    output, report = tmp_path / "merged.list", tmp_path / "report.json"
    arguments = ("-w", "1", "-w", "9", "--min-support", "50%", "-o", output, "--report", report)
    done = bootprof("merge", *lists(tmp_path), *arguments, "--quiet")
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    assert output.read_bytes() == b"/b\n/a\n/c\n"
    answer = json.loads(report.read_text())
    assert (answer["files"], answer["in_all"], answer["in_one"]) == (3, 2, 1)
    assert [profile["weight"] for profile in answer["profiles"]] == [1, 9]
    assert answer["disputed"][0]["path"] == "/b"
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "first.list",
        "merged.list",
        "report.json",
        "second.list",
    ]


def test_wrong_input_is_one_line_and_a_hint(tmp_path: Path) -> None:
    first, second = lists(tmp_path)
    trace = tmp_path / "blocktrace.tsv"
    trace.write_bytes(b"#bootprof-blocktrace 1\n")
    pseudo = tmp_path / "pseudo.list"
    pseudo.write_bytes(b"/proc/cmdline\n")
    (tmp_path / "empty").mkdir()
    cases: tuple[tuple[tuple[str | Path, ...], bytes], ...] = (
        ((first, second, "-w", "1"), b"1 weights for 2 bootlogs"),
        ((first, "-w", "0"), b"weight 0"),
        ((first, tmp_path / "no"), b"no such file"),
        ((tmp_path / "empty",), b"contains no bootlog"),
        ((trace,), b"not a bootlog"),
        ((pseudo,), b"no file is left"),
        ((first, "--min-support", "101"), b"percentage"),
    )
    for arguments, words in cases:
        done = bootprof("merge", *arguments)
        assert done.returncode == 2, (arguments, done.stderr)
        assert words in done.stderr
        assert done.stdout == b""
