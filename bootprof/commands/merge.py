# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""``bootprof merge``."""

from __future__ import annotations

import argparse
import json
import os
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from bootprof.commands.inputs import add_output, add_path, find_bootlog, open_input, percent
from bootprof.errors import InputError

if TYPE_CHECKING:
    from bootprof.commands.inputs import Parsers
    from optimizer.merge import Merged

SCHEMA_VERSION = 1
MOST_SHOWN = 10
HINT = "give a bootlog, or the folder of a profile"
DISPUTED_IN_REPORT = 1000

EPILOG = """\
The result is a bootlog in the list format, an input of bootprof sort.

rule: in a profile of n files, the score of a file is rank / n, or 1 if the profile does not contain
it. Files are sorted by the weighted mean of their scores (Borda's rule; missing files rank last,
after Fagin, Kumar and Sivakumar, Comparing top k lists, 2003). Files that few boots need are
therefore placed at the end. The order of the arguments does not matter.

As in bootprof sort, files in /dev, /proc, /sys, /run, /tmp, on media of live systems, and on file
systems that are not part of the image (from events files) are left out before ranks are counted.

A summary of the disagreement between profiles goes to standard error; --report writes it in full as
JSON.

examples:
  bootprof merge laptop.list desktop.list server.list -o merged.list
  bootprof merge -w 3 -w 1 out/gnome out/kde | bootprof sort --root out/root > distrib.sort
  bootprof merge --min-support 50 --report disagreement.json boots/*.list -o merged.list
"""


def add_parser(subparsers: Parsers) -> None:
    """Declare the options of ``bootprof merge``."""
    parser = subparsers.add_parser(
        "merge",
        help="merge several bootlogs into one",
        description=(
            "Merge the bootlogs of several machines, desktops or repeated boots into one order."
        ),
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_path(
        parser,
        "bootlogs",
        nargs="+",
        metavar="BOOTLOG",
        help="bootlog in either format, sort file, or folder of a profile",
    )
    parser.add_argument(
        "-w",
        "--weight",
        action="append",
        default=[],
        type=float,
        metavar="NUMBER",
        dest="weights",
        help="weight of a bootlog; give it once for each, in the same order (default: 1 each)",
    )
    parser.add_argument(
        "-m",
        "--min-support",
        type=percent,
        default=0.0,
        metavar="PERCENT",
        help="leave out files whose bootlogs have less than this share of the total weight",
    )
    parser.add_argument(
        "--no-default-filter",
        action="store_true",
        help="keep /dev, /proc, /sys, /run, /tmp and mounted media",
    )
    add_output(parser)
    add_path(parser, "--report", metavar="FILE", help="write a JSON report to FILE")
    parser.add_argument("-q", "--quiet", action="store_true", help="print no summary")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Merge, write and report."""
    weights = options.weights or [1.0] * len(options.bootlogs)
    if len(weights) != len(options.bootlogs):
        raise InputError(
            f"{len(weights)} weights for {len(options.bootlogs)} bootlogs",
            hint="give --weight once for each bootlog, or omit it",
        )
    from bootprof.files import open_output, write_output
    from bootprof.progress import note
    from optimizer.formats.bootlog import write_list
    from optimizer.formats.sortfile import distinct_paths_of
    from optimizer.merge import Merger
    from optimizer.order import IMAGE_EXCLUDES, NOT_ON_IMAGE, compile_excludes

    excluded = compile_excludes([] if options.no_default_filter else IMAGE_EXCLUDES)
    merger = Merger()
    for given, weight in zip(options.bootlogs, weights, strict=True):
        with open_input(find_bootlog(given), hint=HINT) as (name, stream):
            listed = distinct_paths_of(stream, name, skip=NOT_ON_IMAGE)
        merger.add(str(given), listed.paths, weight)
        for sentence in () if options.quiet else listed.said:
            note(f"bootprof: {name}: {sentence}")
    # Sockets and pipes (pipe:[4711]) are neither on an image nor in a bootlog.
    merged = merger.merge(
        lambda path: not path.startswith(b"/") or excluded(path), options.min_support / 100
    )

    with open_output(options.output) as output:
        write_list(output, merged.paths)
    if options.report is not None:
        text = json.dumps(report(merged), indent=2, allow_nan=False) + "\n"
        write_output(options.report, text.encode())
    if not options.quiet:
        print_report(merged)
    return 0


def disputed(merged: Merged) -> list[int]:
    """Return the positions of the files on whose rank the profiles disagree most."""
    import numpy as np

    several = np.flatnonzero(merged.profiles > 1)
    weight = merged.spread[several] * merged.support[several]
    chosen = several[np.argsort(-weight, kind="stable")]
    return [int(place) for place in chosen[:DISPUTED_IN_REPORT] if merged.spread[place] > 0]


def report(merged: Merged) -> dict[str, Any]:
    """Return what the profiles disagree on."""
    everywhere = len(merged.opinions)
    return {
        "schema": SCHEMA_VERSION,
        "files": len(merged.paths),
        "in_all": int((merged.profiles == everywhere).sum()),
        "in_one": int((merged.profiles == 1).sum()) if everywhere > 1 else 0,
        "profiles": [asdict(opinion) for opinion in merged.opinions],
        "disputed": [
            {
                "path": os.fsdecode(merged.paths[place]),
                "rank": place,
                "score": float(merged.scores[place]),
                "support": float(merged.support[place]),
                "spread": float(merged.spread[place]),
            }
            for place in disputed(merged)
        ],
    }


def print_report(merged: Merged) -> None:
    """Print a summary of at most one screen to standard error."""
    from bootprof.progress import note
    from optimizer.formats.text import printable

    count = len(merged.opinions)
    in_all = int((merged.profiles == count).sum())
    note(f"bootprof: {len(merged.paths):,} files of {count:,} bootlogs, {in_all:,} of them in all")
    if count == 1:
        return
    note(f"  {'order':>6} {'files':>7} {'absent':>7} {'only here':>9}  bootlog")
    ranked = sorted(merged.opinions, key=lambda opinion: -opinion.footrule)
    for opinion in ranked[:MOST_SHOWN]:
        note(
            f"  {opinion.footrule:6.3f} {opinion.files:7,} {opinion.absent:7,} "
            f"{opinion.only_here:9,}  {printable(os.fsencode(opinion.name))}"
        )
    if count > MOST_SHOWN:
        note(f"  and {count - MOST_SHOWN:,} more that disagree less")
    note("  (order: distance from the merged order; 0 identical, 1 reversed)")
    places = disputed(merged)[:MOST_SHOWN]
    if places:
        note("  files with the most different ranks (standard deviation of rank / files):")
    for place in places:
        note(f"  {merged.spread[place]:6.3f} {printable(merged.paths[place])}")
