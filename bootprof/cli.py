"""Command line: arguments to use cases, and the only place that prints errors."""

from __future__ import annotations

import argparse
import errno
import importlib
import io
import logging
import os
import signal
import sys
from collections.abc import Sequence

from bootprof import __version__
from bootprof.errors import BootprofError

# Modules of bootprof.commands, in the order in which a person needs them.
COMMANDS = (
    "build",
    "profile",
    "convert",
    "sort",
    "merge",
    "check",
    "compare",
    "layout",
    "analyze",
    "readahead",
)

DESCRIPTION = """\
Find out which files a boot reads, and rebuild the live image so that it reads them in one pass.

  bootprof build --profiling       build the image with the profiler in it
  bootprof profile IMAGE           boot it in QEMU, harvest the bootlog and the block trace
  bootprof sort bootlog.list       turn the bootlog into a sort file for mksquashfs
  bootprof compare A B             seek distance and modelled time of two profiles
"""


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the whole command line; man pages and completion come from it too."""
    parser = argparse.ArgumentParser(
        prog="bootprof",
        description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"bootprof {__version__}")
    parser.add_argument(
        "--debug", action="store_true", help="log every external command; show tracebacks"
    )
    subparsers = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name in COMMANDS:
        importlib.import_module(f"bootprof.commands.{name}").add_parser(subparsers)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Returns:
        0 done, 1 failed, 2 wrong usage or input, 130 interrupted.
    """
    options = build_parser().parse_args(arguments)
    logging.basicConfig(
        level=logging.DEBUG if options.debug else logging.WARNING,
        format="bootprof: %(levelname)s: %(message)s",
    )
    if isinstance(sys.stdout.buffer, io.RawIOBase):
        # Unbuffered (python -u), a write to a full disk takes a part and does not say so.
        sys.stdout = open(sys.stdout.fileno(), "w", closefd=False)  # noqa: SIM115
    # Ends like Ctrl-C, so that every `finally` and context manager on the way out cleans up.
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)
    try:
        status = int(options.run(options))
        sys.stdout.flush()
    except BootprofError as error:
        if options.debug:
            raise
        return report(error.message, error.hint, error.exit_status)
    except BrokenPipeError:
        # The reader (head, say) has seen enough; keep the interpreter from complaining at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:
        if options.debug:
            raise
        where = f"{error.filename}: " if error.filename else ""
        missing = isinstance(error, FileNotFoundError)
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        hint = "make room, or write to another file system" if full else ""
        return report(f"{where}{error.strerror or error}", hint, 2 if missing else 1)
    except KeyboardInterrupt:
        return report("interrupted", "", 130)
    return status


def report(message: str, hint: str, status: int) -> int:
    """Print an error, and a hint if there is one, to standard error; return the exit status."""
    print(f"bootprof: error: {message}", file=sys.stderr)
    if hint:
        print(f"bootprof: hint: {hint}", file=sys.stderr)
    return status
