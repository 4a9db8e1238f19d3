# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""The computations behind the figures: columns of the map, bins of seeks, rows of the timeline."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bootprof.report.comparison import Build
from bootprof.report.imagemap import in_columns
from bootprof.report.seeks import seek_histogram
from bootprof.report.timeline import BINS, ROWS, folder, make_timeline
from optimizer.drives.seek import seek_distances
from optimizer.formats.blocktrace import READ_DTYPE, BlockTrace
from optimizer.formats.events import Bootlog, Event, Operation

SPANS = st.lists(st.tuples(st.integers(0, 900), st.integers(1, 99)), max_size=20)


def reads_of(spans: list[tuple[int, int]]) -> np.ndarray[tuple[int], np.dtype[np.void]]:
    return np.array([(0, *span) for span in spans], READ_DTYPE)


@given(SPANS, st.integers(1, 50))
def test_every_byte_is_in_the_column_where_it_lies(
    spans: list[tuple[int, int]], columns: int
) -> None:
    edges = np.linspace(0, 1000, columns + 1)
    # Counted byte by byte; a byte that an edge cuts belongs to both sides in part.
    held = np.zeros(1000)
    for offset, length in spans:
        held[offset : offset + length] = 1
    before = np.interp(edges, np.arange(1001), np.concatenate(([0], np.cumsum(held))))
    assert in_columns(reads_of(spans), edges) == pytest.approx(np.diff(before))


@given(st.lists(st.lists(st.integers(0, 10**17), max_size=20), min_size=1, max_size=3))
def test_every_seek_is_in_one_bin(starts: list[list[int]]) -> None:
    builds = []
    for label, offsets in enumerate(starts):
        reads = np.zeros(len(offsets), READ_DTYPE)
        reads["offset_bytes"] = offsets
        trace = BlockTrace(reads, "x", 10**18, 1)
        builds.append(Build(str(label), Path(), trace))
    found = seek_histogram(builds)
    assert (np.diff(found.edges_bytes) > 0).all()
    for place, build in enumerate(builds):
        distances = seek_distances(build.trace.reads)
        jumps = distances[distances > 0]
        assert found.counts[place].tolist() == np.histogram(jumps, found.edges_bytes)[0].tolist()
        assert found.counts[place].sum() == len(jumps)
        assert found.distances_bytes[place].sum() == jumps.sum()
        assert found.contiguous[place] == len(distances) - len(jumps)


def event(time_ns: int, pid: int, path: bytes, file_system: bytes = b"overlay") -> Event:
    return Event(time_ns, pid, b"p", Operation.OPEN, 0, 0, 0, 1, 1, file_system, path)


def test_small_processes_are_gathered_in_a_last_row() -> None:
    large = [event(time, pid, b"/a") for pid in range(1, ROWS + 1) for time in (pid, 1000 + pid)]
    small = [event(500 + pid, pid, b"/b") for pid in range(100, 107)]
    timeline = make_timeline(Bootlog.of({}, [*large, *small]), None)
    assert timeline is not None
    titles = [row.title for row in timeline.processes]
    assert titles == [f"p [{pid}]" for pid in range(1, ROWS + 1)] + ["7 other processes"]
    assert timeline.events == 2 * ROWS + 7
    assert sum(int(row.events.sum()) for row in timeline.processes) == timeline.events
    assert all(len(row.events) == BINS for row in timeline.processes)
    assert timeline.processes[-1].new_files == 1
    assert sum(row.new_files for row in timeline.processes) == 2


def test_what_no_image_holds_is_not_in_the_timeline() -> None:
    events = [event(1, 1, b"/proc/x", b"proc"), event(2, 1, b"pipe:[3]", b"pipefs")]
    assert make_timeline(Bootlog.of({}, events), None) is None
    assert make_timeline(Bootlog.of({}, [event(1, 1, b"pipe:[3]")]), None) is None
    assert make_timeline(Bootlog.of({}, []), None) is None


def test_a_recorder_that_knows_no_process_is_not_given_one() -> None:
    unknown = Event(1, 0, b"", Operation.BLOCK, 0, 0, 4096, 0, 0, b"squashfs", b"/a")
    timeline = make_timeline(Bootlog.of({}, [unknown]), None)
    assert timeline is not None
    assert [row.title for row in timeline.processes] == ["process not recorded"]


def test_events_out_of_order_are_put_in_order() -> None:
    timeline = make_timeline(
        Bootlog.of({}, [event(9, 1, b"/late"), event(3, 2, b"/late")]), {b"/late": 10}
    )
    assert timeline is not None
    assert [(row.title, row.new_bytes) for row in timeline.processes] == [
        ("p [2]", 10),
        ("p [1]", 0),
    ]


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        (b"/init", b"/"),
        (b"/etc/fstab", b"/etc"),
        (b"/usr/lib/x86_64-linux-gnu/security/pam.so", b"/usr/lib/x86_64-linux-gnu"),
    ],
)
def test_files_are_counted_to_folders_of_three_levels(path: bytes, expected: bytes) -> None:
    assert folder(path) == expected
