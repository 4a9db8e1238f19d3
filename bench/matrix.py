# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""Completeness of each recorder on each kernel: the tables of docs/matrix.md.

    .venv/bin/python -m bench.matrix [--write]       (as root; some ten minutes)

Boots the kernel of each suite in QEMU once for each recorder, with the workload of vmtest/matrix,
which keeps its own list of accesses, and compares the two. ``--write`` puts the tables into
docs/matrix.md, between their marks; without it they are printed. The recordings are kept in
--folder; ``--reuse`` uses them instead of booting again.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bootprof import backends
from bootprof.backends import Recording
from bootprof.builder import store
from bootprof.builder.kernelmodule import build_module
from bootprof.files import remove, replacing
from optimizer.formats.blocktrace import read_block_trace, write_block_trace
from vmtest.kernels import fetch_kernel
from vmtest.matrix import guest
from vmtest.matrix.agreement import compare
from vmtest.matrix.document import differences, listing, replace_section, share, table
from vmtest.matrix.explanations import explanation
from vmtest.matrix.score import STORM, Result, Score, evaluate, read_truth

TOP = Path(__file__).parent.parent

DOCUMENT = TOP / "docs/matrix.md"
SUITES = ("bullseye", "bookworm", "trixie", "sid")
# Two recorders in one boot, to be compared with each other.
PAIR = ("kmod", "ebpf")


@dataclass(frozen=True)
class Cell:
    """What came of a recorder on a kernel."""

    name: str
    kernel: str
    result: Result


def record(
    suite: str, names: Sequence[str], live: guest.LiveSystem, cache: Path, folder: Path
) -> None:
    """Boot the kernel of a suite with recorders; keep all that came of it in a folder."""
    with store.opened(cache):
        kernel = fetch_kernel(suite, cache)
        module = build_module(suite, cache, kernel_release=kernel.release)
    recorders = [guest.RECORDERS[name] for name in names]
    with replacing(folder) as temporary:
        run = guest.run_workload(live, kernel, recorders, temporary, module=module)
        (temporary / "truth").write_bytes(run.truth)
        assert run.recording.block_trace is not None
        with (temporary / "blocktrace.tsv").open("wb") as stream:
            write_block_trace(stream, run.recording.block_trace)
        (temporary / "run.json").write_text(json.dumps({"kernel": run.kernel}) + "\n")
        remove(folder)


def recorded(folder: Path, image: Path) -> tuple[str, Recording]:
    """Return the kernel of a kept run, and what was recorded."""
    with (folder / "blocktrace.tsv").open("rb") as stream:
        trace = read_block_trace(stream, str(folder / "blocktrace.tsv"))
    kernel: str = json.loads((folder / "run.json").read_text())["kernel"]
    return kernel, Recording({path.name: path for path in folder.iterdir()}, image, trace)


def totals(cells: Sequence[Cell]) -> str:
    """Return the table of all recorders on all kernels."""
    rows = []
    for cell in cells:
        result = cell.result
        rows.append(
            [
                f"{cell.name}, {cell.kernel}",
                share(result.total.recall),
                share(result.total.precision),
                share(result.total.tau),
                f"{result.in_order} of {result.processes}",
                f"{result.storm_recorded:,} of {result.storm_opens:,}",
                ("at most " if result.skipped else "") + f"{result.lost:,}",
            ]
        )
    head = ["recorder, kernel", "recall", "precision", "tau", "processes exact", "storm", "lost"]
    return table(head, rows)


def by_part(cells: Sequence[Cell]) -> str:
    """Return the table of one recorder, and why its cells are not 1."""
    rows = []
    for part in cells[0].result.parts:
        scores = [cell.result.parts[part] for cell in cells]
        rows.append([f"{part} ({scores[0].accessed})", *(triple(part, score) for score in scores)])
    return table(["part (paths)", *(cell.kernel for cell in cells)], rows) + "\n" + remarks(cells)


def triple(part: str, score: Score) -> str:
    """Return recall, precision and tau of a part in one cell."""
    if not score.accessed:
        return f"{score.listed} listed"
    # In the storm 200 processes run at once: no order among them is the true one.
    tau = None if part == STORM else score.tau
    return " / ".join(share(value) for value in (score.recall, score.precision, tau))


def remarks(cells: Sequence[Cell]) -> str:
    """Say of the figures that are not 1 which paths they are about, and why."""
    found: dict[tuple[str, str], dict[str, dict[bytes, None]]] = {}
    for part in cells[0].result.parts:
        for cell in cells:
            score = cell.result.parts[part]
            wrong = {"missed": score.missed, "listed but not accessed": score.invented}
            if part != STORM and score.tau not in (None, 1):
                wrong["out of order"] = ()
            for kind, paths in wrong.items():
                if paths or kind == "out of order":
                    reason = explanation(cells[0].name, part, kind)
                    parts = found.setdefault((kind, reason), {})
                    parts.setdefault(part, {}).update(dict.fromkeys(paths))
    text = ""
    for (kind, reason), parts in found.items():
        paths = tuple(path for examples in parts.values() for path in examples)
        text += f"- **{kind}** ({', '.join(parts)}): {reason}"
        text += f": {listing(paths)}\n" if paths else "\n"
    return text


def main() -> int:
    """Run what is asked for, and print or write the tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--suites", nargs="+", default=SUITES, metavar="SUITE")
    parser.add_argument("--recorders", nargs="+", default=list(guest.RECORDERS), metavar="NAME")
    parser.add_argument("--output", type=Path, default=TOP / "out", metavar="FOLDER")
    parser.add_argument("--folder", type=Path, default=TOP / "out/matrix", metavar="FOLDER")
    parser.add_argument("--reuse", action="store_true", help="boot only what --folder lacks")
    parser.add_argument("--write", action="store_true", help="write docs/matrix.md")
    options = parser.parse_args()
    live_folder = options.folder / "live"
    if not options.reuse or not live_folder.exists():
        with replacing(live_folder) as temporary:
            temporary.mkdir(parents=True)
            guest.build_live_system(temporary)
            remove(live_folder)
    live = guest.live_system(live_folder)
    cells, pairs = [], []
    for names in (*((name,) for name in options.recorders), PAIR):
        for suite in options.suites:
            if names != PAIR and not guest.RECORDERS[names[0]].runs_on(suite):
                continue
            folder = options.folder / suite / "+".join(names)
            if not options.reuse or not folder.exists():
                print(f"{suite}: {'+'.join(names)}", file=sys.stderr)
                record(suite, names, live, options.output / "cache", folder)
            kernel, recording = recorded(folder, live.image)
            logs = [backends.load(name).read(recording) for name in names]
            if names == PAIR:
                pairs.append((kernel, compare(*logs)))
            else:
                truth = read_truth((folder / "truth").read_bytes())
                cells.append(Cell(names[0], kernel, evaluate(truth, logs[0])))
    parts = ""
    for name in options.recorders:
        mine = [cell for cell in cells if cell.name == name]
        if mine:
            parts += f"\n### {name}\n\n" + by_part(mine)
    agreements = "".join(
        f"\n### {'+'.join(PAIR)}, {kernel}\n\n" + differences(agreement, PAIR)
        for kernel, agreement in pairs
    )
    sections = {"totals": totals(cells), "parts": parts, "agreement": agreements}
    for name, content in sections.items():
        if options.write:
            replace_section(DOCUMENT, name, content)
        else:
            print(content)
    return 0


if __name__ == "__main__":
    sys.exit(main())
