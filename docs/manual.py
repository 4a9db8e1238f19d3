# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""Write the documentation of the options: the man pages, and the tables in docs/commands.

    python docs/manual.py FOLDER      bootprof.1, and bootprof-COMMAND.1 for each command
    python docs/manual.py --tables    the section "Options" of each docs/commands/COMMAND.md

All text comes from the command line's own parser (``bootprof.cli.build_parser``).
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

from argparse_manpage.manpage import Manpage

from bootprof import __version__
from bootprof.cli import build_parser

DOCUMENTS = Path(__file__).parent / "commands"
HEADING = "## Options"
SUMMARY = "profile the boot of live images, and order what they read"


def commands(parser: argparse.ArgumentParser) -> Iterator[tuple[str, str, argparse.ArgumentParser]]:
    """Yield name, summary and parser of each command."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for choice in action._choices_actions:
                yield choice.dest, choice.help or "", action.choices[choice.dest]


def as_roff(text: str) -> str:
    """Return a text for man: indented lines stay lines, all others are filled."""
    lines = []
    literal = False
    for line in text.strip("\n").splitlines():
        if line.strip() and line.startswith("  ") != literal:
            literal = not literal
            lines.append(".nf" if literal else ".fi")
        escaped = line.replace("\\", "\\e").replace("-", "\\-")
        lines.append("\\&" + escaped if escaped.startswith((".", "'")) else escaped)
    return "\n".join([*lines, *([".fi"] if literal else [])])


def page(parser: argparse.ArgumentParser, name: str, summary: str) -> str:
    """Return a man page.

    Args:
        parser: The parser whose options and texts go in; its own texts are taken out of it.
        name: The page's own name; what man and apropos look for.
        summary: What stands beside the name, in one line.
    """
    description, notes = parser.description or "", parser.epilog or ""
    parser.description = parser.epilog = None
    data = {"project_name": "bootprof", "version": __version__, "manual_title": "bootprof manual"}
    manual = Manpage(parser, data)
    manual.prog, manual.description = name, summary
    head, synopsis, rest = str(manual).partition(".SH SYNOPSIS\n")
    before, heading, options = rest.partition("\n.SH ")
    # Two lines of usage, then the positional arguments without a section of their own.
    program, usage, *arguments = before.split("\n")
    parts = [head, synopsis, f"{program}\n{usage}\n", ".SH DESCRIPTION\n", as_roff(description)]
    if any(arguments):
        parts += ["\n.SH ARGUMENTS\n", "\n".join(arguments).strip("\n")]
    return "".join([*parts, heading, options, f".SH NOTES\n{as_roff(notes)}\n" if notes else ""])


def pages() -> Iterator[tuple[str, str]]:
    """Yield the name and the text of each page."""
    parser = build_parser()
    known = list(commands(parser))
    for name, summary, command in known:
        yield f"bootprof-{name}", page(command, f"bootprof-{name}", summary)
    # The page of the whole names the commands; their options are in pages of their own.
    listed = "\n".join(f"  {f'bootprof-{name}(1)':21} {summary}" for name, summary, _ in known)
    parser.epilog = f"Each command has a page of its own:\n\n{listed}"
    parser._action_groups = [group for group in parser._action_groups if group.title == "options"]
    yield "bootprof", page(parser, "bootprof", SUMMARY)


def table(parser: argparse.ArgumentParser) -> str:
    """Return the arguments and options of a command as a section of its documentation."""
    formatter = parser._get_formatter()
    lines = [HEADING, "", "| argument or option | meaning |", "| --- | --- |"]
    for action in parser._actions:
        if isinstance(action, argparse._HelpAction) or action.help == argparse.SUPPRESS:
            continue
        words = [formatter._format_args(action, action.dest.upper())]
        if action.option_strings:
            value = f" {words[0]}" if action.nargs != 0 else ""
            words = [option + value for option in action.option_strings]
        meaning = " ".join(formatter._expand_help(action).split()) if action.help else ""
        cells = ", ".join(f"`{word}`" for word in words), meaning
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines) + "\n"


def with_table(text: str, parser: argparse.ArgumentParser) -> str:
    """Return the documentation of a command with a new section of options, its last."""
    return text.partition(f"\n{HEADING}\n")[0].rstrip("\n") + "\n\n" + table(parser)


def main() -> None:
    """Write the pages into the folder that is named, or the tables."""
    if sys.argv[1:] == ["--tables"]:
        for name, _, parser in commands(build_parser()):
            document = DOCUMENTS / f"{name}.md"
            document.write_text(with_table(document.read_text(), parser))
        return
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in pages():
        (folder / f"{name}.1").write_text(text)


if __name__ == "__main__":
    main()
