# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""``bootprof check``."""

from __future__ import annotations

import argparse
import json
import os
import sys
from typing import TYPE_CHECKING, Any

from bootprof.commands.inputs import add_path

if TYPE_CHECKING:
    from bootprof.commands.inputs import Parsers
    from optimizer.staleness import Staleness

SCHEMA_VERSION = 1
GONE_SHOWN = 20
HINT = "give a bootlog, a sort file, or the folder of a profile"

EPILOG = """\
If a path of the bootlog does not exist in the new root, rules propose other paths for it; --rules
prints them. A file counts as moved if one of the proposed paths exists, and as gone if none does.
Symbolic links are followed inside the root.

Files that were created during the boot were never on the image and would count as gone. With --old,
the root that was profiled, they are ignored.

-o writes the new paths in the list format, because the offsets and inodes of an events file are
those of the old image.

exit status: 0, or 1 if more than --fail-above PERCENT of the files are gone

examples:
  bootprof check bootlog.list --root out/root
  bootprof check bootlog.events --root new/root --old old/root --fail-above 5 -o mapped.list
  bootprof check --rules
"""


def add_parser(subparsers: Parsers) -> None:
    """Declare the options of ``bootprof check``."""
    parser = subparsers.add_parser(
        "check",
        help="show which files of a bootlog moved or are gone after an update",
        description="Show which files of a bootlog moved or are gone in an updated root, and\n"
        "write the bootlog with the new paths.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_path(
        parser,
        "bootlog",
        nargs="?",
        metavar="BOOTLOG",
        help="bootlog in either format, sort file, or folder of a profile; - is standard input",
    )
    add_path(
        parser,
        *("-r", "--root"),
        folder=True,
        metavar="NEW",
        help="directory with the files after the update",
    )
    add_path(
        parser,
        "--old",
        folder=True,
        metavar="OLD",
        help="directory with the files of the profiled image",
    )
    parser.add_argument(
        "--fail-above",
        type=float,
        metavar="PERCENT",
        help="exit with status 1 if more than this share of the files is gone",
    )
    add_path(parser, "-o", "--output", metavar="FILE", help="write a bootlog with the new paths")
    parser.add_argument("-j", "--json", action="store_true", help="print JSON instead of text")
    parser.add_argument("--rules", action="store_true", help="print the rules and exit")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Check, write, print, and compare with the limit."""
    from bootprof.commands.inputs import find_bootlog, open_input
    from bootprof.errors import InputError
    from bootprof.files import open_output
    from bootprof.progress import note
    from optimizer.formats.bootlog import write_list
    from optimizer.formats.sortfile import distinct_paths_of
    from optimizer.order import IMAGE_EXCLUDES, NOT_ON_IMAGE, compile_excludes
    from optimizer.staleness import RULES, Root, check

    if options.rules:
        for rule in RULES:
            print(f"{rule.name:17} {rule.meaning}")
        return 0
    if options.bootlog is None or options.root is None:
        raise InputError(
            "give a bootlog and --root", hint="bootprof check bootlog.list --root out/root"
        )
    limit = options.fail_above
    if limit is not None and not 0 <= limit <= 100:
        raise InputError(
            f"--fail-above {limit:g}: not a percentage", hint="give a number from 0 to 100"
        )
    new = Root(options.root)
    old = Root(options.old) if options.old is not None else None
    excluded = compile_excludes(IMAGE_EXCLUDES)
    with open_input(find_bootlog(options.bootlog, HINT), HINT) as (name, stream):
        listed = distinct_paths_of(stream, name, skip=NOT_ON_IMAGE)
    for sentence in listed.said:
        note(f"bootprof: {sentence}")
    found = check(
        (path for path in listed.paths if path.startswith(b"/") and not excluded(path)), new, old
    )
    if not found.kept + len(found.moved) + len(found.gone):
        raise InputError(f"{name}: contains no files to check", hint=HINT)
    if options.output is not None:
        with open_output(options.output) as stream:
            write_list(stream, found.paths)
    if options.json:
        print(json.dumps(as_json(found), indent=2))
    else:
        print_text(found)
    sys.stdout.flush()
    if limit is not None and found.gone_percent > limit:
        note(
            f"bootprof: {found.gone_percent:.1f} % of the files are gone, more than {limit:g} %; "
            "profile the new image"
        )
        return 1
    return 0


def as_json(found: Staleness) -> dict[str, Any]:
    """Return the result as a JSON object."""
    return {
        "schema": SCHEMA_VERSION,
        "kept": found.kept,
        "moved": [
            {"old": os.fsdecode(move.old), "new": os.fsdecode(move.new), "rule": move.rule}
            for move in found.moved
        ],
        "gone": [os.fsdecode(path) for path in found.gone],
        "never": found.never,
        "gone_percent": found.gone_percent,
    }


def print_text(found: Staleness) -> None:
    """Print the result as text, with one example of each rule."""
    from optimizer.formats.text import printable

    files = found.kept + len(found.moved) + len(found.gone)
    print(
        f"{files:,} files: {found.kept:,} kept, {len(found.moved):,} moved, "
        f"{len(found.gone):,} gone ({found.gone_percent:.1f} %)"
    )
    if found.never:
        print(f"{found.never:,} more ignored, because they are not in the old root")
    for rule, count in found.moved_by_rule().most_common():
        example = next(move for move in found.moved if move.rule == rule)
        print(f"{rule}: {count:,} moved")
        print(f"  {printable(example.old)} -> {printable(example.new)}")
    if found.gone:
        print("gone:")
    for path in found.gone[:GONE_SHOWN]:
        print(f"  {printable(path)}")
    if len(found.gone) > GONE_SHOWN:
        print(f"  and {len(found.gone) - GONE_SHOWN:,} more (--json lists them)")
