# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""The command line: errors are one line and a status, whatever the command."""

import subprocess
import sys
from pathlib import Path

import pytest

from bootprof.cli import COMMANDS, main

TOP = Path(__file__).parent.parent


def bootprof(*arguments: str, output: str | None = None) -> subprocess.CompletedProcess[str]:
    with Path(output or "/dev/null").open("w") as stream:
        return subprocess.run(
            [sys.executable, "-m", "bootprof", *arguments],
            cwd=TOP,
            stdin=subprocess.DEVNULL,
            stdout=stream if output else subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )


@pytest.mark.parametrize("command", COMMANDS)
def test_an_unknown_option_is_an_error_of_its_command(command: str) -> None:
    done = bootprof(command, "--frobnicate")
    assert done.returncode == 2
    assert f"usage: bootprof {command}" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_near_match_is_named() -> None:
    assert "did you mean --root?" in bootprof("sort", "--roof", "x").stderr
    assert "did you mean sort?" in bootprof("srot").stderr


def test_options_are_not_abbreviated() -> None:
    assert bootprof("sort", "--form", "list").returncode == 2


@pytest.mark.parametrize(
    "arguments", [["--help"], ["--version"], *([c, "--help"] for c in COMMANDS)]
)
def test_help_that_cannot_be_written_is_an_error(arguments: list[str]) -> None:
    done = bootprof(*arguments, output="/dev/full")
    assert done.returncode == 1
    assert done.stderr == (
        "bootprof: error: No space left on device\n"
        "bootprof: hint: free some space, or write to another file system\n"
    )


def test_debug_may_stand_before_and_behind_the_command() -> None:
    for arguments in (["--debug", "sort", "/nowhere"], ["sort", "--debug", "/nowhere"]):
        done = bootprof(*arguments)
        assert "Traceback" in done.stderr


def test_escape_sequences_of_an_argument_do_not_reach_the_terminal() -> None:
    done = bootprof("sort", "\x1b]0;title\x07")
    assert "\x1b" not in done.stderr
    assert "\\x1b]0;title\\x07" in done.stderr


def test_a_python_module_that_is_missing_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    # An entry of None makes an import fail as if there were none.
    monkeypatch.setitem(sys.modules, "tomllib", None)
    monkeypatch.delitem(sys.modules, "bootprof.builder.layers", raising=False)
    assert main(["config"]) == 1
    said = capsys.readouterr().err
    assert said == "bootprof: error: this needs the Python module tomllib, which is not installed\n"
