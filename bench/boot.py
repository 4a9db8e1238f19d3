# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""Gain of each optimization: several builds of one image, each booted on emulated drives.

    bench/boot.py                       a build for each, CD and USB stick, three boots each
    bench/boot.py --rows unsorted,sorted,readahead --drives cd-24x --repeats 1
    bench/boot.py --write               write docs/boot-bench.md, too
    bench/boot.py --repeats 0 --write   the same with the boots that were made before

The image is that of the configuration. The first rows have one optimization each. From "probes" to
"outer-edge", each row adds one optimization to the row above it. The last rows are "sorted" with
another order or other squashfs options.

All builds are release images, without the profiler. The bootlog that they are sorted by is recorded
once on an unsorted build with the profiler: with all optimizations for the rows that have them, and
without any for the others. Boots are interleaved (each row once, then each row again). Finished
boots are kept in OUTPUT/boots.json, and a bench that was stopped continues there.

Time to the boot target is computing plus waiting for the drive. An emulated processor (no KVM)
computes several times slower than a real one (bench/processor.py measures the factor), which hides
what the drive costs. --drive-scale slows the drive down by the same factor, and all measured times
are divided by it. Several scales, separated by commas, give a table each.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from bootprof.files import replacing
from bootprof.units import quantity
from optimizer.drives.models import DRIVES, Drive
from optimizer.drives.seek import modelled_seconds, totals_of
from optimizer.formats.blocktrace import read_block_trace

TOP = Path(__file__).parent.parent
PLAIN = (
    *("-D", "media.quick_probes=false", "-D", "media.reading_order=false"),
    *("-D", "initrd.compressor=keep", "-D", "initrd.leave_out=[]"),
)
# What bootprof-readahead stops at (docs/commands/readahead.md).
SLOWEST_KIB = 256
# The filter of the one-liner of 2007: no boundary behind the names, as it was.
DROPPED = ("/dev", "/proc", "/sys", "/live/distrib")


@dataclass(frozen=True)
class Row:
    """A variant of the image.

    Attributes:
        name: In options and in the results.
        title: In the table; with a + for one optimization more than in the row above.
        full_title: In a table that leaves out the row above.
        options: For bootprof build.
        sort: Which sort file: ``none``, ``one-liner``, ``block``, ``start``, ``end``, or ``search``
            for the best of many at the end.
        readahead: What it reads ahead: ``none``, ``tables`` or ``all``.
        recorded: Which boot it is sorted by, that of the image without any optimization (``plain``)
            or that with all but the sort (``optimized``).
    """

    name: str
    title: str
    options: tuple[str, ...] = ()
    sort: str = "none"
    readahead: str = "none"
    recorded: str = "optimized"
    full_title: str = ""


ROWS = (
    Row("unsorted", "no optimization", PLAIN, recorded="plain"),
    Row("one-liner", "one-liner of 2007", PLAIN, "one-liner", recorded="plain"),
    Row("block", "sort by block trace", PLAIN, "block", recorded="plain"),
    Row("file", "sort by kernel events", PLAIN, "start", recorded="plain"),
    Row("probes", "+ quick probes", PLAIN[2:], recorded="plain"),
    Row("order", "+ ISO file order", PLAIN[4:], recorded="plain"),
    Row("initrd", "+ small initrd", full_title="no sort, all optimizations before it"),
    Row("start", "+ hot files at the start", (), "start", full_title="our sort, at the start"),
    Row("sorted", "+ hot files beside the tables", (), "end", full_title="our sort"),
    Row("tables", "+ table readahead", (), "end", "tables"),
    Row("readahead", "+ readahead", (), "end", "all"),
    Row(
        "outer-edge", "+ kernel near the outer edge", ("-D", "media.outer_edge=true"), "end", "all"
    ),
    Row("search", "our sort, best of 20,000 orders", (), "search"),
    Row("search-readahead", "the same, with readahead", (), "search", "all"),
    Row(
        "tails",
        "our sort, separate fragment blocks",
        ("-D", "squashfs.separate_fragments=true"),
        "end",
    ),
    Row("small", "our sort, blocks of 64 KiB", ("-D", "squashfs.block_size=65536"), "end"),
)


@dataclass(frozen=True)
class Boots:
    """All boots of one build on one drive.

    Attributes:
        row: The build.
        drive: The drive.
        scale: How many times slower it was, and the processor is taken to be.
        results: What ``boots.json`` has of each.
    """

    row: Row
    drive: Drive
    scale: float
    results: tuple[dict[str, Any], ...]

    def middle(self, key: str) -> float:
        """Return the median of a figure."""
        return float(median(result[key] for result in self.results))

    def spread(self, key: str) -> float:
        """Return the difference of the largest and the smallest value of a figure."""
        values = [result[key] for result in self.results]
        return float(max(values) - min(values))


