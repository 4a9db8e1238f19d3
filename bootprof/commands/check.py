"""``bootprof check``."""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from optimizer.staleness import Staleness

SCHEMA_VERSION = 1
GONE_SHOWN = 20
HINT = "give a bootlog, a sort file, or the folder of a profile"

EPILOG = """\
A path of the bootlog that the new root does not have is looked for by rules, which --rules prints.
A rule proposes paths; what exists in the new root counts. Symbolic links are followed inside the
root.

Files that were made during the boot were on no image and would count as gone: give --old, the root
that the profile was made of, and they are passed over.

-o writes the new paths in the list format: offsets and inodes of an events file are those of the
old image.

exit status: 0, or 1 if more than --fail-above PERCENT of the files are gone

examples:
  bootprof check bootlog.list --root out/root
  bootprof check bootlog.events --root new/root --old old/root --fail-above 5 -o mapped.list
  bootprof check --rules
"""


def add_parser(subparsers: Any) -> None:
    """Declare the options of ``bootprof check``."""
    parser = subparsers.add_parser(
        "check",
        help="which files of a bootlog are gone or moved after an update",
        description="Say which files of a bootlog an updated root no longer has, and map the rest.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "bootlog",
        type=Path,
        nargs="?",
        metavar="BOOTLOG",
        help="bootlog in either format, sort file, or folder of a profile; - is standard input",
    )
    parser.add_argument(
        "-r", "--root", type=Path, metavar="NEW", help="directory with the files after the update"
    )
    parser.add_argument(
        "--old", type=Path, metavar="OLD", help="directory with the files of the profiled image"
    )
    parser.add_argument(
        "--fail-above",
        type=float,
        metavar="PERCENT",
        help="exit with status 1 if more of the files than this are gone",
    )
    parser.add_argument(
        "-o", "--output", type=Path, metavar="FILE", help="write the bootlog with the new paths"
    )
    parser.add_argument("-j", "--json", action="store_true", help="print JSON, not text")
    parser.add_argument("--rules", action="store_true", help="print the rules and end")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Check, print, write, and judge."""
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
            "a bootlog and --root are needed", hint="bootprof check bootlog.list --root out/root"
        )
    limit = options.fail_above
    if limit is not None and not 0 <= limit <= 100:
        raise InputError(f"--fail-above {limit:g}: not a percentage", hint="0 to 100")
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
        raise InputError(f"{name}: holds no files to check", hint=HINT)
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
            f"bootprof: {found.gone_percent:.1f} % of the files are gone, more than {limit:g} %: "
            "profile the new image"
        )
        return 1
    return 0


def as_json(found: Staleness) -> dict[str, Any]:
    """Return the result as JSON has it."""
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
    """Print the result for people; of each rule one file serves as an example."""
    from optimizer.formats.text import printable

    files = found.kept + len(found.moved) + len(found.gone)
    print(
        f"{files:,} files: {found.kept:,} kept, {len(found.moved):,} moved, "
        f"{len(found.gone):,} gone ({found.gone_percent:.1f} %)"
    )
    if found.never:
        print(f"{found.never:,} more were not on the old image")
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
