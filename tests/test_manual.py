"""The man page and the completion are made from the command line's own options."""

import argparse
import subprocess
import sys
from pathlib import Path

import pytest

from bootprof.cli import COMMANDS, build_parser

TOP = Path(__file__).parent.parent


def options_of(command: str) -> set[str]:
    (subparsers,) = (
        action
        for action in build_parser()._actions
        if isinstance(action, argparse._SubParsersAction)
    )
    parser = subparsers.choices[command]
    return {
        word for action in parser._actions for word in action.option_strings if len(word) > 2
    } - {"--help"}


@pytest.fixture(scope="module")
def manual() -> str:
    return subprocess.run(
        [
            Path(sys.executable).with_name("argparse-manpage"),
            *("--module", "bootprof.cli", "--function", "build_parser"),
            *("--project-name", "bootprof", "--prog", "bootprof"),
        ],
        cwd=TOP,
        env={"PYTHONPATH": str(TOP), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        check=True,
        text=True,
    ).stdout.replace("\\-", "-")


@pytest.mark.parametrize("command", COMMANDS)
def test_every_option_is_in_the_man_page(command: str, manual: str) -> None:
    assert f"bootprof {command}" in manual
    missing = {option for option in options_of(command) if option not in manual}
    assert not missing


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_its_page_in_the_documentation(command: str) -> None:
    page = TOP / f"docs/commands/{command}.md"
    assert page.read_text().startswith(f"# bootprof {command}\n")