def bootprof(*words: object) -> bytes:
    """Run bootprof, with its messages on standard error."""
    command = [sys.executable, "-m", "bootprof", *(str(word) for word in words)]
    return subprocess.run(command, cwd=TOP, stdout=subprocess.PIPE, check=True).stdout


def build(options: argparse.Namespace, image: Path, *words: object) -> None:
    """Build an image."""
    bootprof(
        "build",
        *("--config", options.config, "--output", options.cache, "--image", image),
        *words,
    )


def one_liner(bootlog: Path) -> str:
    """Return what the one-liner of 2007 makes of a bootlog, in the form that mksquashfs reads."""
    paths = dict.fromkeys(bootlog.read_text(errors="surrogateescape").splitlines())
    kept = [path for path in paths if not path.startswith(DROPPED)]
    return "".join(f"{path.lstrip('/')} {32767 - rank}\n" for rank, path in enumerate(kept))


def record(options: argparse.Namespace, row: Row) -> tuple[Path, Path]:
    """Record the boot that a build is sorted by; return its profile and the image."""
    name = row.recorded
    profile: Path = options.output / f"profile-{name}"
    image: Path = options.output / f"profiling-{name}.iso"
    if not profile.exists():
        build(options, image, "--profiling", "--no-sort", *(PLAIN if name == "plain" else ()))
        bootprof("profile", image, "--backend", "kmod", "--output", profile, *machine(options))
    return profile, image


def machine(options: argparse.Namespace) -> list[object]:
    """Return the options of bootprof profile that all boots have."""
    return ["--until", options.until, "--timeout", options.timeout, "--memory", options.memory]


def sort_file(options: argparse.Namespace, row: Row) -> Path:
    """Make the sort file of a row."""
    profile, image = record(options, row)
    kind = row.sort
    target: Path = options.output / f"{row.name}.sort"
    root = options.cache / "root"
    if kind == "one-liner":
        content = one_liner(profile / "bootlog.list").encode(errors="surrogateescape")
    elif kind == "block":
        found = options.output / "block.list"
        trace = profile / "blocktrace.tsv"
        bootprof("convert", "--from", "block", trace, "--image", image, "-o", found)
        content = bootprof("sort", "--root", root, found)
    else:
        events = profile / "bootlog.events"
        place = ["--place", "start"] if kind == "start" else ["--place", "end", "--image", image]
        search = ["--search", 20_000] if kind == "search" else []
        content = bootprof("sort", "--root", root, *place, *search, events)
    with replacing(target) as temporary:
        temporary.write_bytes(content)
    return target


def in_slow_motion(options: argparse.Namespace, scale: float) -> list[str]:
    """Return options of the build: readahead takes a drive for slow in slow motion, too."""
    media = tomllib.loads(options.config.read_text())["media"]
    command_line = f"{media['boot_options']} bootprof.slowest={round(SLOWEST_KIB / scale)}"
    return ["-D", f"media.boot_options={json.dumps(command_line)}"]


def build_row(options: argparse.Namespace, row: Row, scale: float = 1.0) -> Path:
    """Build the image of a row, or find it."""
    slow = row.readahead != "none" and scale != 1
    image: Path = options.output / f"{row.name}{f'-{scale:g}' if slow else ''}.iso"
    if not image.exists():
        words: list[object] = [*row.options, *(in_slow_motion(options, scale) if slow else ())]
        if row.sort == "none":
            words.append("--no-sort")
        else:
            file = sort_file(options, row).resolve()
            words += ["-D", f"squashfs.sort={json.dumps(str(file))}"]
        if row.readahead == "tables":
            words += ["-D", 'readahead.what="tables"']
        elif row.readahead == "all":
            words += ["--readahead", record(options, row)[0] / "bootlog.events"]
        build(options, image, *words)
    return image


