# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""One root tree in squashfs and EROFS, in several orders: size, and the simulated cost of a boot.

    python -m bench.formats ROOT ORDER DEMAND [--form NAME ...] [--mkfs PROGRAM]

ORDER is the bootlog that decides the order; DEMAND is one of another boot, whose needs are replayed
on each image (bootlog.events). What is read is what the files of the boot need, whole clusters and
metadata blocks, in the order of need, without kernel readahead. A table in Markdown is printed; the
images are removed. TMPDIR has to be on the file system of ROOT, of which hard links are made.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from bootprof.builder.config import Erofs
from bootprof.builder.erofs import Stamp, make_erofs, make_ordered
from bootprof.commands.inputs import wanted_by_bootlog
from bootprof.errors import InputError
from bootprof.files import scratch_folder
from bootprof.process import run
from optimizer.drives.models import CD_24X, USB_2
from optimizer.drives.seek import modelled_seconds, totals_of
from optimizer.formats.bootlog import read_bootlog
from optimizer.formats.events import Bootlog
from optimizer.images.image import open_image
from optimizer.images.reorder import reorder
from optimizer.replay import reads_of_demand

STAMP = Stamp("00000000-0000-4000-8000-000000000001", 1_000_000_000)
SQUASHFS = {
    "squashfs zstd 128 KiB": ("-comp", "zstd", "-b", "128K"),
    "squashfs xz 1 MiB": ("-comp", "xz", "-b", "1M"),
}
EROFS = {
    "EROFS lz4hc,9 64 KiB": Erofs(level=9),
    "EROFS lz4hc,9 64 KiB, fragments": Erofs(level=9, features=("fragments",)),
    "EROFS zstd,8 64 KiB (lorax)": Erofs("zstd", 8, features=("dedupe", "all-fragments")),
    "EROFS zstd 64 KiB, fragments (CoreOS)": Erofs("zstd", features=("fragments",)),
    "EROFS lzma,6 1 MiB (Fedora)": Erofs("lzma", 6, 1 << 20, ("all-fragments",)),
}
HEAD = (
    "| image | order | MB | reads | read MB | seek distance GB | CD 24x s | USB 2 s |\n"
    "| --- | --- | --- | --- | --- | --- | --- | --- |"
)


@dataclass(frozen=True)
class Case:
    """What all forms have in common.

    Attributes:
        root: The tree.
        order: Bootlog that decides the order.
        demand: Events of another boot.
        folder: Where images are made; on the file system of the tree.
        program: mkfs.erofs.
    """

    root: Path
    order: Path
    demand: Bootlog
    folder: Path
    program: str


def row(case: Case, form: str, order: str, image: Path) -> str:
    """Return the row of an image."""
    reads = reads_of_demand(open_image(image, offset_bytes=0).layout(), case.demand)
    found = totals_of(reads)
    cells = (
        f"{image.stat().st_size / 1e6:.1f}",
        f"{found.reads}",
        f"{found.bytes / 1e6:.1f}",
        f"{found.seek_distance_bytes / 1e9:.2f}",
        f"{modelled_seconds(reads, CD_24X):.1f}",
        f"{modelled_seconds(reads, USB_2):.2f}",
    )
    return f"| {form} | {order} | {' | '.join(cells)} |"


def in_place(case: Case, form: str, image: Path) -> str:
    """Reorder an image, and return its row, or that it is refused."""
    target = case.folder / "reordered"
    layout = open_image(image, offset_bytes=0).layout()
    wanted = wanted_by_bootlog(layout, case.order, "end")
    try:
        with image.open("rb") as source, target.open("w+b") as stream:
            reorder(layout, source, wanted, stream)
        return row(case, form, "in place", target)
    except InputError:
        return f"| {form} | in place: refused | - | - | - | - | - | - |"
    finally:
        target.unlink(missing_ok=True)


def rows_of_squashfs(case: Case, form: str) -> Iterator[str]:
    """Pack a squashfs, reorder it, and yield both rows."""
    image = case.folder / "squashfs"
    run(
        ["mksquashfs", case.root.resolve(), image, "-noappend", "-no-progress", *SQUASHFS[form]],
        env={"SOURCE_DATE_EPOCH": str(STAMP.epoch)},
    )
    yield row(case, form, "of mksquashfs", image)
    yield in_place(case, form, image)
    image.unlink()


def rows_of_erofs(case: Case, form: str) -> Iterator[str]:
    """Pack an EROFS in the order of mkfs.erofs and in that of the boot, and yield all rows."""
    options = replace(EROFS[form], program=case.program, exclude=())
    image, log_file = case.folder / "erofs", case.folder / "log"
    make_erofs(options, case.root, image, STAMP, log_file)
    yield row(case, form, "of mkfs.erofs", image)
    yield in_place(case, form, image)
    layout = open_image(image, offset_bytes=0).layout()
    wanted = wanted_by_bootlog(layout, case.order, "end")
    image.unlink()
    make_ordered(options, case.root, image, wanted, STAMP, log_file)
    yield row(case, form, "packed in order", image)
    yield in_place(case, f"{form}, packed in order", image)
    image.unlink()


def main() -> int:
    """Make all images, one after the other, and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("root", type=Path)
    parser.add_argument("order", type=Path)
    parser.add_argument("demand", type=Path)
    parser.add_argument("--form", action="append", choices=[*SQUASHFS, *EROFS])
    parser.add_argument("--mkfs", default="mkfs.erofs", help="program")
    options = parser.parse_args()
    with options.demand.open("rb") as stream:
        demand = read_bootlog(stream, str(options.demand))
    print(HEAD, flush=True)
    with scratch_folder() as folder:
        case = Case(options.root, options.order, demand, folder, options.mkfs)
        for form in options.form or [*SQUASHFS, *EROFS]:
            rows = rows_of_squashfs if form in SQUASHFS else rows_of_erofs
            for line in rows(case, form):
                print(line, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
