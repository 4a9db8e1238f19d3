# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""The C programs of a guest, built for this host: as images get them, or checked by sanitizers."""

import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

TOP = Path(__file__).parents[2]
GUEST = TOP / "bootprof/guest"
CHECKS = ("-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-fno-omit-frame-pointer")
# The programs end with what they have allocated.
ENVIRONMENT = {"ASAN_OPTIONS": "detect_leaks=0:abort_on_error=0:exitcode=99", "PATH": "/bin"}
COMPLAINTS = (b"AddressSanitizer", b"runtime error")


@dataclass(frozen=True)
class Program:
    """A program that is built by a Makefile, or of one source file.

    Attributes:
        name: Its name.
        folder: Folder of its sources.
        source: The one source file, if it has no Makefile.
    """

    name: str
    folder: Path
    source: str = ""


AGENT = Program("agent", GUEST / "agent")
LIVE_MEDIUM_ID = Program("live_medium_id", GUEST / "initrd", "live_medium_id.c")
READAHEAD = Program("bootprof-readahead", GUEST / "readahead", "bootprof-readahead.c")
TRACE = Program("bootprof-trace", TOP / "ebpf")
WATCH = Program("bootprof-watch", GUEST / "watch")
PROGRAMS = (AGENT, LIVE_MEDIUM_ID, READAHEAD, TRACE, WATCH)


def build(
    program: Program, folder: Path, *flags: str, static: bool = True, settings: Sequence[str] = ()
) -> Path:
    """Build a program; returns its path.

    Args:
        program: Which one.
        folder: Folder to make it in.
        flags: Options for the compiler, beside those that images use.
        static: Without libraries, as in an image.
        settings: Variables for make, as ``M32=-m32``.
    """
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / program.name
    words: list[str | Path]
    if program.source:
        link = ["-static"] if static else []
        flags = ("-Wall", "-Wextra", "-Werror", *flags, *link)
        words = ["gcc", *flags, "-o", target, program.folder / program.source]
    else:
        words = ["make", "-C", program.folder, f"BUILD={folder}", *settings]
        words += [f"CFLAGS=-O1 -g {' '.join(flags)}"] if flags else []
        words += [] if static else ["LINK="]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return target


def build_checked(program: Program, folder: Path, *flags: str) -> Path:
    """Build a program that ends at the first wrong access or undefined operation."""
    return build(program, folder, "-O1", "-g", *CHECKS, *flags, static=False)


def run_checked(
    program: Path, *words: str | bytes | Path, environment: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[bytes]:
    """Run a program that :func:`build_checked` built, and require that it had no complaint."""
    done = subprocess.run(
        [program, *words],
        capture_output=True,
        timeout=120,
        check=False,
        env=ENVIRONMENT | dict(environment or {}),
    )
    assert done.returncode >= 0, f"signal {-done.returncode}: {done.stderr!r}"
    assert not any(complaint in done.stderr for complaint in COMPLAINTS), done.stderr.decode(
        errors="replace"
    )
    return done