def boot(options: argparse.Namespace, row: Row, drive: Drive, scale: float) -> dict[str, Any]:
    """Boot an image on a drive, and return the figures of that boot; times are not divided."""
    image = build_row(options, row, scale)
    profile, _ = record(options, row)
    folder = options.output / "boot"
    bootprof(
        *("profile", image, "--backend", "block", "--output", folder),
        *("--drive", drive.name, "--drive-scale", scale, *machine(options)),
    )
    description = json.loads((folder / "profile.json").read_text())
    with (folder / "blocktrace.tsv").open("rb") as stream:
        trace = read_block_trace(stream, str(folder))
    answer = json.loads(
        bootprof(
            *("analyze", image, folder, "--bootlog", profile / "bootlog.events"),
            *("--drive", drive.name, "--json"),
        )
    )
    found = totals_of(trace.reads)
    return {
        "seek_distance_bytes": found.seek_distance_bytes,
        "noncontiguous_reads": found.noncontiguous_reads,
        "bytes": found.bytes,
        "modelled_seconds": modelled_seconds(trace.reads, drive),
        "limit_seconds": answer["limit_seconds"],
        "emulated_seconds": description["drive"]["measured_seconds"],
        "target_seconds": description["target_ns"] / 1e9,
        "load": os.getloadavg()[0],
    }


def ratio(value: float, base: float) -> str:
    """Return how many times smaller a value is."""
    return f"{base / value:.1f}x" if value else "-"


def titles(table: Sequence[Boots]) -> list[str]:
    """Return what the rows of a table are called: in full, where the row before is left out."""
    found = []
    shown = {boots.row.name for boots in table}
    for boots in table:
        before = ROWS[ROWS.index(boots.row) - 1]
        cut = before.name not in shown and boots.row.full_title
        found.append(boots.row.full_title if cut else boots.row.title)
    return found


def cells(title: str, boots: Boots, base: Boots) -> list[str]:
    """Return a line of the table: each figure, and how many times it is smaller than unsorted."""
    line = [title]
    for key, unit in (
        ("seek_distance_bytes", "bytes"),
        ("noncontiguous_reads", ""),
        ("bytes", "bytes"),
    ):
        value = boots.middle(key)
        text = quantity(value, unit)
        line.append(f"{text} ({ratio(value, base.middle(key))})")
    modelled = boots.middle("modelled_seconds")
    line.append(f"{modelled:.1f} s ({ratio(modelled, base.middle('modelled_seconds'))})")
    line.append(f"{modelled / boots.middle('limit_seconds'):.2f}")
    target = boots.middle("target_seconds") / boots.scale
    change = boots.middle("target_seconds") / base.middle("target_seconds") - 1
    several = len(boots.results) > 1
    spread = f" ± {boots.spread('target_seconds') / boots.scale / 2:.1f}" if several else ""
    line.append(f"{target:.1f} s{spread} ({change:+.0%})")
    line.append(f"{target - boots.middle('emulated_seconds') / boots.scale:.1f} s")
    return line


HEADINGS = (
    "build",
    "seek distance",
    "non-contiguous reads",
    "bytes",
    "modelled I/O",
    "x limit",
    "boot target",
    "computing",
)


def name_of(boots: Boots) -> str:
    """Return the title of a table: the drive, and how slow the processor was for it."""
    if boots.scale == 1:
        return boots.drive.title
    return (
        f"{boots.drive.title}, slowed down {boots.scale:g} times, times divided by {boots.scale:g}"
    )


def verdict(tables: Sequence[Sequence[Boots]]) -> list[str]:
    """Say of each drive whether readahead has made it slower than the sort alone."""
    lines = []
    for table in tables:
        by_name = {boots.row.name: boots for boots in table}
        if not {"readahead", "sorted"} <= by_name.keys():
            continue
        ahead, alone = by_name["readahead"], by_name["sorted"]
        key = "target_seconds"
        noise = max(ahead.spread(key), alone.spread(key)) / alone.scale
        change = (ahead.middle(key) - alone.middle(key)) / alone.scale
        if min(len(ahead.results), len(alone.results)) < 2:
            word = "one boot of each, so the spread is unknown"
            lines.append(f"{name_of(ahead)}: readahead {change:+.1f} s; {word}")
            continue
        if change > noise:
            word = "DEFECT: readahead is slower than the sort alone"
        else:
            word = "readahead is not slower than the sort alone"
        lines.append(f"{name_of(ahead)}: {word}: {change:+.1f} s, run-to-run spread {noise:.1f} s")
    return lines


