# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""``bootprof copy``."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from bootprof.commands.inputs import add_path

if TYPE_CHECKING:
    from bootprof.commands.inputs import Parsers

EPILOG = """\
DEVICE is a whole disk, or an existing regular file. Disks that are mounted, that hold active swap,
RAID, LVM or encryption, and read-only disks are refused. The first MiB, without which nothing
boots, is written last, after all other blocks were read back from the device and compared.

A live system with `live.tools = true` does the same with its own medium: bootprof-live copy DEVICE.

exit status: 0 done, 1 failed, 2 wrong usage or a refused disk, 130 interrupted

examples:
  bootprof copy out/live.iso /dev/sdb --dry-run
  bootprof copy out/live.iso /dev/sdb
"""


def add_parser(subparsers: Parsers) -> None:
    """Declare the options of ``bootprof copy``."""
    parser = subparsers.add_parser(
        "copy",
        help="write an image to a stick, read it back and compare it",
        description="Write an image to a stick or disk, read it back from the device and compare\n"
        "it. Everything on the device is lost.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_path(parser, "image", metavar="IMAGE", help="ISO or disk image")
    add_path(parser, "device", metavar="DEVICE", help="disk to write to, for example /dev/sdb")
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
        *(("--yes",) if options.yes else ()),
        *(("--dry-run",) if options.dry_run else ()),
    ]
    image, device = options.image.absolute(), options.device.absolute()
    become(["sh", LIVE_TOOL, "copy", "--from", image, *flags, device])
