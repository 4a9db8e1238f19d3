# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""``bootprof copy``."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING

from bootprof.commands.inputs import add_path

if TYPE_CHECKING:
    from bootprof.commands.inputs import Parsers

EPILOG = """\
DEVICE is a whole disk, by its path or its serial number, a drive that writes discs, or an existing
regular file. Disks that are mounted, that hold active swap, RAID, LVM or encryption, and read-only
disks are refused. All blocks are read back from the device and compared. Until the last write, the
device boots to a menu that says that the copy is incomplete; with --keep, it stays as it was.

A live system with `live.tools = true` does the same with its own medium: bootprof-live copy.

exit status: 0 done, 1 failed, 2 wrong usage or a refused disk, 130 interrupted

examples:
  bootprof copy out/live.iso /dev/sdb --dry-run
  bootprof copy out/live.iso /dev/sdb
  bootprof copy out/live.img /dev/sdb --persistence rest
"""


def add_parser(subparsers: Parsers) -> None:
    """Declare the options of ``bootprof copy``."""
    parser = subparsers.add_parser(
        "copy",
        help="write an image to a stick, read it back and compare it",
        description="Write an image to a stick or disk, read it back from the device and compare\n"
        "it. Without --keep, everything on the device is lost.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_path(parser, "image", metavar="IMAGE", help="ISO or disk image")
    add_path(parser, "device", metavar="DEVICE", help="disk to write to, for example /dev/sdb")
    parser.add_argument(
        "--keep",
        action="store_true",
        help="keep the partitions of the device, and add the live system behind them",
    )
    parser.add_argument(
        "--persistence",
        metavar="SIZE",
        help='add a partition for changes: "rest", or a size such as 500M or 4G',
    )
    parser.add_argument(
        "--encrypted",
        action="store_true",
        help="encrypt it; asks for a passphrase, or reads it from standard input with --yes",
    )
    parser.add_argument("--yes", action="store_true", help="do not ask")
    parser.add_argument(
        "--dry-run", action="store_true", help="check and say what would be done; write nothing"
    )
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Copy by the program that live systems have, which takes over this process."""
    from bootprof.process import become
    from bootprof.sources import LIVE_TOOL

    flags = [
        *(("--keep",) if options.keep else ()),
        *(("--persistence", options.persistence) if options.persistence else ()),
        *(("--encrypted",) if options.encrypted else ()),
        *(("--yes",) if options.yes else ()),
        *(("--dry-run",) if options.dry_run else ()),
    ]
    # A serial number stays as it is.
    device = options.device.absolute() if options.device.exists() else options.device
    if not options.dry_run:
        _provide_marker()
    become(["sh", LIVE_TOOL, "copy", "--from", options.image.absolute(), *flags, device])


def _provide_marker() -> None:
    """Hand on what the device boots until the copy is complete, in a file without a name."""
    from bootprof import progress
    from bootprof.builder.media.incomplete import NAME, make_incomplete
    from bootprof.errors import ToolError
    from bootprof.files import scratch_folder

    with scratch_folder() as folder:
        marker = folder / Path(NAME).name
        try:
            make_incomplete(marker, epoch=0)
        except ToolError as error:
            progress.note(f"until the copy is complete, the device boots nothing: {error}")
            return
        descriptor = os.memfd_create(marker.name, 0)
        os.write(descriptor, marker.read_bytes())
    os.environ["BOOTPROF_LIVE_MARKER"] = f"/proc/self/fd/{descriptor}"
