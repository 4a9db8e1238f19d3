# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""The simulation against images that mksquashfs really wrote in the simulated order."""

import random
import subprocess
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from optimizer.drives.models import CD_24X, NVME
from optimizer.errors import InputError
from optimizer.formats.events import Bootlog, Event, Operation
from optimizer.formats.sortfile import Place, mksquashfs_lines
from optimizer.images.squashfs.format import Kind
from optimizer.images.squashfs.layout import SquashfsLayout, read_layout
from optimizer.search import choose_place, search
from optimizer.simulate import (
    cost_of,
    first_access_order,
    make_workload,
    reads_of,
)

BLOCK_BYTES = 16384
HOT = [f"/hot/{number:02}" for number in range(12)]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Hot files of one block and of several, with tails and without, among cold ones."""
    source = random.Random(4)
    folder = tmp_path_factory.mktemp("simulate") / "root"
    for name in ("hot", "cold"):
        (folder / name).mkdir(parents=True)
    for number in range(12):
        size = (number % 4) * BLOCK_BYTES + (number % 3) * 3000
        (folder / f"hot/{number:02}").write_bytes(source.randbytes(size))
    for number in range(40):
        (folder / f"cold/{number:02}").write_bytes(source.randbytes(50_000))
    return folder


def pack(
    root: Path, target: Path, order: Sequence[str], place: Place, *options: str
) -> SquashfsLayout:
    sort = target.with_suffix(".sort")
    sort.write_bytes(b"".join(mksquashfs_lines([name.encode() for name in order], place)))
    subprocess.run(
        [
            *("mksquashfs", root, target, "-sort", sort, "-b", str(BLOCK_BYTES), "-noappend"),
            *("-quiet", "-no-progress", "-processors", "1", *options),
        ],
        check=True,
        capture_output=True,
    )
    return read_layout(target)


def event(path: str, operation: Operation, offset: int = 0, length: int = 0) -> Event:
    return Event(0, 1, b"boot", operation, offset, length, 0, 1, 0, b"overlay", path.encode())


def whole_files(paths: Sequence[str]) -> Bootlog:
    return Bootlog.of({}, [event(path, Operation.OPEN) for path in paths])


@pytest.mark.parametrize("place", ["start", "end"])
@pytest.mark.parametrize("options", [["-no-fragments"], []], ids=["no fragments", "fragments"])
def test_data_lies_where_mksquashfs_puts_it(
    root: Path, tmp_path: Path, place: Place, options: list[str]
) -> None:
    unsorted = pack(root, tmp_path / "unsorted", [], "start", *options)
    workload = make_workload(unsorted, whole_files(HOT))
    order = np.random.default_rng(1).permutation(len(workload.paths))
    written = [workload.paths[number].decode() for number in order]
    real = pack(root, tmp_path / "sorted", written, place, *options)
    reads = reads_of(workload, order, place)
    hot = {
        (int(piece["offset_bytes"]), int(piece["length_bytes"]))
        for path in workload.paths
        for piece in real.extents_of(path)
        if piece["kind"] == Kind.BLOCK
    }
    begins, ends = reads["offset_bytes"], reads["offset_bytes"] + reads["length_bytes"]
    # With fragments, the places depend on how tails are gathered: near, and not to the byte.
    slack = 0 if options else 2 * BLOCK_BYTES
    for offset, length in hot:
        covered = (begins <= offset + slack) & (ends > offset - slack)
        assert covered.any(), (offset, length)
    if not slack:
        size = sum(length for _, length in hot)
        data = reads[(begins >= min(hot)[0] // 4096 * 4096) & (begins < max(hot)[0] + max(hot)[1])]
        assert size <= data["length_bytes"].sum() <= size + 4096 * 2 * len(hot)


def test_only_the_parts_that_were_touched_are_read(root: Path, tmp_path: Path) -> None:
    layout = pack(root, tmp_path / "image", [], "start")
    name = HOT[7]
    some = Bootlog.of(
        {}, [event(name, Operation.OPEN), event(name, Operation.READ, BLOCK_BYTES, 4096)]
    )
    workload = make_workload(layout, some)
    data = workload.length_bytes[workload.file >= 0]
    assert len(data) == 1
    assert workload.begin_bytes[workload.file >= 0] > 0


def test_tables_are_read_when_a_path_is_first_looked_up(root: Path, tmp_path: Path) -> None:
    layout = pack(root, tmp_path / "image", [], "start")
    workload = make_workload(layout, whole_files(HOT))
    tables = np.flatnonzero(workload.file < 0)
    assert tables[0] == 0
    # All inodes fit one metadata block, and so do all entries of the root and of "hot".
    assert 2 <= len(tables) <= 4


def test_beside_the_tables_the_head_has_a_shorter_way(root: Path, tmp_path: Path) -> None:
    workload = make_workload(pack(root, tmp_path / "image", [], "start"), whole_files(HOT))
    costs = choose_place(workload, CD_24X)
    assert list(costs) == ["end", "start"]
    start, end = costs["start"].totals, costs["end"].totals
    assert end.seek_distance_bytes < start.seek_distance_bytes


def test_a_search_finds_an_order_that_is_no_worse_and_the_same_one_again(
    root: Path, tmp_path: Path
) -> None:
    layout = pack(root, tmp_path / "image", [], "start")
    # Read in the order of first access, and then the second halves the other way round.
    log = Bootlog.of(
        {},
        [event(path, Operation.READ, 0, 4096) for path in HOT]
        + [event(path, Operation.READ, BLOCK_BYTES, 4096) for path in reversed(HOT)],
    )
    workload = make_workload(layout, log)
    one, two = (search(workload, "start", CD_24X, 500, seed=3) for _ in range(2))
    assert one.cost.seconds <= one.first.seconds
    assert one.cost.seconds >= one.cost.bound_seconds
    assert sorted(one.order) == list(range(len(workload.paths)))
    assert one.order.tolist() == two.order.tolist()


def test_no_order_is_better_than_the_bound(root: Path, tmp_path: Path) -> None:
    workload = make_workload(pack(root, tmp_path / "image", [], "start"), whole_files(HOT))
    for drive in (CD_24X, NVME):
        cost = cost_of(workload, first_access_order(workload), "end", drive)
        assert cost.seconds >= cost.bound_seconds


def test_a_bootlog_of_another_system_is_refused(root: Path, tmp_path: Path) -> None:
    layout = pack(root, tmp_path / "image", [], "start")
    with pytest.raises(InputError, match="none of the files"):
        make_workload(layout, whole_files(["/elsewhere"]))


def test_files_of_the_initramfs_are_not_those_of_the_image(root: Path, tmp_path: Path) -> None:
    layout = pack(root, tmp_path / "image", [], "start")
    early = Event(0, 1, b"init", Operation.OPEN, 0, 0, 0, 1, 0, b"rootfs", HOT[1].encode())
    with pytest.raises(InputError):
        make_workload(layout, Bootlog.of({}, [early]))
