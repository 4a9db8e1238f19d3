# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""``bootprof reorder``."""

from __future__ import annotations

import argparse
import contextlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from bootprof.commands.inputs import (
    add_path,
    add_place,
    add_squashfs,
    add_unsigned,
    find_bootlog,
    load_trace,
    open_chosen,
    wanted_by_bootlog,
)
from bootprof.errors import InputError

if TYPE_CHECKING:
    from bootprof.commands.inputs import Parsers
    from optimizer.images.image import Image
    from optimizer.images.reorder import Wanted

EPILOG = """\
ORDER is one of these:
  - a bootlog of any image with the same files, or a sort file or list of paths
  - the block trace of a boot of this IMAGE
  - a folder written by bootprof profile; its bootlog is used, or else its block trace

The compressed blocks of files are moved and the tables are written anew. Nothing is unpacked: it
takes seconds, and needs neither root privileges nor the tree that the image was built from. Of a
squashfs, only the ends of files that share a block with others are compressed again; of an EROFS,
nothing is, and of large files only the parts move that a bootlog with events or a block trace has.
An EROFS whose packed clusters mix the files of the boot with others is unpacked and packed again
instead; that needs root, mkfs.erofs 1.8 or newer, and the time to pack the image.
Every file of the result is compared with the original before OUT appears.

In an ISO or disk image, the new file system takes the place of the old one, and nothing else moves.
If it does not fit there, xorriso replaces it in the ISO. Checksum files in an ISO (md5sum.txt,
SHA256SUMS and others) are renewed. An image whose signatures will no longer match is refused.

examples:
  bootprof reorder live.iso out/profile -o faster.iso
  bootprof reorder filesystem.squashfs bootlog.list -o sorted.squashfs
"""


def add_parser(subparsers: Parsers) -> None:
    """Declare the options of ``bootprof reorder``."""
    parser = subparsers.add_parser(
        "reorder",
        help="put a finished image into the order of a boot, without unpacking it",
        description="Put the file system of a finished image into the order of a recorded boot.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_path(parser, "image", metavar="IMAGE", help="squashfs, EROFS, ISO or disk image")
    add_path(parser, "order", metavar="ORDER", help="bootlog, sort file, block trace or profile")
    add_path(parser, "-o", "--output", required=True, metavar="OUT", help="image to write")
    add_place(parser)
    add_unsigned(parser)
    add_squashfs(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Reorder, and print what was done."""
    from bootprof.checksums import checked_covering
    from bootprof.rewrite import refuse_same, rewrite

    image = open_chosen(options.image, options)
    refuse_same(options.image, options.output)
    wanted = wanted_order(image, options)
    if not len(wanted.paths) and not len(wanted.spans):
        raise InputError(
            f"{options.order}: names nothing to place",
            hint="give a bootlog with absolute paths of files on the image",
        )
    covering = checked_covering(image, allow_unsigned=options.allow_unsigned)
    done = rewrite(image, wanted, options.output, covering)
    if not done.reordered.placed_bytes:
        print(f"bootprof: warning: no file of {options.order} is on the image", file=sys.stderr)
    for sentence in done.sentences():
        print(f"bootprof: {sentence}", file=sys.stderr)
    return 0


def wanted_order(image: Image, options: argparse.Namespace) -> Wanted:
    """Return the order, by paths or by ranges of the image.

    A block trace also has what the kernel read ahead of it, so a bootlog says more.
    """
    from optimizer.formats import TRACE_MAGIC
    from optimizer.images.reorder import Wanted
    from optimizer.spans import spans_of

    given: Path = options.order
    if given.is_dir():
        trace = given / "blocktrace.tsv"
        with contextlib.suppress(InputError):
            trace = find_bootlog(given)
        given = trace
    with given.open("rb") as stream:
        is_trace = stream.read(len(TRACE_MAGIC)) == TRACE_MAGIC
    if is_trace:
        return Wanted(spans=spans_of(load_trace(given, image).reads), place=options.place)
    return wanted_by_bootlog(image.layout(), given, options.place)