def markdown(tables: Sequence[Sequence[Boots]], options: argparse.Namespace) -> str:
    """Return the document."""
    counts = {len(boots.results) for table in tables for boots in table}
    repeats = " to ".join(str(count) for count in sorted({min(counts), max(counts)})) + " times"
    repeats = "once" if repeats == "1 times" else repeats
    names = ", ".join(row.title.removeprefix("+ ") for row in ROWS if row.title[0] == "+")
    parts = [
        "# Gain of each optimization\n\nOne image, built with one optimization after the other and "
        f"booted on emulated drives. `bench/boot.py --write` writes this page. Image: config/"
        f"{options.config.name}, on the machine that was profiled; each build booted {repeats} on "
        f"each drive until `{options.until}`.\n\n"
        "- Figures are medians; ± is half of the spread of the boots.\n"
        "- (2.0x): 2.0 times less than the build without optimizations. (-50%): change of the boot "
        "target.\n"
        "- x limit: modelled I/O as a multiple of the [limit](glossary.md).\n"
        "- computing: boot target less the time that the emulated drive was busy.\n"
        f'- "our sort" has all optimizations of the rows above it, in their order: {names}.\n'
    ]
    if any(boots.scale != 1 for table in tables for boots in table):
        parts.append(
            "The processor was emulated, which makes it several times slower than a real one "
            "(`bench/processor.py` measures the factor) and hides what a drive costs. Where the "
            "title of a table has a factor, the drive was slower by this factor, and all measured "
            "times are divided by it.\n"
        )
    for table in tables:
        parts.append(
            f"## {name_of(table[0])}\n\n| {' | '.join(HEADINGS)} |\n|{' --- |' * len(HEADINGS)}"
        )
        for title, boots in zip(titles(table), table, strict=True):
            parts[-1] += f"\n| {' | '.join(cells(title, boots, table[0]))} |"
        parts[-1] += "\n"
    parts.append("\n".join(f"- {line}" for line in verdict(tables)))
    return "\n".join(parts).rstrip() + "\n"


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--config", type=Path, default=TOP / "config/live.cfg")
    parser.add_argument("--output", type=Path, default=TOP / "out/bench")
    parser.add_argument("--cache", type=Path, default=TOP / "out", help="--output of the builds")
    names = ",".join(row.name for row in ROWS)
    parser.add_argument("--rows", default=names, help="of them: %(default)s")
    parser.add_argument("--drives", default="cd-24x,usb-2")
    parser.add_argument("--drive-scale", default="1", help="one or several (1)")
    parser.add_argument("--repeats", type=int, default=3, help="boots of each (3)")
    parser.add_argument("--until", default="console:login:")
    parser.add_argument("--timeout", type=float, default=1200)
    parser.add_argument("--memory", type=int, default=1024)
    parser.add_argument(
        "--write",
        type=Path,
        nargs="?",
        const=TOP / "docs/boot-bench.md",
        metavar="FILE",
        help="write the tables (docs/boot-bench.md)",
    )
    options = parser.parse_args()
    if unknown := set(options.rows.split(",")) - set(names.split(",")):
        parser.error(f"no such rows: {', '.join(unknown)}; there are {names}")
    if unknown := set(options.drives.split(",")) - set(DRIVES):
        parser.error(f"no such drives: {', '.join(unknown)}; there are {', '.join(DRIVES)}")
    return options


def main() -> int:
    """Build, boot, and print the table."""
    options = parse()
    options.output = options.output.resolve()
    options.output.mkdir(parents=True, exist_ok=True)
    rows = [row for row in ROWS if row.name in options.rows.split(",")]
    drives = [DRIVES[name] for name in options.drives.split(",")]
    scales = [float(scale) for scale in options.drive_scale.split(",")]
    kept = options.output / "boots.json"
    results: dict[str, list[dict[str, Any]]] = json.loads(kept.read_text()) if kept.exists() else {}
    cases = [(drive, scale) for scale in scales for drive in drives]
    for number in range(options.repeats):
        for drive, scale in cases:
            for row in rows:
                done = results.setdefault(f"{row.name} {drive.name} {scale:g}", [])
                if len(done) > number:
                    continue
                done.append(boot(options, row, drive, scale))
                with replacing(kept) as temporary:
                    temporary.write_text(json.dumps(results, indent=1) + "\n")
    tables = [
        [
            Boots(row, drive, scale, tuple(found))
            for row in rows
            if (found := results.get(f"{row.name} {drive.name} {scale:g}"))
        ]
        for drive, scale in cases
    ]
    tables = [table for table in tables if table]
    for boots in tables:
        table = Table(title=name_of(boots[0]), box=box.SIMPLE, title_justify="left")
        for heading in HEADINGS:
            table.add_column(heading)
        for title, row_boots in zip(titles(boots), boots, strict=True):
            table.add_row(*cells(title, row_boots, boots[0]))
        Console(width=None if sys.stdout.isatty() else 160).print(table)
    for line in verdict(tables):
        print(line)
    if options.write:
        with replacing(options.write) as temporary:
            temporary.write_text(markdown(tables, options))
    return int(any("DEFECT" in line for line in verdict(tables)))


if __name__ == "__main__":
    sys.exit(main())
