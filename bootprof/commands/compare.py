# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""``bootprof compare``."""

from __future__ import annotations

import argparse
import json
import logging
import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from bootprof.commands.inputs import add_path, choose_drives, load_build
from bootprof.errors import InputError
from bootprof.files import STANDARD_STREAM
from optimizer.drives.names import COMPARED_DRIVES, DRIVE_NAMES

if TYPE_CHECKING:
    from bootprof.commands.inputs import Parsers
    from bootprof.report.comparison import Comparison
    from bootprof.report.details import Details

PLOT_NAME, REPORT_NAME = Path("seek"), Path("compare.html")

EPILOG = f"""\
Each PROFILE is a folder written by bootprof profile, a block trace file, or - for a block trace on
standard input. Changes are relative to the first profile.

metrics (names for --json and --fail-above; lower is better):
  reads            reads of the medium until the boot target
  bytes            sum of their lengths
  unique-bytes     bytes that were read at least once
  non-contiguous   reads that do not start where the previous read ended
  seek-distance    sum over all reads of |offset - end of the previous read|, in bytes
  boot-time        time to the boot target, host's clock
  guest-time       time to the boot target, guest's clock (--accelerator icount only)
  DRIVE            modelled time of the reads on a drive, in seconds
  DRIVE-bound      modelled time of one ascending pass over the bytes that were read

drives: {", ".join(DRIVE_NAMES)}, or a TOML file
(docs/drive-model.md lists the formulas, the numbers and their sources)

plots and report: written only with --output, --plot or --report. The report is one HTML file that
needs neither network access nor scripts: metrics, seek plot, seeks by length, map of each image,
causes of the reads, accesses of each process. It names what is missing, and why.

boot-time depends on the load of the host, so its change is not shown. guest-time does not depend on
it, and is compared if machine, drive and backend are the same (bootprof profile --accelerator
icount).

limits: --fail-above METRIC=RATIO (or METRIC=PERCENT%) applies to one metric; --fail-above PERCENT
applies to all metrics except boot-time, guest-time and the bounds.
exit status: 0, or 1 if a build exceeds a --fail-above limit

examples:
  bootprof compare out/unsorted out/sorted --output out
  bootprof compare --json out/released out/candidate --fail-above 10%
  bootprof compare old.tsv new.tsv --drive dvd-8x --plot docs/seek --theme both
  ssh builder cat new.tsv | bootprof compare old.tsv - --fail-above seek-distance=1.1
"""


