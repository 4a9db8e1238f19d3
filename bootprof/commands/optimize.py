# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""``bootprof optimize``."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from bootprof.commands.inputs import (
    DEFAULT_DRIVE,
    add_boot,
    add_path,
    add_place,
    add_squashfs,
    add_unsigned,
    choose_drives,
    find_bootlog,
    load_build,
    open_chosen,
    recording_of,
    wanted_by_bootlog,
)
from bootprof.errors import InputError

if TYPE_CHECKING:
    from bootprof.builder.initrd.foreign import Trim
    from bootprof.builder.initrd.readahead import ReadaheadRequest
    from bootprof.commands.inputs import Parsers
    from bootprof.initrds import Changes, IsoInitrd
    from bootprof.report.comparison import Comparison
    from bootprof.rewrite import Additions
    from optimizer.images.image import Image
    from optimizer.images.reorder import Wanted

EPILOG = """\
The image is booted in QEMU and its reads are recorded (bootprof profile); its file system is put
into the order of that boot (bootprof reorder) and compared with the original; the result is booted
again, and both boots are compared (bootprof compare). It needs no source of the image, and no root
privileges but for an EROFS whose clusters mix the files of the boot with others.

The exit status is 1 if the second boot seeks further than the first.

OUT.optimize, or --work DIR, keeps the profiles of both boots (before, after), plots and a report.

examples:
  bootprof optimize live.iso -o faster.iso --until seconds:90
  bootprof optimize live.iso -o faster.iso --readahead --quick-probes
  bootprof optimize live.iso -o faster.iso --profile out/profile
  bootprof optimize live.iso --profile out/profile --dry-run
"""


