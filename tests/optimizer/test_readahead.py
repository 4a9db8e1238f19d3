# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""A readahead list has all that a boot wants, in one ascending pass that no drive wants changed."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from optimizer.demand import demand_of
from optimizer.drives.models import DRIVES
from optimizer.errors import InputError
from optimizer.formats.blocktrace import READ_DTYPE
from optimizer.images.squashfs.format import Kind
from optimizer.images.squashfs.layout import SquashfsLayout, read_layout
from optimizer.kernel import PAGE_BYTES
from optimizer.readahead import plan, wanted_by_demand, wanted_by_trace, with_kernel_readahead

BLOCK = 131072
FILES = 40


@pytest.fixture(scope="module")
def layout(
    tmp_path_factory: pytest.TempPathFactory, make_image: Callable[..., Path]
) -> SquashfsLayout:
    """Forty files of three blocks each that do not compress: 15 MB."""
    root = tmp_path_factory.mktemp("files")
    source = random.Random(6)
    for number in range(FILES):
        (root / f"{number:02}").write_bytes(source.randbytes(3 * BLOCK))
    return read_layout(make_image(root, "-comp", "gzip", "-no-fragments"))


def reads(*places: tuple[int, int]) -> NDArray[np.void]:
    return np.array([(0, offset, length) for offset, length in places], READ_DTYPE)


def bytes_of(places: NDArray[np.void], size_bytes: int) -> NDArray[np.bool_]:
    covered = np.zeros(size_bytes, bool)
    for offset, length in zip(
        places["offset_bytes"].tolist(), places["length_bytes"].tolist(), strict=True
    ):
        covered[offset : offset + length] = True
    return covered


def test_the_ranges_hold_every_needed_block_and_every_table(layout: SquashfsLayout) -> None:
    demand = demand_of(layout, {b"/03": [], b"/30": [(BLOCK, 10)]})
    planned = plan(layout, wanted_by_demand(layout, demand), DRIVES["cd-24x"])
    extents = layout.extent_map.extents
    is_table = ~np.isin(extents["kind"], (Kind.BLOCK, Kind.FRAGMENT))
    must = extents[demand.needed | is_table]
    assert is_table.sum() > 3
    assert demand.needed.sum() > 4
    covered = bytes_of(planned.ranges, layout.size_bytes)
    assert covered[bytes_of(must, layout.size_bytes)].all()


def test_of_a_file_that_was_read_in_part_only_these_blocks_are_wanted(
    layout: SquashfsLayout,
) -> None:
    part = demand_of(layout, {b"/30": [(BLOCK, 10)]})
    ranges = plan(layout, wanted_by_demand(layout, part), DRIVES["nvme"]).ranges
    covered = bytes_of(ranges, layout.size_bytes)
    first, second, third = layout.extents_of(b"/30")["offset_bytes"].tolist()
    assert covered[second : second + BLOCK].all()
    # Neighbours only as far as they share a page with it.
    assert not covered[first : second - PAGE_BYTES].any()
    assert not covered[third + PAGE_BYTES : third + BLOCK].any()


def test_only_the_range_with_the_tables_is_marked_as_such(layout: SquashfsLayout) -> None:
    demand = demand_of(layout, {b"/03": []})
    ranges = plan(layout, wanted_by_demand(layout, demand), DRIVES["usb-2"]).ranges
    assert ranges["tables"].tolist() == [False, False, True]
    inode_table = layout.superblock.inode_table
    assert ranges["offset_bytes"][2] <= inode_table < ranges["offset_bytes"][2] + PAGE_BYTES


def test_data_directly_before_the_tables_is_a_range_of_its_own(layout: SquashfsLayout) -> None:
    ranges = plan(layout, reads((0, layout.size_bytes)), DRIVES["usb-2"]).ranges
    assert ranges["tables"].tolist() == [False, True]
    assert ranges["offset_bytes"][1] == ranges["length_bytes"][0]
    assert ranges["length_bytes"].sum() == layout.size_bytes


@given(st.data())
def test_ranges_are_sorted_disjoint_and_cover_what_is_wanted(
    layout: SquashfsLayout, data: st.DataObject
) -> None:
    drive = DRIVES[data.draw(st.sampled_from(sorted(DRIVES)))]
    size = layout.size_bytes
    places = data.draw(
        st.lists(
            st.integers(0, size - 1).flatmap(
                lambda offset: st.tuples(
                    st.just(offset), st.integers(1, min(size - offset, 300_000))
                )
            ),
            max_size=12,
        )
    )
    wanted = reads(*places)
    planned = plan(layout, wanted, drive)
    offsets = planned.ranges["offset_bytes"]
    ends = offsets + planned.ranges["length_bytes"]
    # Data directly before the tables is a range of its own.
    apart = offsets[1:] > ends[:-1]
    tables_follow_data = planned.ranges["tables"][1:] & ~planned.ranges["tables"][:-1]
    assert (apart | (tables_follow_data & (offsets[1:] == ends[:-1]))).all()
    assert (planned.ranges["length_bytes"] > 0).all()
    assert not len(ends) or ends[-1] <= size
    assert (offsets % PAGE_BYTES == 0).all()
    assert ((ends % PAGE_BYTES == 0) | (ends == size)).all()
    covered = bytes_of(planned.ranges, size)
    assert covered[bytes_of(wanted, size)].all()
    assert 0 <= planned.bridged_gaps <= planned.bridged_bytes // PAGE_BYTES
    assert int(covered.sum()) == planned.wanted_bytes + planned.bridged_bytes
    # Bridges are only built where they pay.
    assert planned.seconds <= planned.stretch_seconds + 1e-9


