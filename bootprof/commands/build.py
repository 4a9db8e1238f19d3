# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""``bootprof build``."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from bootprof.commands.inputs import add_config, add_path, choose_drives

if TYPE_CHECKING:
    from bootprof.builder.config import Readahead
    from bootprof.builder.initrd.readahead import ReadaheadRequest
    from bootprof.commands.inputs import Parsers

EPILOG = """\
The sort file named in the configuration (squashfs.sort or erofs.sort, by default distrib.sort next
to the configuration file) is used if it exists.

examples:
  bootprof build                          build out/<name>.iso from config/live.cfg
  bootprof build --profiling -i out/profiling.iso
                                          the same, with the profiler in a second initrd
  bootprof build --readahead out/profile/bootlog.events
                                          at boot, read ahead what the recorded boot read
  bootprof build --define system.arch=i386 \\
    --define 'system.packages=["linux-image-686", "live-boot", "systemd-sysv"]'

Unchanged parts (the bootstrapped system, the root tree, the kernel module, the squashfs) are
reused from <output>/cache. Incomplete parts of an interrupted run are never used; the next run
removes them. Without root privileges, the build runs in a user namespace.
"""


def add_parser(subparsers: Parsers) -> None:
    """Declare the options of ``bootprof build``."""
    parser = subparsers.add_parser(
        "build",
        help="build a live image",
        description="Build a Debian live image that boots from CD, USB stick or network.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_config(parser)
    add_path(
        parser,
        "-o",
        "--output",
        folder=True,
        default=Path("out"),
        metavar="DIR",
        help="folder for the image and the cache (default: %(default)s)",
    )
    add_path(
        parser,
        "-i",
        "--image",
        metavar="FILE",
        help="image to write (default: <output>/<name>.iso; of several kinds, the first)",
    )
    parser.add_argument(
        "-p", "--profiling", action="store_true", help="add the profiler to the image"
    )
    parser.add_argument("--no-sort", action="store_true", help="ignore the sort file")
    add_path(
        parser,
        "-r",
        "--readahead",
        metavar="BOOTLOG",
        help="at boot, read ahead what this bootlog names (default: readahead.bootlog, if set)",
    )
    parser.add_argument(
        "--no-readahead", action="store_true", help="disable readahead, even if configured"
    )
    parser.add_argument(
        "--readahead-drive",
        metavar="DRIVE",
        help="drive to optimize the readahead list for (default: readahead.drive)",
    )
    parser.add_argument(
        "--refresh",
        action="store_true",
        help="bootstrap again, to get updated packages (the cache does not detect updates)",
    )
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Build, and print the path of the image."""
    from bootprof.builder.build import build
    from bootprof.builder.layers import load_config
    from bootprof.builder.request import BuildRequest
    from bootprof.builder.unprivileged import become_root

    config = load_config(options.config, options.define)
    become_root()
    result = build(
        BuildRequest(
            config=config,
            base=options.config.parent,
            output=options.output,
            image=options.image,
            profiling=options.profiling,
            sort=not options.no_sort,
            readahead=readahead_request(options, config.readahead),
            refresh=options.refresh,
        )
    )
    for image in result.images:
        print(image)
    return 0


def readahead_request(
    options: argparse.Namespace, configured: Readahead
) -> ReadaheadRequest | None:
    """Return what the image reads ahead: from the options, else from the configuration."""
    from bootprof.builder.initrd.readahead import ReadaheadRequest
    from optimizer.demand import touched_by
    from optimizer.readahead import with_kernel_readahead

    bootlog = options.readahead
    if bootlog is None and configured.bootlog:
        bootlog = options.config.parent / configured.bootlog
    tables_only = configured.what == "tables"
    if options.no_readahead or (bootlog is None and not tables_only):
        return None
    drive = choose_drives([options.readahead_drive or configured.drive])[0]
    if tables_only:
        return ReadaheadRequest("tables", None, drive)
    return ReadaheadRequest(str(bootlog), touched_by(bootlog, with_kernel_readahead), drive)
