# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""The man page and the completion are made from the command line's own options."""

import argparse
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from bootprof.cli import COMMANDS, build_parser
from docs.manual import with_table

TOP = Path(__file__).parent.parent


def parser_of(command: str) -> argparse.ArgumentParser:
    (subparsers,) = (
        action
        for action in build_parser()._actions
        if isinstance(action, argparse._SubParsersAction)
    )
    parser: argparse.ArgumentParser = subparsers.choices[command]
    return parser


def options_of(command: str) -> set[str]:
    actions = [item for item in parser_of(command)._actions if item.help != argparse.SUPPRESS]
    return {word for action in actions for word in action.option_strings if len(word) > 2} - {
        "--help"
    }


@pytest.fixture(scope="module")
def manual(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the man pages."""
    folder = tmp_path_factory.mktemp("man")
    environment = {**os.environ, "PYTHONPATH": str(TOP)}
    command: list[str | Path] = [sys.executable, TOP / "docs/manual.py", folder]
    subprocess.run(command, env=environment, check=True)
    return folder


@pytest.mark.parametrize("command", COMMANDS)
def test_every_option_is_in_the_man_page_of_its_command(command: str, manual: Path) -> None:
    page = (manual / f"bootprof-{command}.1").read_text().replace("\\-", "-")
    missing = {option for option in options_of(command) if option not in page}
    assert not missing


@pytest.mark.parametrize("command", COMMANDS)
def test_a_man_page_tells_all_that_the_help_tells(command: str, manual: Path) -> None:
    page = (manual / f"bootprof-{command}.1").read_text().replace("\\-", "-")
    shown = (parser_of(command).description or "") + "\n" + (parser_of(command).epilog or "")
    assert [line for line in shown.splitlines() if line.replace("\\", "\\e") not in page] == []


@pytest.mark.parametrize("name", ["bootprof", *(f"bootprof-{command}" for command in COMMANDS)])
def test_man_and_apropos_find_the_page(name: str, manual: Path) -> None:
    program = shutil.which("lexgrog")
    if program is None:
        pytest.skip("lexgrog is not installed: apt-get install man-db")
    done = subprocess.run([program, manual / f"{name}.1"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    assert f'"{name} - ' in done.stdout


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_its_page_in_the_documentation(command: str) -> None:
    page = TOP / f"docs/commands/{command}.md"
    assert page.read_text().startswith(f"# bootprof {command}\n")


@pytest.mark.parametrize("command", COMMANDS)
def test_the_documentation_of_a_command_has_the_table_of_its_options(command: str) -> None:
    text = (TOP / f"docs/commands/{command}.md").read_text()
    assert text == with_table(text, parser_of(command)), "run: make docs-tables"