@pytest.mark.parametrize("name", sorted(DRIVES))
def test_a_gap_is_read_through_exactly_where_that_is_cheaper_than_a_request(
    layout: SquashfsLayout, name: str
) -> None:
    # A drive that reads 1 MB/s makes gaps of this image worth a thought on all.
    drive = replace(DRIVES[name], first_rate_bytes_per_second=1e6, last_rate_bytes_per_second=1e6)
    seen = set()
    for gap_pages in (1, 2, 8, 20, 40, 100, 1000):
        second = (10 + gap_pages) * PAGE_BYTES
        wanted = reads((0, 10 * PAGE_BYTES), (second, PAGE_BYTES))
        planned = plan(layout, wanted, drive)
        request = drive.overhead_ms / 1e3 + float(
            drive.positioning_seconds(10 * PAGE_BYTES, second)
        )
        cheaper = gap_pages * PAGE_BYTES / 1e6 <= request
        assert len(planned.ranges) == (1 if cheaper else 2)
        assert planned.bridged_bytes == (gap_pages * PAGE_BYTES if cheaper else 0)
        seen.add(cheaper)
    assert False in seen


def test_offsets_count_from_the_squashfs_wherever_it_lies(
    layout: SquashfsLayout, tmp_path: Path
) -> None:
    moved_file = tmp_path / "disk"
    moved_file.write_bytes(bytes(1 << 20) + Path(layout.name).read_bytes())
    moved = read_layout(moved_file, 1 << 20)
    touched: dict[bytes, list[tuple[int, int]]] = {b"/03": [], b"/17": []}
    plans = [
        plan(image, wanted_by_demand(image, demand_of(image, touched)), DRIVES["usb-2"])
        for image in (layout, moved)
    ]
    assert plans[0].ranges.tolist() == plans[1].ranges.tolist()
    assert layout.superblock_bytes == moved.superblock_bytes == Path(layout.name).read_bytes()[:96]


def test_a_block_trace_gives_what_was_read_of_the_squashfs_and_nothing_around_it(
    layout: SquashfsLayout, tmp_path: Path
) -> None:
    moved_file = tmp_path / "disk"
    moved_file.write_bytes(bytes(1 << 20) + Path(layout.name).read_bytes() + bytes(1 << 20))
    moved = read_layout(moved_file, 1 << 20)
    trace = reads((0, 2048), ((1 << 20) + 409_600, 8192), ((1 << 20) + moved.size_bytes, 8192))
    ranges = plan(moved, wanted_by_trace(moved, trace), DRIVES["nvme"]).ranges
    assert ranges[["offset_bytes", "length_bytes"]].tolist()[1] == (409_600, 8192)
    assert ranges["tables"].tolist() == [False, False, True]


def test_an_image_that_does_not_fit_on_the_drive_is_refused(layout: SquashfsLayout) -> None:
    small = replace(DRIVES["usb-2"], capacity_bytes=1_000_000)
    with pytest.raises(InputError, match="do not fit on USB 2"):
        plan(layout, reads((0, 1)), small)


def test_what_the_kernel_reads_around_touched_ranges_is_wanted_too(
    tmp_path: Path, make_image: Callable[..., Path]
) -> None:
    (tmp_path / "file").write_bytes(random.Random(1).randbytes(10 * BLOCK))
    layout = read_layout(make_image(tmp_path, "-comp", "gzip", "-no-fragments"))

    def wanted_blocks(*ranges: tuple[int, int]) -> list[int]:
        demand = demand_of(layout, {b"/file": with_kernel_readahead(list(ranges))})
        blocks = demand.needed[layout.extent_map.extents["kind"] == Kind.BLOCK]
        return list(np.flatnonzero(blocks))

    # In the middle of a block; near its end; near its beginning; the first page; the last one.
    assert wanted_blocks((4 * BLOCK + 80_000, 4096)) == [4, 5]
    assert wanted_blocks((5 * BLOCK - 4096, 4096)) == [4, 5]
    assert wanted_blocks((4 * BLOCK + 4096, 4096)) == [3, 4, 5]
    assert wanted_blocks((0, 4096)) == [0, 1]
    assert wanted_blocks((10 * BLOCK - 4096, 4096)) == [9]
    # As a whole: nothing to widen.
    assert wanted_blocks() == list(range(10))
