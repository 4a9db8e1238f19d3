"""``bootprof build``."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bootprof.builder.config import Readahead
    from bootprof.builder.initrd.readahead import ReadaheadRequest

EPILOG = """\
The sort file that the configuration names (squashfs.sort, by default distrib.sort beside the
configuration) is used if it is there.

examples:
  bootprof build                          config/live.cfg to out/<name>.iso
  bootprof build --profiling -i out/profiling.iso
                                          the same with the profiler in a second initrd
  bootprof build --readahead out/profile/bootlog.events
                                          read ahead, while it boots, what that boot has read
  bootprof build --define system.arch=i386 --define 'system.packages=["live-boot"]'

What has not changed since an earlier run (the bootstrapped root, the kernel module, the
squashfs) is reused from <output>/cache. An interrupted run leaves nothing there that a later
one would take for whole. Needs root, for the bootstrap.
"""


def add_parser(subparsers: Any) -> None:
    """Declare the options of ``bootprof build``."""
    parser = subparsers.add_parser(
        "build",
        help="build a live image",
        description="Build a Debian live image that boots with BIOS and UEFI, from CD and USB.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "-c",
        "--config",
        type=Path,
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
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        default=Path("out"),
        metavar="DIR",
        help="folder for everything that is made (default: %(default)s)",
    )
    parser.add_argument(
        "-i",
        "--image",
        type=Path,
        metavar="FILE",
        help="ISO image to write (default: <output>/<name>.iso)",
    )
    parser.add_argument(
        "-p", "--profiling", action="store_true", help="make a profiling image: add the profiler"
    )
    parser.add_argument(
        "--no-sort", action="store_true", help="leave the sort file alone, even if it is there"
    )
    parser.add_argument(
        "-r",
        "--readahead",
        type=Path,
        metavar="BOOTLOG",
        help="read ahead what this boot has touched (default: readahead.bootlog, if it is set)",
    )
    parser.add_argument(
        "--no-readahead", action="store_true", help="read nothing ahead, whatever is configured"
    )
    parser.add_argument(
        "--readahead-drive",
        metavar="DRIVE",
        help="drive to weigh gaps for, see bootprof readahead (default: readahead.drive)",
    )
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Build, and print the path of the image."""
    from bootprof.builder.build import BuildRequest, build
    from bootprof.builder.config import load_config

    config = load_config(options.config, options.define)
    result = build(
        BuildRequest(
            config=config,
            base=options.config.parent,
            output=options.output,
            image=options.image,
            profiling=options.profiling,
            sort=not options.no_sort,
            readahead=readahead_request(options, config.readahead),
        )
    )
    print(result.image)
    return 0


def readahead_request(
    options: argparse.Namespace, configured: Readahead
) -> ReadaheadRequest | None:
    """Return what the image shall read ahead: by the options, else by the configuration."""
    from bootprof.builder.initrd.readahead import ReadaheadRequest
    from bootprof.commands.inputs import choose_drives
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
