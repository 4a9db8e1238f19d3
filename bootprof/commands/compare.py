"""``bootprof compare``."""

from __future__ import annotations

import argparse
import json
import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bootprof.commands.inputs import choose_drives
from bootprof.errors import InputError

if TYPE_CHECKING:
    from bootprof.report.comparison import Comparison
    from bootprof.report.details import Evidence

DEFAULT_DRIVES = ("cd-24x", "usb-2", "hard-disk", "nvme")
# Named here too, because optimizer.drives.models needs numpy, which help must not wait for. A test
# compares the two.
KNOWN_DRIVES = ("cd-24x", "dvd-8x", "usb-2", "sd-card", "hard-disk", "nvme")
# Two boots of one image differ in it by more than two images do.
UNSTEADY_METRIC = "boot-time"

EPILOG = f"""\
Each of A, B, C ... is a folder that bootprof profile wrote, or a block trace file. A is what the
others are compared with.

metrics (in --json and --fail-above; less is better):
  reads            reads of the medium until the boot target
  bytes            sum of their lengths
  unique-bytes     bytes that were read at least once
  non-contiguous   reads that do not start where the one before them ended
  seek-distance    sum over reads of |offset - end of the previous read|, in bytes
  boot-time        time to the boot target in the machine that was profiled
  DRIVE            modelled time of the reads on a drive, in seconds
  DRIVE-bound      the same for one ascending pass over the bytes that were read

drives: {", ".join(KNOWN_DRIVES)}, or a TOML file
(docs/drive-model.md has the formulas, the numbers and where they are from)

report: DIR/compare.html holds the figures, the seek plot, the histogram of seeks by length, the map
of each image with hot and cold files, what the reads were for, and who read what. It is one file
that needs no network and no script. Where the image or the bootlog of a build is missing, or the
image is another one by now, the report says so.

gate: --fail-above METRIC=RATIO (or METRIC=PERCENT%) judges one metric; --fail-above PERCENT all
that are not bounds, but for boot-time, which differs from boot to boot.
exit status: 0, or 1 if --fail-above found a build worse than it may be

examples:
  bootprof compare out/unsorted out/sorted
  bootprof compare --no-plot --json out/released out/candidate --fail-above 10%
  bootprof compare old.tsv new.tsv --drive dvd-8x --plot docs/seek --theme both
  bootprof compare --json --no-plot out/released out/candidate --fail-above seek-distance=1.1
"""


def add_parser(subparsers: Any) -> None:
    """Declare the options of ``bootprof compare``."""
    parser = subparsers.add_parser(
        "compare",
        help="seek distance and modelled time of several profiles",
        description=(
            "Compare the block traces of several builds: a table of seek distance and of modelled "
            "time on several drives, the seek plot of all builds, and a report in one HTML file."
        ),
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "profiles",
        type=Path,
        nargs="+",
        metavar="PROFILE",
        help="folder of a profile, or a block trace file; two or more",
    )
    parser.add_argument(
        "-l",
        "--label",
        action="append",
        default=[],
        metavar="TEXT",
        dest="labels",
        help="what to call a build; once for each, in their order (default: its folder's name)",
    )
    parser.add_argument(
        "-d",
        "--drive",
        action="append",
        default=[],
        metavar="DRIVE",
        dest="drives",
        help=f"drive to model; may be repeated (default: {', '.join(DEFAULT_DRIVES)})",
    )
    parser.add_argument(
        "-b",
        "--bounds",
        action="store_true",
        help="also print what each trace could cost at best, in one ascending pass",
    )
    parser.add_argument(
        "-j", "--json", action="store_true", help="print JSON rather than the table"
    )
    parser.add_argument(
        "--fail-above",
        action="append",
        default=[],
        type=parse_limit,
        metavar="LIMIT",
        dest="limits",
        help="exit with status 1 if a build is worse than A by more than LIMIT: a PERCENT for all "
        "metrics of its I/O, or METRIC=RATIO; may be repeated",
    )
    plots = parser.add_argument_group("plots")
    plots.add_argument(
        "-p",
        "--plot",
        type=Path,
        default=Path("seek"),
        metavar="PREFIX",
        help="write PREFIX.png and PREFIX.svg (default: %(default)s)",
    )
    plots.add_argument(
        "-o",
        "--output",
        type=Path,
        default=Path(),
        metavar="DIR",
        help="folder for plots and report (default: the current one)",
    )
    plots.add_argument(
        "--theme",
        choices=("light", "dark", "both"),
        default="light",
        help="dark: PREFIX-dark.png and PREFIX-dark.svg (default: %(default)s)",
    )
    plots.add_argument("--no-plot", action="store_true", help="write no plots")
    reports = parser.add_argument_group("report")
    reports.add_argument(
        "-r",
        "--report",
        type=Path,
        default=Path("compare.html"),
        metavar="FILE",
        help="write the report there, in the folder of --output (default: %(default)s)",
    )
    reports.add_argument("--no-report", action="store_true", help="write no report")
    parser.set_defaults(run=run)


