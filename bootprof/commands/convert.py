"""``bootprof convert``."""

from __future__ import annotations

import argparse
import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bootprof.backends import IMPORTS, Recording, load
from bootprof.errors import InputError
from bootprof.files import write_output

if TYPE_CHECKING:
    from collections.abc import Callable

    from bootprof.backends.block_files import Located
    from optimizer.formats.events import Bootlog

# Formats that tell blocks of a device, not files: these need the image that was booted.
BLOCK_FORMATS = ("block", "block_dump", "tracepoints", "blkparse")
FORMATS = tuple(dict.fromkeys((*IMPORTS, *BLOCK_FORMATS)))

EPILOG = """\
formats:
  strace       output of strace -f, with times or without; -y finds every relative path
  perf         text of perf trace or perf script, if perf recorded the names of files
  ureadahead   pack file of ureadahead, or the text of ureadahead --dump
  e4rat        list of e4rat-collect, or any list of one path a line
  block        blocktrace.tsv of a profile                                     (--image)
  block_dump   the kernel's log of a boot with vm.block_dump=1                 (--image)
  tracepoints  trace_pipe with block:block_bio_queue or block:block_rq_issue   (--image)
  blkparse     text of blkparse                                                (--image)

The last four tell blocks. Files are found with the image that was booted: a squashfs, an ISO or a
disk image, whoever built it. A file counts with the confidence that its blocks give it:
  1      all of it came in reads that went there on purpose
  0.5    all of it came, but perhaps only as readahead behind another file
  0.33   its block was asked for, but other files are in that block too
  0.17   that block came, but perhaps only as readahead
  less   only a part of it came
--threshold says from which confidence on files are written; --confidence writes a table of all.

examples:
  strace -f -tt -y -o boot.strace chroot out/root /usr/bin/app
  bootprof convert --from strace boot.strace -o bootlog.list
  bootprof convert --from block out/profile/blocktrace.tsv --image live.iso --confidence all.tsv
  blkparse -i sda | bootprof convert --from blkparse /dev/stdin --image live.iso --rich
"""


def add_parser(subparsers: Any) -> None:
    """Declare the options of ``bootprof convert``."""
    parser = subparsers.add_parser(
        "convert",
        help="what other tools recorded to a bootlog",
        description="Turn what strace, perf, ureadahead, e4rat, blktrace or the kernel's own log "
        "recorded into a bootlog.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("file", type=Path, metavar="FILE", help="what was recorded")
    parser.add_argument(
        "-f",
        "--from",
        required=True,
        choices=FORMATS,
        metavar="FORMAT",
        dest="format",
        help="what recorded it, see below",
    )
    parser.add_argument(
        "-i", "--image", type=Path, metavar="IMAGE", help="image that was booted, to find files"
    )
    parser.add_argument(
        "-r", "--rich", action="store_true", help="write every event, not the distinct paths"
    )
    parser.add_argument(
        "-t",
        "--threshold",
        type=parse_confidence,
        metavar="NUMBER",
        help="leave out files of less confidence, from 0 to 1 (default: 0.15; 0: none)",
    )
    parser.add_argument(
        "-c",
        "--confidence",
        type=Path,
        metavar="FILE",
        help="write path, confidence, bytes covered and bytes in all of every file touched",
    )
    parser.add_argument(
        "-o", "--output", type=Path, metavar="FILE", help="file to write (default: standard output)"
    )
    parser.set_defaults(run=run)


def parse_confidence(text: str) -> float:
    """Read a confidence from 0 to 1."""
    try:
        number = float(text)
    except ValueError:
        number = -1.0
    if not 0 <= number <= 1:
        raise argparse.ArgumentTypeError(f"{text!r}: give a number from 0 to 1")
    return number


def run(options: argparse.Namespace) -> int:
    """Convert and write."""
    if not options.file.exists() or options.file.is_dir():
        raise InputError(f"{options.file}: no such file", hint="give what the tool wrote")
    table: bytes | None = None
    if options.format in BLOCK_FORMATS:
        located = locate(options)
        bootlog = located.bootlog(options.threshold)
        if options.confidence is not None:
            content = io.BytesIO()
            located.write_confidence(content)
            table = content.getvalue()
    else:
        if options.confidence is not None or options.threshold is not None:
            raise InputError(
                f"--from {options.format} names files, so there is no confidence in them",
                hint="--threshold and --confidence are for " + ", ".join(BLOCK_FORMATS),
            )
        recording = Recording(files={options.format: options.file})
        bootlog = load(options.format).read(recording)
    if table is not None:
        write_output(options.confidence, table)
    write_output(options.output, encoded(bootlog, rich=options.rich))
    report(bootlog)
    return 0


def locate(options: argparse.Namespace) -> Located:
    """Find the files of a format that tells blocks."""
    import importlib

    if options.image is None:
        raise InputError(
            f"--from {options.format} tells blocks; files can only be found with the image",
            hint="give the image that was booted: --image",
        )
    module = importlib.import_module(
        f"bootprof.imports.{options.format}"
        if options.format in IMPORTS
        else f"bootprof.backends.{options.format}"
    )
    if options.format == "block":
        from bootprof.commands.inputs import load_trace
        from optimizer.images.image import open_image

        if not options.image.is_file():
            raise InputError(f"{options.image}: no such image")
        trace = load_trace(options.file, open_image(options.image))
        recording = Recording(image=options.image, block_trace=trace)
    else:
        name = getattr(module, "LOG_NAME", options.format)
        recording = Recording(files={name: options.file}, image=options.image)
    locate_files: Callable[[Recording], Located] = module.locate_files
    return locate_files(recording)


def encoded(bootlog: Bootlog, *, rich: bool) -> bytes:
    """Return a bootlog as bytes, plain or rich."""
    from optimizer.formats.bootlog import write_plain, write_rich
    from optimizer.order import PSEUDO_FILE_SYSTEMS

    content = io.BytesIO()
    if rich:
        write_rich(content, bootlog)
        return content.getvalue()
    pseudo = [system in PSEUDO_FILE_SYSTEMS for system in bootlog.file_systems]
    numbers = bootlog.events[["path", "file_system"]].tolist()
    paths = dict.fromkeys(bootlog.paths[path] for path, system in numbers if not pseudo[system])
    write_plain(content, (path for path in paths if path.startswith(b"/")))
    return content.getvalue()


def report(bootlog: Bootlog) -> None:
    """Say on standard error what was found, and what is missing."""
    from bootprof.progress import note

    note(f"bootprof: {len(bootlog.events):,} events of {len(bootlog.paths):,} files")
    if bootlog.lost:
        note(f"bootprof: {bootlog.lost:,} records are missing or could not be given a path")
    below = int(bootlog.header.get("files_below_threshold", "0"))
    if below:
        threshold = bootlog.header["confidence_threshold"]
        note(f"bootprof: {below:,} more files were touched, with a confidence below {threshold}")
