# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
import math
from pathlib import Path

import numpy as np
import pytest

from bootprof.commands.inputs import load_build
from bootprof.errors import FormatError, InputError
from bootprof.report.comparison import Build, compare
from optimizer.drives.models import CD_24X, NVME
from optimizer.formats.blocktrace import READ_DTYPE, BlockTrace, write_block_trace

GIB = 1024**3


def build_of(
    label: str,
    rows: list[tuple[int, int, int]],
    *,
    image_bytes: int = 10**6,
    target_ns: int = 10**9,
) -> Build:
    trace = BlockTrace(np.array(rows, dtype=READ_DTYPE), f"{label}.iso", image_bytes, target_ns)
    return Build(label, Path(label) / "blocktrace.tsv", trace)


UNSORTED = build_of("unsorted", [(1, 5000, 100), (2, 1000, 100), (3, 9000, 100)])
SORTED = build_of("sorted", [(1, 0, 100), (2, 100, 100), (3, 300, 50)], target_ns=500_000_000)
STILL = build_of("still", [(1, 0, 300)])


def test_values_and_ratios_computed_by_hand() -> None:
    comparison = compare([UNSORTED, SORTED], [])
    # 5000 + 4100 + 7900 bytes against 100 bytes
    expected = {
        "reads": (3, 3, 1.0),
        "bytes": (300, 250, 250 / 300),
        "unique-bytes": (300, 250, 250 / 300),
        "non-contiguous": (3, 1, 1 / 3),
        "seek-distance": (17000, 100, 100 / 17000),
        "boot-time": (1.0, 0.5, 0.5),
    }
    found = {
        metric.name: (
            comparison.value(0, metric.name),
            comparison.value(1, metric.name),
            comparison.ratio(1, metric.name),
        )
        for metric in comparison.metrics
    }
    assert found == expected


def test_a_build_compared_with_itself_has_only_ratios_of_one() -> None:
    comparison = compare([UNSORTED, UNSORTED], [CD_24X, NVME])
    assert {comparison.ratio(1, metric.name) for metric in comparison.metrics} == {1.0}


def test_a_ratio_to_nothing_is_infinite_and_of_nothing_to_nothing_is_one() -> None:
    assert compare([STILL, UNSORTED], []).ratio(1, "seek-distance") == math.inf
    assert compare([STILL, STILL], []).ratio(1, "seek-distance") == 1.0


def test_an_image_that_is_too_large_for_a_drive_has_no_time_on_it() -> None:
    large = build_of("large", [(1, 3 * GIB, 100)], image_bytes=4 * GIB)
    comparison = compare([UNSORTED, large], [CD_24X, NVME])
    assert comparison.value(1, "cd-24x") is None
    assert comparison.ratio(1, "cd-24x") is None
    assert comparison.value(1, "nvme") is not None


def test_equal_labels_are_told_apart_by_their_number() -> None:
    labels = [build.label for build in compare([UNSORTED, SORTED, UNSORTED], []).builds]
    assert labels == ["unsorted (1)", "sorted", "unsorted (3)"]


def test_two_drives_of_one_name_are_refused() -> None:
    with pytest.raises(InputError, match="two metrics are called nvme"):
        compare([UNSORTED, SORTED], [NVME, NVME])


def write(path: Path, build: Build) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as stream:
        write_block_trace(stream, build.trace)


def test_a_folder_of_a_profile_is_called_by_its_name(tmp_path: Path) -> None:
    write(tmp_path / "spring" / "blocktrace.tsv", SORTED)
    assert load_build(tmp_path / "spring").label == "spring"
    assert load_build(tmp_path / "spring" / "blocktrace.tsv").label == "spring"
    assert load_build(tmp_path / "spring", "summer").label == "summer"


def test_a_block_trace_file_is_called_by_its_name(tmp_path: Path) -> None:
    write(tmp_path / "old.tsv", SORTED)
    build = load_build(tmp_path / "old.tsv")
    assert build.label == "old"
    assert build.trace.reads.tolist() == SORTED.trace.reads.tolist()


def test_a_label_never_holds_what_a_terminal_would_obey(tmp_path: Path) -> None:
    write(tmp_path / "a.tsv", SORTED)
    assert load_build(tmp_path / "a.tsv", "red\x1b[31m\n\udcff").label == r"red\x1b[31m\n\xff"


def test_what_is_not_there_is_an_error_that_names_it(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nowhere: no such file or folder"):
        load_build(tmp_path / "nowhere")
    with pytest.raises(InputError, match=r"contains no block trace \(blocktrace\.tsv\)"):
        load_build(tmp_path)
    (tmp_path / "blocktrace.tsv").write_text("hello")
    with pytest.raises(FormatError, match=r"blocktrace\.tsv: line 1: "):
        load_build(tmp_path)