def parse_limit(text: str) -> tuple[str, float]:
    """Read a limit of ``--fail-above``.

    Returns:
        The metric, or nothing for all of them, and the ratio that is allowed.
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
            f"{text!r}: give METRIC=RATIO, as in seek-distance=1.1, or a PERCENT, as in 10%"
        )
    return metric, ratio


def run(options: argparse.Namespace) -> int:
    """Compare, print, plot, and judge."""
    if len(options.profiles) < 2:
        raise InputError(
            f"only {options.profiles[0]} is given: there is nothing to compare it with",
            hint="bootprof compare A B",
        )
    if options.labels and len(options.labels) != len(options.profiles):
        raise InputError(
            f"{len(options.labels)} labels for {len(options.profiles)} profiles",
            hint="give --label once for each profile, or not at all",
        )
    from bootprof.progress import note, step
    from bootprof.report.comparison import compare, load_build
    from bootprof.report.table import print_table

    drives = choose_drives(options.drives or DEFAULT_DRIVES)
    labels = options.labels or [None] * len(options.profiles)
    builds = [load_build(*given) for given in zip(options.profiles, labels, strict=True)]
    comparison = compare(builds, drives)
    worse = above_limits(comparison, options.limits)
    plots: list[Path] = []
    if not options.no_plot:
        with step("seek plots") as update:
            from bootprof.report.plot import write_plots

            themes = ("light", "dark") if options.theme == "both" else (options.theme,)
            plots = write_plots(comparison, options.output / options.plot, themes)
            update("wrote " + ", ".join(map(str, plots)))
    report = None if options.no_report else options.output / options.report
    evidence: list[Evidence] = []
    if options.json or report:
        with step("report") as update:
            from bootprof.report.details import gather

            evidence = [gather(build, drives) for build in comparison.builds]
            if report:
                from bootprof.report.page import write_report

                write_report(comparison, evidence, report)
                update(f"wrote {report}")
    if options.json:
        from bootprof.report.as_json import as_json

        found = as_json(comparison, evidence, plots, report)
        print(json.dumps(found, indent=2, allow_nan=False))
    else:
        print_table(comparison, sys.stdout, bounds=options.bounds)
    sys.stdout.flush()
    for sentence in worse:
        note(f"bootprof: {sentence}")
    return 1 if worse else 0


def above_limits(comparison: Comparison, limits: list[tuple[str, float]]) -> list[str]:
    """Return a sentence for each build that is worse than it may be.

    Args:
        comparison: What is judged.
        limits: Metric, or nothing for all but the bounds and :data:`UNSTEADY_METRIC`, and the
            ratio to the first build that it may have at most.

    Raises:
        InputError: There is no such metric, or no value for it.
    """
    known = {metric.name: metric for metric in comparison.metrics}
    sentences = []
    for wanted, limit in limits:
        if wanted and wanted not in known:
            raise InputError(
                f"--fail-above: no such metric: {wanted}", hint=f"one of {', '.join(known)}"
            )
        steady = [name for name in known if not known[name].is_bound and name != UNSTEADY_METRIC]
        for name in [wanted] if wanted else steady:
            for number, build in enumerate(comparison.builds[1:], 1):
                ratio = comparison.ratio(number, name)
                first = comparison.builds[0].label
                if ratio is None and wanted:
                    raise InputError(
                        f"--fail-above: {name}: an image is too large for that drive",
                        hint="choose another drive",
                    )
                if ratio is None and comparison.value(0, name) is not None:
                    sentences.append(f"{build.label}: does not fit on {name}, and {first} does")
                elif ratio is not None and ratio > limit:
                    sentences.append(
                        f"{build.label}: {name} is {ratio:.3g} times that of {first},"
                        f" more than {limit:g}"
                    )
    return sentences
