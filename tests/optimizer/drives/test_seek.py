# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from optimizer.drives.models import CD_24X, DRIVES, HARD_DISK, NVME, Drive
from optimizer.drives.seek import (
    bound_seconds,
    modelled_seconds,
    read_seconds,
    seek_distances,
    totals_of,
)
from optimizer.formats.blocktrace import READ_DTYPE
from optimizer.spans import merge

drives = st.sampled_from(list(DRIVES.values()))
extents = st.tuples(st.integers(0, 600_000_000), st.integers(1, 1_000_000))
near_extents = st.tuples(st.integers(0, 60), st.integers(1, 9))


def reads_of(rows: list[tuple[int, int]]) -> NDArray[np.void]:
    reads = np.zeros(len(rows), dtype=READ_DTYPE)
    for number, row in enumerate(rows):
        reads[number] = (number, *row)
    return reads


def test_the_figures_of_a_trace_computed_by_hand() -> None:
    #         distance from 0: 100; contiguous; back by 150; forward by 1000; the same again: 10
    reads = reads_of([(100, 50), (150, 100), (100, 10), (1110, 10), (1110, 10)])
    assert seek_distances(reads).tolist() == [100, 0, 150, 1000, 10]
    found = totals_of(reads)
    assert found.reads == 5
    assert found.bytes == 180
    assert found.unique_bytes == 160
    assert found.noncontiguous_reads == 4
    assert found.seek_distance_bytes == 1260


def test_no_reads_cost_nothing() -> None:
    found = totals_of(reads_of([]))
    assert (found.reads, found.bytes, found.unique_bytes) == (0, 0, 0)
    assert (found.noncontiguous_reads, found.seek_distance_bytes) == (0, 0)
    assert modelled_seconds(reads_of([]), CD_24X) == 0
    assert bound_seconds(reads_of([]), CD_24X) == 0


@given(st.lists(st.integers(1, 1_000_000), min_size=1))
def test_one_ascending_pass_from_the_start_has_no_seek_distance(lengths: list[int]) -> None:
    starts = [sum(lengths[:number]) for number in range(len(lengths))]
    found = totals_of(reads_of(list(zip(starts, lengths, strict=True))))
    assert found.seek_distance_bytes == 0
    assert found.noncontiguous_reads == 0
    assert found.bytes == found.unique_bytes == sum(lengths)


@given(st.lists(near_extents))
def test_unique_bytes_are_the_size_of_the_set_of_bytes(rows: list[tuple[int, int]]) -> None:
    touched = {byte for start, length in rows for byte in range(start, start + length)}
    passing = merge(reads_of(rows))
    again = [byte for start, length in passing.tolist() for byte in range(start, start + length)]
    assert again == sorted(touched)
    assert totals_of(reads_of(rows)).unique_bytes == len(touched)


@given(st.lists(near_extents))
def test_the_reads_of_a_pass_are_as_few_as_can_be(rows: list[tuple[int, int]]) -> None:
    passing = merge(reads_of(rows))
    assert all(seek_distances(passing)[1:] > 0)


@given(st.lists(extents, min_size=1), st.integers(0, 10_000_000))
def test_a_trace_moved_as_a_whole_keeps_all_but_its_first_distance(
    rows: list[tuple[int, int]], by_bytes: int
) -> None:
    moved = [(start + by_bytes, length) for start, length in rows]
    assert (
        seek_distances(reads_of(moved))[1:].tolist() == seek_distances(reads_of(rows))[1:].tolist()
    )


@given(st.lists(extents, min_size=1), st.data())
def test_cutting_a_read_in_two_changes_neither_distance_nor_transfer(
    rows: list[tuple[int, int]], data: st.DataObject
) -> None:
    number = data.draw(st.integers(0, len(rows) - 1))
    start, length = rows[number]
    cut = data.draw(st.integers(0, length))
    if cut in (0, length):
        return
    parts = [*rows[:number], (start, cut), (start + cut, length - cut), *rows[number + 1 :]]
    whole, cut_up = totals_of(reads_of(rows)), totals_of(reads_of(parts))
    assert whole.seek_distance_bytes == cut_up.seek_distance_bytes
    assert whole.noncontiguous_reads == cut_up.noncontiguous_reads
    overhead = CD_24X.overhead_ms / 1e3
    more = modelled_seconds(reads_of(parts), CD_24X) - modelled_seconds(reads_of(rows), CD_24X)
    assert more == pytest.approx(overhead, rel=1e-6)


@given(drives, st.lists(extents))
def test_no_order_of_reads_beats_the_bound(drive: Drive, rows: list[tuple[int, int]]) -> None:
    reads = reads_of(rows)
    assert modelled_seconds(reads, drive) >= bound_seconds(reads, drive) * (1 - 1e-9)


@given(drives, st.lists(extents))
def test_a_pass_is_as_fast_as_its_bound(drive: Drive, rows: list[tuple[int, int]]) -> None:
    passing = merge(reads_of(rows))
    assert modelled_seconds(passing, drive) == pytest.approx(bound_seconds(passing, drive))


def test_the_time_of_a_trace_on_flash_memory_computed_by_hand() -> None:
    reads = reads_of([(0, 3_200_000), (3_200_000, 3_200_000), (0, 3200)])
    expected = [10e-6 + 1e-3, 10e-6 + 1e-3, 10e-6 + 75e-6 + 1e-6]
    assert read_seconds(reads, NVME).tolist() == pytest.approx(expected)


def test_the_time_of_a_trace_on_a_disk_computed_by_hand() -> None:
    # At its start the disk reads 70 MB/s and half a turn takes 5.56 ms. The image is so small
    # beside the disk that its seeks are hardly longer than to the next track.
    reads = reads_of([(0, 700_000), (100_000_000, 700_000)])
    first, second = read_seconds(reads, HARD_DISK).tolist()
    assert first == pytest.approx(1e-3 + 10e-3, rel=1e-3)
    stroke = (100e6 / 70e6) / (2 * 320_072_933_376 / (70e6 + 35e6))
    seek = 1e-3 + 11e-3 * (stroke * 3) ** 0.5
    assert second == pytest.approx(1e-3 + seek + 60 / 5400 / 2 + 10e-3, rel=1e-3)


def test_scattered_reads_take_a_cd_several_times_as_long_as_the_same_bytes_side_by_side() -> None:
    numbers = np.random.default_rng(1).permutation(700).tolist()
    scattered = reads_of([(number * 300_000, 32768) for number in numbers])
    side_by_side = reads_of([(number * 32768, 32768) for number in range(700)])
    assert modelled_seconds(scattered, CD_24X) > 4 * modelled_seconds(side_by_side, CD_24X)
    assert bound_seconds(scattered, CD_24X) > 2 * bound_seconds(side_by_side, CD_24X)
