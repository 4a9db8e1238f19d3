# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""Command line: arguments to use cases, and the only place that prints errors."""

from __future__ import annotations

import argparse
import contextlib
import difflib
import errno
import importlib
import io
import logging
import os
import re
import signal
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

from bootprof import __version__
from bootprof.errors import BootprofError
from optimizer.formats.text import printable

# Modules of bootprof.commands, in the order of a typical workflow.
COMMANDS = (
    "build",
    "config",
    "profile",
    "convert",
    "sort",
    "reorder",
    "optimize",
    "merge",
    "check",
    "compare",
    "layout",
    "analyze",
    "readahead",
    "copy",
)

DESCRIPTION = """\
Find out which files a boot reads, and rebuild the live image so that it reads them in one pass.

  bootprof build --profiling       build the image with the profiler in it
  bootprof profile IMAGE           boot the image in QEMU; record a bootlog and a block trace
  bootprof sort bootlog.list       turn the bootlog into a sort file for mksquashfs
  bootprof compare A B             compare seek distance and modelled time of two profiles
"""


class Parser(argparse.ArgumentParser):
    """Parser of a command: rejects abbreviated options, suggests the nearest known name."""

    def __init__(self, **options: Any) -> None:
        super().__init__(
            **{"formatter_class": argparse.RawDescriptionHelpFormatter, **options},
            allow_abbrev=False,
        )

    def error(self, message: str) -> NoReturn:
        """Print the usage of this command and the message; end with status 2."""
        self.print_usage(sys.stderr)
        raise SystemExit(report(printable(message), self._near(message), 2))

    def _near(self, message: str) -> str:
        """Return a hint that names the option or command that a wrong one is nearest to."""
        found = re.search(r"(?:unrecognized arguments|invalid choice): '?([^\s']+)", message)
        if found is None:
            return f"{self.prog} --help"
        known = [
            word
            for action in self._actions
            for word in (*action.option_strings, *(action.choices or ()))
            if isinstance(word, str)
        ]
        near = difflib.get_close_matches(found[1].partition("=")[0], known, n=1)
        return f"did you mean {near[0]}?" if near else f"{self.prog} --help"


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the whole command line; man pages and completion use it too."""
    parser = Parser(prog="bootprof", description=DESCRIPTION)
    parser.add_argument("--version", action="version", version=f"bootprof {__version__}")
    parser.add_argument(
        "--debug", action="store_true", help="log every external command; show tracebacks"
    )
    subparsers = parser.add_subparsers(
        dest="command", metavar="COMMAND", required=True, parser_class=Parser
    )
    for name in COMMANDS:
        importlib.import_module(f"bootprof.commands.{name}").add_parser(subparsers)
        subparsers.choices[name].add_argument(
            "--debug", action="store_true", default=argparse.SUPPRESS, help=argparse.SUPPRESS
        )
        subparsers.choices[name].set_defaults(parser=subparsers.choices[name])
    return parser


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Parse the command line; an unknown argument is reported by the command it was given to."""
    options, unknown = build_parser().parse_known_args(arguments)
    if unknown:
        options.parser.error(f"unrecognized arguments: {' '.join(unknown)}")
    return options


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Returns:
        0 done, 1 failed, 2 wrong usage or input, 130 interrupted.
    """
    if isinstance(sys.stdout.buffer, io.RawIOBase):
        # Unbuffered (python -u), a write to a full disk is cut short without an error.
        sys.stdout = open(sys.stdout.fileno(), "w", closefd=False)  # noqa: SIM115
    # Ends like Ctrl-C, so that every `finally` and context manager cleans up.
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)
    debug = False
    try:
        try:
            options = parse(arguments)
        except SystemExit:
            # argparse raises this after --help, --version and wrong usage.
            sys.stdout.flush()
            raise
        debug = options.debug
        logging.basicConfig(
            level=logging.DEBUG if debug else logging.WARNING,
            format="bootprof: %(levelname)s: %(message)s",
        )
        status = int(options.run(options))
        sys.stdout.flush()
    except BootprofError as error:
        if debug:
            raise
        return report(error.message, error.hint, error.exit_status)
    except ModuleNotFoundError as error:
        # A key has no modules for plots.
        name = error.name or ""
        if debug or name.split(".")[0] in ("bootprof", "optimizer"):
            raise
        return report(f"this needs the Python module {name}, which is not installed", "", 1)
    except BrokenPipeError:
        # The reader, for example head, has closed the pipe.
        discard_output()
        return 1
    except OSError as error:
        if debug:
            raise
        discard_output()
        where = f"{error.filename}: " if error.filename else ""
        missing = isinstance(error, FileNotFoundError)
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        hint = "free some space, or write to another file system" if full else ""
        return report(f"{where}{error.strerror or error}", hint, 2 if missing else 1)
    except KeyboardInterrupt:
        return report("interrupted", "", 130)
    return status


def discard_output() -> None:
    """Discard buffered standard output; Python would try to write it again at exit."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def report(message: str, hint: str, status: int) -> int:
    """Print an error, and a hint if there is one, to standard error; return the exit status."""
    print(f"bootprof: error: {printable(message, limit=None)}", file=sys.stderr)
    if hint:
        print(f"bootprof: hint: {printable(hint, limit=None)}", file=sys.stderr)
    return status
