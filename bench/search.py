# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""Speed of the simulator in orders a second, and its accuracy compared with a real boot.

    bench/search.py IMAGE PROFILE [CANDIDATES]

IMAGE was sorted by the order of first access of PROFILE, a folder of bootprof profile; PROFILE is
a boot of this image, so that its block trace can be compared with the simulated one.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

from bootprof.units import quantity
from optimizer.drives.models import CD_24X
from optimizer.drives.seek import modelled_seconds, totals_of
from optimizer.formats.blocktrace import read_block_trace
from optimizer.formats.bootlog import read_bootlog
from optimizer.images.image import open_image
from optimizer.search import choose_place, search
from optimizer.simulate import cost_of, first_access_order, make_workload


def main() -> int:
    """Simulate, search, and print."""
    image, profile = Path(sys.argv[1]), Path(sys.argv[2])
    candidates = int(sys.argv[3]) if len(sys.argv) > 3 else 20_000
    layout = open_image(image).layout()
    with (profile / "bootlog.events").open("rb") as stream:
        workload = make_workload(layout, read_bootlog(stream, str(profile)))
    with (profile / "blocktrace.tsv").open("rb") as stream:
        reads = read_block_trace(stream, str(profile)).reads
    real = reads[reads["offset_bytes"] >= layout.offset_bytes]
    found = totals_of(real)
    # As in the simulation, the seek to the first read belongs to the boot loader.
    way = int(real["offset_bytes"][0])
    print(
        f"real boot: {modelled_seconds(real, CD_24X):.2f} s modelled on CD 24x, "
        f"{found.noncontiguous_reads} non-contiguous reads, "
        f"{quantity(found.seek_distance_bytes - way, 'bytes')}"
    )
    order = first_access_order(workload)
    for place in choose_place(workload, CD_24X):
        cost = cost_of(workload, order, place, CD_24X)
        print(
            f"simulated, hot files at the {place}: {cost.seconds:.2f} s, "
            f"{cost.totals.noncontiguous_reads} non-contiguous reads, "
            f"{quantity(cost.totals.seek_distance_bytes, 'bytes')}"
        )
    place = next(iter(choose_place(workload, CD_24X)))
    start = time.perf_counter()
    best = search(workload, place, CD_24X, candidates)
    seconds = time.perf_counter() - start
    print(
        f"search at the {place}: {best.first.seconds:.2f} s -> {best.cost.seconds:.2f} s, bound "
        f"{best.cost.bound_seconds:.2f} s; {candidates / seconds:,.0f} orders a second of "
        f"{len(workload.paths)} files and {len(workload.file)} steps"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
