# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""One root tree in squashfs and EROFS, in several orders: size, and the simulated cost of a boot.

    python -m bench.formats ROOT ORDER DEMAND... [--form NAME ...]
        [--mkfs PROGRAM] [--work DIR] [--page FILE]

ORDER is the bootlog that decides the order (bootlog.events). The needs of each DEMAND are replayed
on each image: TITLE=FILE, of the same boot or of one on another machine. What is read is what the
files of the boot need, whole clusters and metadata blocks, in the order of need, without kernel
readahead. With readahead, the ranges that ORDER needs are read in one pass first, and then what is
left. TMPDIR has to be on the file system of ROOT, of which hard links are made.

What --work has already is used again, so that the command can be repeated until all is there.
The tables are printed, or written into FILE between two comments "figures".
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bootprof.builder.config import Erofs
from bootprof.builder.erofs import Stamp, find_packer, make_erofs, make_ordered
from bootprof.builder.squashfs import mksquashfs_version
from bootprof.commands.inputs import wanted_by_bootlog
from bootprof.errors import InputError
from bootprof.files import scratch_folder
from bootprof.process import run
from optimizer.demand import demand_of, touched_by
from optimizer.drives.models import CD_24X, DRIVES, USB_2
from optimizer.drives.seek import modelled_seconds, totals_of
from optimizer.formats.bootlog import read_bootlog
from optimizer.formats.events import Bootlog
from optimizer.images.image import open_image
from optimizer.images.layout import Layout
from optimizer.images.reorder import reorder
from optimizer.kernel import PAGE_BYTES
from optimizer.readahead import plan, wanted_by_demand, with_kernel_readahead
from optimizer.replay import reads_of_demand
from optimizer.spans import Spans, make_spans, spans_of

STAMP = Stamp("00000000-0000-4000-8000-000000000001", 1_000_000_000)
SQUASHFS = {
    "squashfs zstd 128 KiB": ("-comp", "zstd", "-b", "128K"),
    "squashfs xz 1 MiB": ("-comp", "xz", "-b", "1M"),
}
EROFS = {
    "EROFS lz4hc,9 64 KiB": Erofs(level=9),
    "EROFS lz4hc,9 64 KiB, fragments": Erofs(level=9, features=("fragments",)),
    "EROFS zstd,8 64 KiB, dedupe, all-fragments (lorax)": Erofs(
        "zstd", 8, features=("dedupe", "all-fragments")
    ),
    "EROFS zstd 64 KiB, fragments (CoreOS)": Erofs("zstd", features=("fragments",)),
    "EROFS lzma,6 1 MiB, all-fragments (Fedora)": Erofs("lzma", 6, 1 << 20, ("all-fragments",)),
}
HEAD = (
    "| image | order | MB | reads | jumps | read MB | seek distance GB | CD 24x s | USB 2 s |\n"
    "| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |"
)
UNORDERED = "as packed"


@dataclass(frozen=True)
class Case:
    """What all forms have in common.

    Attributes:
        root: The tree.
        order: Bootlog that decides the order.
        demands: Events of boots, by what the tables call them.
        folder: Where images are made; on the file system of the tree.
        program: mkfs.erofs.
    """

    root: Path
    order: Path
    demands: dict[str, Bootlog]
    folder: Path
    program: str


@dataclass(frozen=True)
class Row:
    """An image in an order.

    Attributes:
        form: The image.
        order: The order.
        size_bytes: Size of the image.
        reads: For each demand what is read; empty if the order was refused.
    """

    form: str
    order: str
    size_bytes: int
    reads: dict[str, Spans]

    def line(self, demand: str) -> str:
        """Return the line of the table of a demand."""
        reads = self.reads[demand]
        found = totals_of(reads)
        cells = (
            f"{self.size_bytes / 1e6:.1f}",
            f"{found.reads}",
            f"{found.noncontiguous_reads}",
            f"{found.bytes / 1e6:.1f}",
            f"{found.seek_distance_bytes / 1e9:.2f}",
            f"{modelled_seconds(reads, CD_24X):.1f}",
            f"{modelled_seconds(reads, USB_2):.2f}",
        )
        return f"| {self.form} | {self.order} | {' | '.join(cells)} |"