def add_parser(subparsers: Parsers) -> None:
    """Declare the options of ``bootprof optimize``."""
    parser = subparsers.add_parser(
        "optimize",
        help="make a finished image boot faster: profile, reorder, boot again, compare",
        description="Put a finished live image into the order of its own boot, and show the gain.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_path(parser, "image", metavar="IMAGE", help="ISO or disk image of a live system")
    add_path(
        parser,
        "-o",
        "--output",
        metavar="OUT",
        help="image to write (default: IMAGE with the suffix .optimized)",
    )
    add_path(
        parser,
        "--profile",
        folder=True,
        metavar="DIR",
        help="profile of a boot of IMAGE; without it, IMAGE is booted",
    )
    add_path(
        parser,
        "-w",
        "--work",
        folder=True,
        metavar="DIR",
        help="folder for profiles, plots and report (default: OUT with the suffix .optimize)",
    )
    add_boot(parser)
    add_place(parser)
    parser.add_argument(
        "--readahead",
        action="store_true",
        help="add the readahead program to the initrd of an ISO (live-boot, dracut, "
        "initramfs-tools): it reads ahead what the boot needs",
    )
    parser.add_argument(
        "--quick-probes",
        action="store_true",
        help="add rules of udev to the initrd of an ISO, and at boot to its root: the medium is "
        "identified by its beginning, without seeks to its far end",
    )
    add_path(
        parser,
        "--initrd",
        metavar="CONFIG",
        help="leave the drivers out of the initrd of an ISO that [initrd] in CONFIG, a "
        "configuration of bootprof build, names and that the root has",
    )
    parser.add_argument(
        "-n",
        "--dry-run",
        action="store_true",
        help="write no image: simulate the boot from both orders, and print what would be gained",
    )
    parser.add_argument(
        "--no-check", action="store_true", help="do not boot and compare the result"
    )
    add_unsigned(parser)
    add_squashfs(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Optimize, and print the comparison of both boots."""
    from bootprof.boot.qemu import Machine
    from bootprof.boot.record import record
    from bootprof.checksums import checked_covering
    from bootprof.initrds import Changes
    from bootprof.progress import note
    from bootprof.rewrite import refuse_nested, refuse_same, rewrite

    image = open_chosen(options.image, options)
    # Before the boot, which takes a while.
    refuse_nested(image, image.layout())
    if options.output is None:
        options.output = options.image.with_suffix(f".optimized{options.image.suffix}")
    refuse_same(options.image, options.output)
    trim = read_trim(options.initrd) if options.initrd is not None else None
    changed = options.readahead or options.quick_probes or trim is not None
    initrds = found_initrds(image) if changed else ()
    covering = checked_covering(
        image,
        [each.path.encode(errors="surrogateescape") for each in initrds],
        allow_unsigned=options.allow_unsigned,
    )
    work = options.work or options.output.with_suffix(".optimize")
    machine = Machine(
        firmware=options.firmware,
        medium=options.medium,
        memory_mib=options.memory,
        board=options.board,
    )
    recording = recording_of(options, machine)
    before = options.profile
    if before is None:
        before = work / "before"
        record(options.image, before, recording)
    bootlog = find_bootlog(before)
    wanted = wanted_by_bootlog(image.layout(), bootlog, options.place)
    request = readahead_request(bootlog) if options.readahead else None
    if options.dry_run:
        return simulate(image, wanted, bootlog, request)
    changes = Changes(request, options.quick_probes, trim)
    additions = make_additions(image, initrds, changes) if initrds else None
    done = rewrite(image, wanted, options.output, covering, additions)
    for sentence in done.sentences():
        note(f"bootprof: {sentence}")
    if not done.reordered.files:
        raise InputError(
            f"{before}: names no file of the image",
            hint="use a profile of this image, and a boot target that is reached later",
        )
    if options.no_check:
        return 0
    after = work / "after"
    record(options.output, after, recording)
    return show(compared(before, after), work)


def found_initrds(image: Image) -> tuple[IsoInitrd, ...]:
    """Return the initrds that a readahead program can be added to.

    Raises:
        InputError: There is none.
    """
    from bootprof.files import scratch_folder
    from bootprof.initrds import find_initrds

    with scratch_folder() as folder:
        return find_initrds(image, folder)


def readahead_request(bootlog: Path) -> ReadaheadRequest:
    """Return what a boot needed, for a readahead list."""
    from bootprof.builder.initrd.readahead import ReadaheadRequest
    from optimizer.demand import touched_by
    from optimizer.readahead import with_kernel_readahead

    touched = touched_by(bootlog, with_kernel_readahead)
    return ReadaheadRequest(str(bootlog), touched, choose_drives([DEFAULT_DRIVE])[0])


def read_trim(config: Path) -> Trim:
    """Return what a configuration of the builder leaves out of an initrd.

    Raises:
        InputError: It leaves out nothing, or is no configuration.
    """
    from bootprof.builder.initrd.foreign import Trim
    from bootprof.builder.layers import load_config

    rules = load_config(config).initrd
    if not rules.leave_out:
        raise InputError(
            f"{config}: initrd.leave_out names no driver",
            hint="give a configuration with it, such as config/live.cfg",
        )
    return Trim(rules.leave_out, rules.keep)


def make_additions(image: Image, initrds: tuple[IsoInitrd, ...], changes: Changes) -> Additions:
    """Return what makes the new initrds, once the file system is written."""
    from bootprof.initrds import changed

    place = image.chosen
    assert place is not None
    path = place.path
    return lambda written, folder, fits: changed(
        initrds, changes, written, path, folder, keep_sizes=fits
    )


def simulate(
    image: Image, wanted: Wanted, file: Path, request: ReadaheadRequest | None = None
) -> int:
    """Simulate the boot from the image as it is and in another order; print both.

    Args:
        image: The image.
        wanted: The other order.
        file: Bootlog of the boot.
        request: What is read ahead in the other order, before anything else; None for nothing.

    Returns:
        1 if the boot would seek further, else 0.

    Raises:
        InputError: The bootlog does not say when what was needed.
    """
    from bootprof.builder.initrd.readahead import make_list
    from bootprof.files import scratch_folder
    from bootprof.report.comparison import BOOT_TIME, GUEST_TIME, Build, compare
    from bootprof.rewrite import write_order
    from optimizer.drives.names import COMPARED_DRIVES
    from optimizer.formats import EVENTS_MAGIC
    from optimizer.formats.blocktrace import BlockTrace
    from optimizer.formats.bootlog import read_bootlog
    from optimizer.formats.readahead_list import parse_list
    from optimizer.replay import reads_of_demand
    from optimizer.spans import spans_of

    with file.open("rb") as stream:
        if stream.read(len(EVENTS_MAGIC)) != EVENTS_MAGIC:
            raise InputError(
                f"{file}: a list of paths does not record when each part of a file was read",
                hint="give a profile with bootlog.events, or omit --dry-run",
            )
        stream.seek(0)
        log = read_bootlog(stream, str(file))
    place = image.chosen
    assert place is not None
    with scratch_folder() as folder:
        written = folder / "filesystem"
        write_order(image, wanted, written)
        ahead = None
        if request is not None:
            content = make_list(request, written).splitlines(keepends=True)
            ahead = spans_of(parse_list(content, "readahead list").ranges)
        after = reads_of_demand(place.format.read(written, 0), log, ahead)
    after["offset_bytes"] += place.offset_bytes
    traces = [reads_of_demand(image.layout(), log), after]
    builds = [
        Build(label, image.path, BlockTrace(reads, image.path.name, image.size_bytes, 0))
        for label, reads in zip(("before", "after"), traces, strict=True)
    ]
    comparison = compare(builds, choose_drives(COMPARED_DRIVES))
    ahead_too = "" if request is None else "; after: with what --readahead reads first"
    print(f"simulated, of the file system alone, without kernel readahead{ahead_too}:")
    for metric in comparison.metrics:
        if not metric.is_bound and metric.name not in (BOOT_TIME, GUEST_TIME):
            texts = [comparison.value_text(number, metric) for number in (0, 1)]
            change = comparison.change(1, metric).text
            print(f"  {metric.title:<36}{texts[0]:>10}{texts[1]:>10}{change:>16}")
    return worse(comparison)


def compared(before: Path, after: Path) -> Comparison:
    """Compare the block traces of two profiles on the usual drives."""
    from bootprof.report.comparison import compare
    from optimizer.drives.names import COMPARED_DRIVES

    builds = [load_build(folder, folder.name) for folder in (before, after)]
    return compare(builds, choose_drives(COMPARED_DRIVES))


def show(comparison: Comparison, work: Path) -> int:
    """Print the table, write plots and report; return 1 if the second boot seeks further."""
    import logging

    from bootprof.progress import step
    from bootprof.report.details import gather
    from bootprof.report.table import print_table

    print_table(comparison, sys.stdout)
    sys.stdout.flush()
    with step("plots and report") as update:
        logging.getLogger("matplotlib").setLevel(logging.ERROR)
        from bootprof.report.page import write_report
        from bootprof.report.plot import write_plots

        write_plots(comparison, work / "seek", ("light",))
        details = [gather(build, comparison.drives) for build in comparison.builds]
        write_report(comparison, details, work / "compare.html")
        update(f"wrote {work / 'compare.html'}")
    return worse(comparison)


def worse(comparison: Comparison) -> int:
    """Return 1 if the second boot seeks further than the first, else 0."""
    ratio = comparison.ratio(1, "seek-distance")
    return 1 if ratio is not None and ratio > 1 else 0
