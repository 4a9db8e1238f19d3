# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""Accuracy of mapping block reads to files, compared with a tracer in the same boot.

    .venv/bin/python -m bench.blockmap IMAGE PROFILE [IMAGE PROFILE ...]

PROFILE is a folder of bootprof profile with the kernel module. Its bootlog.events is the truth: the
regular files with content that were opened, executed, mapped or read on the root file system. Its
blocktrace.tsv is compared with it, and so are logs of tracepoints and block_dump if there are any
(bootprof profile --backend kmod+tracepoints). For each threshold it prints: the files at or
above it; precision and recall by files, and by bytes (of the files that were named; of the bytes
that came); Kendall's tau of the order of those that are right; and an estimate of the seek distance
of the boot if the image were sorted by them. The time is that of all but reading the layout.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bootprof.backends import Recording, block_dump, tracepoints
from optimizer.blockmap import FileMap, FoundFiles, find_files, map_files
from optimizer.formats.blocktrace import read_block_trace
from optimizer.formats.bootlog import read_bootlog
from optimizer.images.image import open_image
from optimizer.images.layout import Layout

THRESHOLDS = (0.001, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.8, 1.0)
LOGS = {tracepoints.LOG_NAME: tracepoints, block_dump.LOG_NAME: block_dump}
ROOT_FILE_SYSTEMS = (b"overlay", b"squashfs")


def true_order(layout: Layout, bootlog_file: Path) -> dict[bytes, int]:
    """Return the rank of each file that the tracer saw, by the first of its names."""
    with bootlog_file.open("rb") as stream:
        bootlog = read_bootlog(stream, str(bootlog_file))
    of_root = [
        bootlog.file_systems[number] in ROOT_FILE_SYSTEMS
        for number in bootlog.events["file_system"].tolist()
    ]
    ranks: dict[bytes, int] = {}
    for number in bootlog.events["path"][np.array(of_root, bool)].tolist():
        index = layout.path_index.get(bootlog.paths[number])
        if index is not None:
            name = layout.paths_of(int(layout.entries["inode"][index]))[0]
            ranks.setdefault(name, len(ranks))
    return ranks


def kendall_tau(ranks: NDArray[np.int64]) -> float:
    """Return how far ranks ascend: 1 if they do, -1 if they descend."""
    signs = sum(int(np.sign(ranks[place + 1 :] - rank).sum()) for place, rank in enumerate(ranks))
    pairs = len(ranks) * (len(ranks) - 1) // 2
    return signs / pairs if pairs else float("nan")


def seek_distance(
    files: FileMap, in_root: NDArray[np.bool_], first: NDArray[np.int64], read: NDArray[np.int64]
) -> float:
    """Estimate the seek distance of a boot in gigabytes, if an order of files were built.

    Each file stands for its compressed bytes, in one piece; those of ``first`` lie first, the rest
    as it lay before. The boot reads the files of ``read``, in that order, each once.
    """
    count, extents, pieces = len(files.files), files.extents.extents, files.pieces
    held = np.bincount(pieces["extent"], pieces["file_bytes"], extents.size)[pieces["extent"]]
    compressed = extents["length_bytes"][pieces["extent"]] * pieces["file_bytes"] / held
    size = np.bincount(pieces["file"], compressed, count)
    place = np.full(count, 2**62)
    np.minimum.at(place, pieces["file"], extents["offset_bytes"][pieces["extent"]])
    rest = np.setdiff1d(np.flatnonzero(in_root), first)
    order = np.concatenate([first, rest[np.argsort(place[rest], kind="stable")]])
    start = np.zeros(count)
    start[order] = np.cumsum(size[order]) - size[order]
    distances = np.abs(start[read][1:] - (start[read] + size[read])[:-1])
    return float(distances.sum()) / 1e9


def print_table(files: FileMap, found: FoundFiles, ranks: dict[bytes, int]) -> None:
    """Print precision, recall and order for each threshold."""
    in_root = np.array([file.file_system == b"squashfs" for file in files.files])
    rank = np.array([ranks.get(file.path, -1) for file in files.files])
    true = in_root & (rank >= 0)
    total, covered = found.findings["bytes_total"], found.findings["bytes_covered"]
    order = found.order()
    true_bytes = covered[true].sum()
    read = np.flatnonzero(true)
    read = read[np.argsort(rank[read])]
    unsorted = seek_distance(files, in_root, read[:0], read)
    print(
        f"{in_root.sum():,} files, of which the boot read {true.sum()}; "
        f"seeks as they lie: {unsorted:.2f} GB"
    )
    print(
        "threshold  files  precision  recall  precision by bytes  recall by bytes   tau  seeks GB"
    )
    for threshold in THRESHOLDS:
        named = in_root & (found.findings["confidence"] >= threshold)
        right = named & true
        print(
            f"{threshold:9.3g} {named.sum():6} {right.sum() / max(1, named.sum()):10.2f} "
            f"{right.sum() / true.sum():7.2f} "
            f"{total[right].sum() / max(1, total[named].sum()):19.2f} "
            f"{covered[right].sum() / true_bytes:16.2f} "
            f"{kendall_tau(rank[order[right[order]]]):5.2f} "
            f"{seek_distance(files, in_root, order[named[order]], read):9.2f}"
        )


def judge(image: Path, profile: Path) -> None:
    """Print the tables of one profile."""
    opened = open_image(image)
    layout = opened.layout()
    ranks = true_order(layout, profile / "bootlog.events")
    with (profile / "blocktrace.tsv").open("rb") as stream:
        trace = read_block_trace(stream, str(profile))
    started = time.perf_counter()
    files = map_files([layout], opened.iso)
    found = find_files(files, trace.reads)
    milliseconds = 1000 * (time.perf_counter() - started)
    print(f"{profile}: block trace, {len(trace.reads):,} reads, {milliseconds:.0f} ms")
    print_table(files, found, ranks)
    for name, module in LOGS.items():
        if (profile / name).exists():
            located = module.locate_files(Recording({name: profile / name}, image))
            print(f"{profile}: {name}, {len(located.times_ns):,} reads")
            print_table(located.files, located.found, ranks)


def main() -> int:
    """Judge every profile that was given."""
    arguments = [Path(word) for word in sys.argv[1:]]
    if not arguments or len(arguments) % 2:
        print(__doc__, file=sys.stderr)
        return 2
    for place in range(0, len(arguments), 2):
        judge(arguments[place], arguments[place + 1])
    return 0


if __name__ == "__main__":
    sys.exit(main())