def measured(case: Case, form: str, order: str, image: Path) -> Row:
    """Replay all demands on an image."""
    layout = open_image(image, offset_bytes=0).layout()
    reads: dict[str, Spans] = {
        title: spans_of(reads_of_demand(layout, log)) for title, log in case.demands.items()
    }
    return Row(form, order, image.stat().st_size, reads)


def with_readahead(case: Case, row: Row, image: Path) -> Row:
    """Return the row of an image whose boot reads ahead what the order's bootlog needs."""
    layout = open_image(image, offset_bytes=0).layout()
    ranges = ranges_of(layout, case.order)
    reads = {
        title: np.concatenate([ranges, remaining(spans, ranges)])
        for title, spans in row.reads.items()
    }
    return replace(row, order=f"{row.order} + readahead", reads=reads)


def remaining(reads: Spans, known: Spans) -> Spans:
    """Return what of reads is not in memory yet, in their order; all in whole pages."""
    pages = np.unique(pages_of(known))
    left = pages_of(reads)
    left = left[~np.isin(left, pages)]
    begins = np.flatnonzero(np.diff(left, prepend=-2) != 1)
    lengths = np.diff(begins, append=left.size)
    return make_spans(left[begins] * PAGE_BYTES, lengths * PAGE_BYTES)


