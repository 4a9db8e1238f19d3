# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""What both renderers draw."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bootprof.report.comparison import Build, compare
from bootprof.report.conditions import Conditions
from bootprof.report.plotdata import DASHES, plot_data, short
from optimizer.drives.models import CD_24X, NVME
from optimizer.formats.blocktrace import READ_DTYPE, BlockTrace


def build_of(
    label: str, rows: list[tuple[int, int, int]], image_bytes: int, target_ns: int = 10**9
) -> Build:
    trace = BlockTrace(np.array(rows, READ_DTYPE), "x.iso", image_bytes, target_ns)
    return Build(label, Path(label) / "blocktrace.tsv", trace)


FIRST = build_of("first", [(10**9, 4000, 1000), (2 * 10**9, 0, 500)], 3_000_000, 2 * 10**9)
STILL = build_of("still", [(10**9, 0, 1000)], 2_000_000)


def test_offsets_are_in_the_decimal_unit_that_the_largest_image_fills() -> None:
    data = plot_data(compare([FIRST, STILL], [CD_24X]))
    assert (data.offsets.title, data.offsets.high) == ("offset on the image (MB)", 3.0)
    assert data.panels[0].read_offsets.tolist() == pytest.approx([0.0045, 0.00025])
    large = plot_data(compare([FIRST, build_of("large", [], 4 * 10**9)], []))
    assert (large.offsets.title, large.offsets.high) == ("offset on the image (GB)", 4.0)


def test_a_seek_goes_from_the_end_of_a_read_to_the_start_of_the_next() -> None:
    data = plot_data(compare([FIRST, STILL], []))
    first, still = data.panels
    assert first.seek_seconds.tolist() == [1, 2]
    assert first.seek_starts.tolist() == pytest.approx([0, 0.005])
    assert first.seek_ends.tolist() == pytest.approx([0.004, 0])
    assert still.seek_seconds.tolist() == []
    assert first.title == "first: 9.00 kB of seeks"
    assert still.target_label == "boot target 1.00 s"


def test_the_sum_of_seeks_grows_to_their_total_and_ends_with_the_boot() -> None:
    data = plot_data(compare([FIRST, STILL], []))
    assert data.distances.title == "seek distance (kB)"
    heights = data.sums[0].heights
    assert (np.diff(heights) >= 0).all() and (heights[0], heights[-1]) == (0, 9)
    assert data.sums[0].seconds[-1] == data.seconds.high == 2
    assert data.sums[1].seconds[-1] == pytest.approx(1, abs=0.01)


def test_a_boot_that_ends_at_once_still_has_a_line() -> None:
    data = plot_data(compare([FIRST, build_of("short", [], 1000, 1)], []))
    assert len(data.sums[1].seconds) >= 1


def test_a_drive_has_a_bar_for_each_build() -> None:
    data = plot_data(compare([FIRST, build_of("large", [], 4 * 10**9)], [CD_24X, NVME]))
    assert [group.title for group in data.drives] == ["CD 24x", "NVMe"]
    assert (data.drives[0].bars[1].value, data.drives[0].bars[1].text) == (None, "does not fit")


def test_axes_of_time_say_what_machine_counted_it() -> None:
    assert plot_data(compare([FIRST, STILL], [])).seconds.title == "time since power-on (s)"
    emulated = replace(FIRST, conditions=Conditions(accelerator="tcg"))
    title = plot_data(compare([emulated, emulated], [])).seconds.title
    assert title == "time since power-on (s, QEMU tcg)"


def test_long_labels_keep_both_ends() -> None:
    assert short("a" * 20 + "b" * 20) == "a" * 13 + "…" + "b" * 14
    assert short("sorted") == "sorted"


def test_dashes_of_builds_differ() -> None:
    assert len(set(DASHES)) == len(DASHES) and DASHES[0] == ()
