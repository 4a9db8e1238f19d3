# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""Argument types, options and input lookup shared by the commands.

Large modules are imported only when a command runs, so that ``bootprof --help`` stays fast.
"""

from __future__ import annotations

import argparse
import io
import math
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Final

from bootprof.errors import InputError
from bootprof.files import STANDARD_STREAM
from bootprof.progress import note
from optimizer.formats import BOOTLOG_NAMES, TRACE_NAME

if TYPE_CHECKING:
    from bootprof.boot.qemu import Machine
    from bootprof.boot.record import Recording
    from bootprof.report.comparison import Build
    from optimizer.drives.models import Drive
    from optimizer.formats.blocktrace import BlockTrace
    from optimizer.images.image import Image
    from optimizer.images.layout import Layout
    from optimizer.images.reorder import Place, Wanted

    Parsers = argparse._SubParsersAction[argparse.ArgumentParser]

DEFAULT_DRIVE: Final = "cd-24x"

# shtab's names for the completion of files and of folders in each shell.
FILES: Final = {"bash": "_shtab_compgen_files", "zsh": "_files", "tcsh": "f"}
FOLDERS: Final = {"bash": "_shtab_compgen_dirs", "zsh": "_files -/", "tcsh": "d"}


def add_path(
    parser: argparse._ActionsContainer, *names: str, folder: bool = False, **options: Any
) -> None:
    """Declare an argument or option that names a file or a folder, with its completion."""
    action = parser.add_argument(*names, **{"type": Path, **options})
    action.complete = FOLDERS if folder else FILES  # type: ignore[attr-defined]


def add_output(parser: argparse._ActionsContainer, what: str = "file to write") -> None:
    """Declare ``--output`` of a command that writes one file."""
    add_path(
        parser,
        "-o",
        "--output",
        metavar="FILE",
        help=f"{what}, or a pipe or device (default: standard output)",
    )


def add_config(parser: argparse._ActionsContainer) -> None:
    """Declare the options that choose the configuration of an image."""
    add_path(
        parser,
        "-c",
        "--config",
        default=Path("config/live.cfg"),
        metavar="FILE",
        help="configuration (default: %(default)s)",
    )
    parser.add_argument(
        "-D",
        "--define",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="override a setting, for example system.arch=i386 (can be repeated)",
    )


def add_drive(parser: argparse._ActionsContainer, what: str) -> None:
    """Declare ``--drive`` of a command that models one drive."""
    parser.add_argument(
        "-d",
        "--drive",
        default=DEFAULT_DRIVE,
        metavar="DRIVE",
        help=f"{what}: a name listed by bootprof compare --help, or a TOML file "
        "(default: %(default)s)",
    )


def number(text: str) -> int:
    """Parse a number of bytes: decimal, or hexadecimal with the prefix 0x."""
    try:
        # Reject what is longer than any 64-bit number before parsing it.
        value = int(text, 0) if len(text) <= 66 else -1
    except ValueError:
        value = -1
    # No image is this large, and offset plus length must fit into 64 bits.
    if not 0 <= value < 1 << 62:
        raise argparse.ArgumentTypeError(
            f"{text!r}: give a number of bytes, for example 4096 or 0x1000"
        )
    return value


def percent(text: str) -> float:
    """Parse a percentage from 0 to 100, with or without a percent sign."""
    return _fraction(text.removesuffix("%"), 100, f"{text!r}: give a percentage from 0 to 100")


def share(text: str) -> float:
    """Parse a number from 0 to 1."""
    return _fraction(text, 1, f"{text!r}: give a number from 0 to 1")


def _fraction(text: str, most: float, message: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= most:
        raise argparse.ArgumentTypeError(message)
    return value


@contextmanager
def open_input(given: Path, hint: str) -> Iterator[tuple[str, BinaryIO]]:
    """Open a file, or standard input (``-``), as a seekable stream.

    Args:
        given: Path from the command line.
        hint: Hint of the error, if the file cannot be opened.

    Yields:
        Name for messages, and the stream.

    Raises:
        InputError: It cannot be opened, or standard input is a terminal.
    """
    if given == STANDARD_STREAM:
        if sys.stdin.isatty():
            raise InputError("standard input is a terminal, not a file or pipe", hint=hint)
        yield "standard input", io.BytesIO(sys.stdin.buffer.read())
        return
    try:
        stream = given.open("rb")
    except OSError as error:
        raise InputError(f"{given}: {error.strerror}", hint=hint) from None
    with stream:
        # A pipe (/dev/stdin, or <(...) of a shell) cannot be rewound.
        yield str(given), stream if stream.seekable() else io.BytesIO(stream.read())


def find_bootlog(given: Path, hint: str = "record a profile with bootprof profile") -> Path:
    """Return the bootlog of a profile's folder; a file, or ``-``, is returned unchanged.

    Raises:
        InputError: There is none.
    """
    return _find(given, BOOTLOG_NAMES, "bootlog", hint)


def find_trace(given: Path, hint: str = "record a profile with bootprof profile") -> Path:
    """Return the block trace of a profile's folder; a file, or ``-``, is returned unchanged.

    Raises:
        InputError: There is none.
    """
    return _find(given, (TRACE_NAME,), "block trace", hint)


def _find(given: Path, names: Sequence[str], what: str, hint: str) -> Path:
    if given == STANDARD_STREAM:
        return given
    if not given.is_dir():
        if not given.exists():
            raise InputError(f"{given}: no such file or folder", hint=hint)
        return given
    for name in names:
        if (given / name).is_file():
            return given / name
    raise InputError(f"{given}: contains no {what} ({' or '.join(names)})", hint=hint)


def choose_drives(wanted: Sequence[str]) -> list[Drive]:
    """Return the drives with these names, or from these TOML files.

    Raises:
        InputError: There is no such drive.
    """
    from optimizer.drives.models import DRIVES, load_drive

    drives: list[Drive] = []
    for name in wanted:
        if name in DRIVES:
            drive = DRIVES[name]
        elif name.endswith(".toml"):
            with Path(name).open("rb") as stream:
                drive = load_drive(stream, name)
        else:
            raise InputError(
                f"no such drive: {name}", hint=f"known: {', '.join(DRIVES)}, or a .toml file"
            )
        drives.append(drive)
    return drives


def load_trace(path: Path, image: Image) -> BlockTrace:
    """Read a block trace and check that it belongs to this image.

    Raises:
        InputError: It belongs to another image, or contains no reads.
    """
    from optimizer.formats.blocktrace import read_block_trace
    from optimizer.images.image import check_trace

    with path.open("rb") as stream:
        trace = read_block_trace(stream, str(path))
    check_trace(image, trace, str(path))
    if not len(trace.reads):
        raise InputError(f"{path}: contains no reads", hint="profile the image again")
    return trace


def load_build(given: Path, label: str | None = None) -> Build:
    """Return the build of a profile's folder, of a block trace file, or of standard input (``-``).

    Raises:
        InputError: There is none.
        FormatError: It is no block trace.
    """
    from bootprof.report.comparison import read_build

    hint = "record a profile with bootprof profile"
    file = find_trace(given, hint)
    with open_input(file, hint) as (_, stream):
        return read_build(stream, file, label)


def add_squashfs(parser: argparse._ActionsContainer) -> None:
    """Declare ``--squashfs`` and ``--squashfs-offset`` of a command that opens an image."""
    choice = parser.add_mutually_exclusive_group()
    choice.add_argument(
        "--squashfs",
        metavar="PATH",
        help="path in the ISO of the squashfs to use (default: the largest one)",
    )
    choice.add_argument(
        "--squashfs-offset",
        type=number,
        metavar="BYTES",
        help="offset of the squashfs in IMAGE (default: find it)",
    )


def add_unsigned(parser: argparse._ActionsContainer) -> None:
    """Declare ``--allow-unsigned`` of a command that writes an image anew."""
    parser.add_argument(
        "--allow-unsigned",
        action="store_true",
        help="go on if signatures or root hashes of dm-verity in IMAGE will no longer match; they "
        "are left as they are",
    )


def add_place(parser: argparse._ActionsContainer) -> None:
    """Declare ``--place`` of a command that puts files into another order."""
    parser.add_argument(
        "-p",
        "--place",
        choices=("start", "end"),
        default="end",
        help="start: in front of all other files; end: behind them, next to the tables of the "
        "image (default: %(default)s)",
    )


def open_chosen(path: Path, options: argparse.Namespace) -> Image:
    """Open an image with the squashfs that the options select, and print remarks about it.

    Raises:
        InputError: The image has no such squashfs.
        FormatError: There is no squashfs in the image, or it is corrupt.
    """
    from optimizer.images.image import open_image

    image = open_image(path, offset_bytes=options.squashfs_offset, squashfs=options.squashfs)
    for remark in image.remarks:
        note(f"bootprof: {remark}")
    return image


def wanted_paths(path: Path) -> list[bytes]:
    """Return the paths of a bootlog, sort file or list that may be on an image, in their order."""
    from optimizer.formats.sortfile import distinct_paths_of
    from optimizer.order import IMAGE_EXCLUDES, NOT_ON_IMAGE, arrange, compile_excludes

    with path.open("rb") as stream:
        listed = distinct_paths_of(stream, str(path), skip=NOT_ON_IMAGE, skipped=set())
    for sentence in listed.said:
        print(f"bootprof: {sentence}", file=sys.stderr)
    arranged = arrange(listed.paths, excluded=compile_excludes(IMAGE_EXCLUDES), root=None)
    return arranged.paths


def wanted_by_bootlog(layout: Layout, path: Path, place: Place) -> Wanted:
    """Return the order of a bootlog, sort file or list.

    A file system whose metadata can be moved block by block also gets the ranges that the boot
    needs of it, in their order, as far as the bootlog says when what was needed.
    """
    from optimizer.formats import EVENTS_MAGIC
    from optimizer.formats.bootlog import read_bootlog
    from optimizer.images.reorder import Wanted
    from optimizer.replay import reads_of_demand
    from optimizer.spans import spans_of

    paths = wanted_paths(path)
    if not layout.metadata_is_together:
        with path.open("rb") as stream:
            if stream.read(len(EVENTS_MAGIC)) == EVENTS_MAGIC:
                stream.seek(0)
                reads = reads_of_demand(layout, read_bootlog(stream, str(path)))
                return Wanted(
                    paths,
                    spans_of(reads),
                    place,
                    for_layout=lambda other: wanted_by_bootlog(other, path, place),
                )
    return Wanted(paths, place=place)


def add_boot(parser: argparse._ActionsContainer) -> None:
    """Add the options of a boot: what records it, until when, and on which machine."""
    parser.add_argument(
        "-b",
        "--backend",
        default="auto",
        metavar="NAME",
        help="backend, see bootprof profile --help (default: %(default)s)",
    )
    parser.add_argument(
        "-u",
        "--until",
        default="console:login:",
        metavar="TARGET",
        help="boot target (default: %(default)s)",
    )
    parser.add_argument(
        "-e",
        "--entry",
        metavar="ENTRY",
        help="number or title of the boot entry whose kernel is started (default: the one that "
        "the image's boot menu starts by itself)",
    )
    parser.add_argument(
        "--append",
        action="append",
        default=[],
        metavar="OPTIONS",
        help="add to the command line of the image's own kernel; repeatable",
    )
    add_path(
        parser,
        "--cache",
        folder=True,
        default=Path("out/cache"),
        metavar="DIR",
        help="folder for the compiled profiler (default: %(default)s)",
    )
    parser.add_argument(
        "-t",
        "--timeout",
        type=positive,
        default=600.0,
        metavar="SECONDS",
        help="give up after this time (default: %(default)g)",
    )
    parser.add_argument(
        "--memory",
        type=count,
        default=1024,
        metavar="MIB",
        help="memory of the machine (default: %(default)s MiB)",
    )
    parser.add_argument(
        "--firmware",
        choices=("bios", "uefi"),
        default="bios",
        help="firmware of the machine (default: %(default)s)",
    )
    parser.add_argument(
        "--medium",
        choices=("disk", "cdrom", "sata", "usb", "nvme"),
        default="disk",
        help="attach the image as a virtio disk, a SCSI CD-ROM, a SATA CD-ROM, a USB stick or an "
        "NVMe drive (default: %(default)s)",
    )
    parser.add_argument(
        "--board",
        choices=("pc", "q35"),
        default="pc",
        help="QEMU's machine: pc, or q35 with another network card and sound "
        "(default: %(default)s)",
    )


def recording_of(options: argparse.Namespace, machine: Machine) -> Recording:
    """Return how a boot is recorded, from the options of :func:`add_boot`.

    Raises:
        InputError: There is no such boot target.
    """
    from bootprof.boot.record import Recording
    from bootprof.boot.target import parse_target

    return Recording(
        backend=options.backend,
        entry=options.entry,
        append=options.append,
        cache=options.cache,
        machine=machine,
        target=parse_target(options.until),
        timeout_seconds=options.timeout,
    )


def positive(text: str) -> float:
    """Parse a number above 0."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not (math.isfinite(value) and value > 0):
        raise argparse.ArgumentTypeError(f"{text!r}: give a number above 0")
    return value


def count(text: str) -> int:
    """Parse a whole number from 1 to 999999."""
    if not (text.isascii() and text.isdigit() and len(text) <= 6 and int(text) > 0):
        raise argparse.ArgumentTypeError(f"{text!r}: give a whole number from 1 to 999999")
    return int(text)