def add_parser(subparsers: Parsers) -> None:
    """Declare the options of ``bootprof compare``."""
    parser = subparsers.add_parser(
        "compare",
        help="compare seek distance and modelled time of several profiles",
        description=(
            "Compare the block traces of several builds: print a table of seek distance and "
            "modelled\ntime on several drives; optionally write a seek plot and an HTML report."
        ),
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_path(
        parser,
        "profiles",
        nargs="+",
        metavar="PROFILE",
        help="folder of a profile, block trace file, or - for standard input; at least two",
    )
    parser.add_argument(
        "-l",
        "--label",
        action="append",
        default=[],
        metavar="TEXT",
        dest="labels",
        help="name of a build; give it once for each profile, in the same order (default: the name "
        "of the folder)",
    )
    parser.add_argument(
        "-d",
        "--drive",
        action="append",
        default=[],
        metavar="DRIVE",
        dest="drives",
        help=f"drive to model; can be repeated (default: {', '.join(COMPARED_DRIVES)})",
    )
    parser.add_argument(
        "-b",
        "--bounds",
        action="store_true",
        help="also print the bound: the modelled time of one ascending pass over the bytes read",
    )
    parser.add_argument("-j", "--json", action="store_true", help="print JSON instead of the table")
    parser.add_argument(
        "--fail-above",
        action="append",
        default=[],
        type=parse_limit,
        metavar="LIMIT",
        dest="limits",
        help="exit with status 1 if a build exceeds the first one by more than LIMIT: PERCENT for "
        "all I/O metrics, or METRIC=RATIO for one; can be repeated",
    )
    outputs = parser.add_argument_group("plots and report (none by default)")
    add_path(
        outputs,
        "-o",
        "--output",
        folder=True,
        metavar="DIR",
        help=f"write the plots and the report ({PLOT_NAME}.png, {PLOT_NAME}.svg, {REPORT_NAME}) "
        "to DIR",
    )
    add_path(
        outputs,
        "-p",
        "--plot",
        metavar="PREFIX",
        help="write PREFIX.png and PREFIX.svg, relative to DIR if --output is given",
    )
    add_path(
        outputs,
        "-r",
        "--report",
        metavar="FILE",
        help="write the report to FILE, relative to DIR if --output is given; - prints it instead "
        "of the table",
    )
    outputs.add_argument(
        "--theme",
        choices=("light", "dark", "both"),
        default="light",
        help="colours of the plots; dark plots are PREFIX-dark.png and PREFIX-dark.svg "
        "(default: %(default)s)",
    )
    outputs.add_argument("--no-plot", action="store_true", help="write no plots")
    outputs.add_argument("--no-report", action="store_true", help="write no report")
    parser.set_defaults(run=run)


def parse_limit(text: str) -> tuple[str, float]:
    """Parse a limit of ``--fail-above``.

    Returns:
        The metric (empty: all), and the largest allowed ratio.
    """
    metric, equals, amount = text.rpartition("=")
    try:
        number = float(amount.removesuffix("%"))
    except ValueError:
        number = math.nan
    is_percent = amount.endswith("%") or not equals
    ratio = 1 + number / 100 if is_percent else number
    if (equals and not metric) or not 0 < ratio < math.inf or (is_percent and number < 0):
        raise argparse.ArgumentTypeError(
            f"{text!r}: give METRIC=RATIO, for example seek-distance=1.1, or PERCENT, for example "
            "10%"
        )
    return metric, ratio


def run(options: argparse.Namespace) -> int:
    """Compare, print, plot, and check the limits."""
    check_usage(options)
    from bootprof.progress import note
    from bootprof.report.comparison import compare
    from bootprof.report.table import print_table

    drives = choose_drives(options.drives or COMPARED_DRIVES)
    labels = options.labels or [None] * len(options.profiles)
    builds = [load_build(*given) for given in zip(options.profiles, labels, strict=True)]
    comparison = compare(builds, drives)
    worse = above_limits(comparison, options.limits)
    plots = make_plots(comparison, options)
    report = place_of(options.report, options.output, REPORT_NAME, unwanted=options.no_report)
    details = make_report(comparison, report, needed=options.json)
    if options.json:
        from bootprof.report.as_json import as_json

        print(json.dumps(as_json(comparison, details, plots, report), indent=2, allow_nan=False))
    elif report != STANDARD_STREAM:
        print_table(comparison, sys.stdout, bounds=options.bounds)
    sys.stdout.flush()
    for sentence in worse:
        note(f"bootprof: {sentence}")
    return 1 if worse else 0


def check_usage(options: argparse.Namespace) -> None:
    """Reject arguments that exclude each other.

    Raises:
        InputError: Two arguments exclude each other, or too few profiles are given.
    """
    profiles, labels = options.profiles, options.labels
    if len(profiles) < 2:
        raise InputError(
            f"only one profile is given: {profiles[0]}",
            hint="give two or more: bootprof compare A B",
        )
    if labels and len(labels) != len(profiles):
        raise InputError(
            f"{len(labels)} labels for {len(profiles)} profiles",
            hint="give --label once for each profile, or not at all",
        )
    if profiles.count(STANDARD_STREAM) > 1:
        raise InputError(
            "- is given twice, but standard input can be read only once", hint="use files"
        )
    if options.plot == STANDARD_STREAM:
        raise InputError(
            "--plot -: plots cannot be written to standard output", hint="give a prefix of files"
        )
    if options.json and options.report == STANDARD_STREAM:
        raise InputError(
            "--json and --report - both write to standard output",
            hint="give a file with --report FILE",
        )


def place_of(
    given: Path | None, folder: Path | None, default: Path, *, unwanted: bool
) -> Path | None:
    """Return the path of an output; None if it is not to be written.

    Args:
        given: Value of its own option.
        folder: Value of ``--output``.
        default: Default name in that folder.
        unwanted: Whether an option disables it.
    """
    if unwanted or (given is None and folder is None):
        return None
    if given == STANDARD_STREAM:
        return given
    return (folder or Path()) / (given or default)


def make_plots(comparison: Comparison, options: argparse.Namespace) -> list[Path]:
    """Write the plots that the options ask for; return their files."""
    prefix = place_of(options.plot, options.output, PLOT_NAME, unwanted=options.no_plot)
    if prefix is None:
        return []
    from bootprof.progress import step

    with step("seek plots") as update:
        # Hide warnings about fonts and the cache folder: they need no action.
        logging.getLogger("matplotlib").setLevel(logging.ERROR)
        from bootprof.report.plot import write_plots

        themes = ("light", "dark") if options.theme == "both" else (options.theme,)
        plots = write_plots(comparison, prefix, themes)
        update("wrote " + ", ".join(map(str, plots)))
    return plots


def make_report(comparison: Comparison, report: Path | None, *, needed: bool) -> list[Details]:
    """Write the report, and return the details of each build.

    Args:
        comparison: The builds.
        report: Where the report goes; None for no report.
        needed: Whether the details are needed without a report.
    """
    if report is None and not needed:
        return []
    from bootprof.progress import step
    from bootprof.report.details import gather

    with step("report" if report else "details of the builds") as update:
        details = [gather(build, comparison.drives) for build in comparison.builds]
        if report:
            from bootprof.report.page import write_report

            write_report(comparison, details, report)
            update(f"wrote {report}" if report != STANDARD_STREAM else "")
    return details


def above_limits(comparison: Comparison, limits: list[tuple[str, float]]) -> list[str]:
    """Return a sentence for each build that exceeds a limit.

    Args:
        comparison: The comparison to check.
        limits: Metric (empty: all but the bounds and the times to the boot target), and the largest
            allowed ratio to the first build.

    Raises:
        InputError: There is no such metric, or no value for it.
    """
    from bootprof.report.comparison import BOOT_TIME, GUEST_TIME

    known = {metric.name: metric for metric in comparison.metrics}
    sentences = []
    for wanted, limit in limits:
        if wanted and wanted not in known:
            raise InputError(
                f"--fail-above: no such metric: {wanted}", hint=f"known: {', '.join(known)}"
            )
        modelled = [
            name
            for name in known
            if not known[name].is_bound and name not in (BOOT_TIME, GUEST_TIME)
        ]
        for name in [wanted] if wanted else modelled:
            for number, build in enumerate(comparison.builds[1:], 1):
                ratio = comparison.ratio(number, name)
                first = comparison.builds[0].label
                if ratio is None and name == GUEST_TIME:
                    raise InputError(
                        f"--fail-above: {name}: missing from some of the profiles",
                        hint="record all profiles with bootprof profile --accelerator icount",
                    )
                if ratio is None and wanted:
                    raise InputError(
                        f"--fail-above: {name}: an image is too large for this drive",
                        hint="choose a larger drive",
                    )
                if ratio is None and comparison.value(0, name) is not None:
                    sentences.append(f"{build.label}: does not fit on {name}, but {first} does")
                elif ratio is not None and ratio > limit:
                    reason = comparison.why_not_comparable(number, name)
                    sentences.append(
                        f"{build.label}: {name} is {ratio:.3g} times that of {first},"
                        f" more than {limit:g}" + (f" (not comparable: {reason})" if reason else "")
                    )
    return sentences