def pages_of(spans: Spans) -> NDArray[np.int64]:
    """Return the numbers of the pages of spans, in their order."""
    first = spans["offset_bytes"] // PAGE_BYTES
    counts = -(-(spans["offset_bytes"] + spans["length_bytes"]) // PAGE_BYTES) - first
    inner = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    return np.asarray(np.repeat(first, counts) + inner, np.int64)


def ranges_of(layout: Layout, order: Path) -> Spans:
    """Return the ranges that are read ahead on a CD, in their order."""
    demand = demand_of(layout, touched_by(order, with_kernel_readahead))
    ranges = plan(layout, wanted_by_demand(layout, demand), CD_24X).ranges
    return make_spans(ranges["offset_bytes"], ranges["length_bytes"])


def in_place(case: Case, form: str, order: str, image: Path) -> Iterator[Row]:
    """Reorder an image, and yield its rows; one without reads if that is refused."""
    target = case.folder / "reordered"
    layout = open_image(image, offset_bytes=0).layout()
    wanted = wanted_by_bootlog(layout, case.order, "end")
    try:
        with image.open("rb") as source, target.open("w+b") as stream:
            reorder(layout, source, wanted, stream)
        row = measured(case, form, order, target)
        yield row
        yield with_readahead(case, row, target)
    except InputError:
        yield Row(form, f"{order}: refused", 0, {})
    finally:
        target.unlink(missing_ok=True)


def rows_of_squashfs(case: Case, form: str) -> Iterator[Row]:
    """Pack a squashfs, reorder it, and yield all rows."""
    image = case.folder / "squashfs"
    run(
        ["mksquashfs", case.root.resolve(), image, "-noappend", "-no-progress", *SQUASHFS[form]],
        env={"SOURCE_DATE_EPOCH": str(STAMP.epoch)},
    )
    yield measured(case, form, UNORDERED, image)
    yield from in_place(case, form, "in place", image)
    image.unlink()


def rows_of_erofs(case: Case, form: str) -> Iterator[Row]:
    """Pack an EROFS in the order of mkfs.erofs and in that of the boot, and yield all rows."""
    options = replace(EROFS[form], program=case.program, exclude=())
    image, log_file = case.folder / "erofs", case.folder / "log"
    make_erofs(options, case.root, image, STAMP, log_file)
    yield measured(case, form, UNORDERED, image)
    yield from in_place(case, form, "in place", image)
    layout = open_image(image, offset_bytes=0).layout()
    wanted = wanted_by_bootlog(layout, case.order, "end")
    image.unlink()
    make_ordered(options, case.root, image, wanted, STAMP, log_file)
    yield from in_place(case, form, "packed in order, in place", image)
    image.unlink()


def tables(case: Case, rows: Sequence[Row]) -> list[str]:
    """Return the lines of a table for each demand, and of what got worse on any drive."""
    lines = []
    for title in case.demands:
        lines += ["", f"### {title[:1].upper()}{title[1:]}", "", *HEAD.split("\n")]
        lines += [
            row.line(title) if row.reads else f"| {row.form} | {row.order} |{' - |' * 7}"
            for row in rows
        ]
    return [*lines, "", *goals(rows)]


def goals(rows: Sequence[Row]) -> list[str]:
    """Return what the best order of each form gains, and each order that is worse on a drive."""
    first = {row.form: row for row in rows if row.order == UNORDERED}
    best = {row.form: row for row in rows if row.reads and "readahead" not in row.order}
    lines = [
        "Change by the last order without readahead, against the image as packed:",
        "",
        "| image | demand | CD 24x | USB 2 | seek distance | size |",
        "| --- | --- | ---: | ---: | ---: | ---: |",
    ]
    for form, row in best.items():
        before = first[form]
        for title, reads in row.reads.items():
            times = [
                modelled_seconds(reads, drive) / modelled_seconds(before.reads[title], drive) - 1
                for drive in (CD_24X, USB_2)
            ]
            seeks = [totals_of(each).seek_distance_bytes for each in (before.reads[title], reads)]
            size = row.size_bytes / before.size_bytes - 1
            lines.append(
                f"| {form} | {title} | {times[0]:+.0%} | {times[1]:+.0%} | "
                f"{seeks[0] / seeks[1]:.1f}x less | {size:+.1%} |"
            )
    worse = [
        f"{row.form}, {row.order}, {title}, {drive.title}"
        for row in rows
        for title, reads in row.reads.items()
        for drive in DRIVES.values()
        if modelled_seconds(reads, drive)
        > 1.001 * modelled_seconds(first[row.form].reads[title], drive)
    ]
    return [*lines, "", f"Slower than as packed, on any drive: {'; '.join(worse) or 'none'}."]


def rows_of(case: Case, form: str, work: Path | None) -> list[Row]:
    """Return the rows of a form, those that a folder keeps if it has them."""
    kept = work / f"{form.replace('/', ' ')}.json" if work is not None else None
    if kept is not None and kept.exists():
        return [
            Row(form, order, size, {title: make_spans(*zip(*reads, strict=True))
                                    for title, reads in found.items()})
            for form, order, size, found in json.loads(kept.read_text())
        ]  # fmt: skip
    rows = []
    for row in (rows_of_squashfs if form in SQUASHFS else rows_of_erofs)(case, form):
        rows.append(row)
        print(f"{row.form}, {row.order}: {row.size_bytes / 1e6:.1f} MB", file=sys.stderr)
    if kept is not None:
        kept.write_text(
            json.dumps(
                [
                    (row.form, row.order, row.size_bytes,
                     {title: spans.tolist() for title, spans in row.reads.items()})
                    for row in rows
                ]
            )
        )  # fmt: skip
    return rows


def written_into(page: str, lines: Sequence[str]) -> str:
    """Return a page with its figures replaced."""
    marker = "<!-- figures -->"
    before, _, rest = page.partition(marker)
    _, _, after = rest.partition(marker)
    return f"{before}{marker}\n" + "\n".join(lines) + f"\n\n{marker}{after}"


def main() -> int:
    """Make all images, one after the other, and write the tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("root", type=Path)
    parser.add_argument("order", type=Path)
    parser.add_argument("demands", nargs="+", metavar="TITLE=FILE")
    parser.add_argument("--form", action="append", choices=[*SQUASHFS, *EROFS])
    parser.add_argument("--mkfs", default="mkfs.erofs", help="program")
    parser.add_argument("--work", type=Path, help="folder that keeps what is measured")
    parser.add_argument("--page", type=Path)
    options = parser.parse_args()
    if options.work is not None:
        options.work.mkdir(parents=True, exist_ok=True)
    demands = {}
    for given in options.demands:
        title, _, name = given.rpartition("=")
        with Path(name).open("rb") as stream:
            demands[title] = read_bootlog(stream, name)
    rows: list[Row] = []
    with scratch_folder() as folder:
        case = Case(options.root, options.order, demands, folder, options.mkfs)
        for form in options.form or [*SQUASHFS, *EROFS]:
            rows += rows_of(case, form, options.work)
    packer = find_packer(Erofs(program=options.mkfs)).version or "1.5 or older"
    squashfs = ".".join(map(str, mksquashfs_version()))
    lines = [f"mkfs.erofs {packer}, mksquashfs {squashfs}.", *tables(case, rows)]
    if options.page is None:
        print("\n".join(lines))
    else:
        options.page.write_text(written_into(options.page.read_text(), lines))
    return 0


if __name__ == "__main__":
    sys.exit(main())
