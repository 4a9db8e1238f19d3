# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import matplotlib.image
import numpy as np
import pytest

from bootprof.errors import InputError
from bootprof.report.comparison import Build, Comparison, compare
from bootprof.report.headline import headline
from bootprof.report.palette import THEMES
from bootprof.report.plot import write_plots
from optimizer.drives.models import CD_24X, NVME
from optimizer.formats.blocktrace import READ_DTYPE, BlockTrace


def build_of(label: str, starts: list[int], image_bytes: int = 1 << 20) -> Build:
    reads = np.zeros(len(starts), dtype=READ_DTYPE)
    reads["time_ns"] = np.arange(len(starts)) * 1_000_000_000
    reads["offset_bytes"] = starts
    reads["length_bytes"] = 1000
    trace = BlockTrace(reads, f"{label}.iso", image_bytes, max(len(starts), 1) * 1_000_000_000)
    return Build(label, Path(label), trace)


def comparison_of(*builds: Build) -> Comparison:
    return compare(builds, [CD_24X, NVME])


UNSORTED = build_of("unsorted", [500_000, 0, 900_000, 20_000])
SORTED = build_of("sorted", [0, 1000, 2000, 13_000])
STILL = build_of("still", [0, 1000, 2000])


def test_a_png_and_an_svg_are_written_for_each_theme(tmp_path: Path) -> None:
    written = write_plots(comparison_of(UNSORTED, SORTED), tmp_path / "seek", ("light", "dark"))
    names = ["seek.png", "seek.svg", "seek-dark.png", "seek-dark.svg"]
    assert [path.name for path in written] == names
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(names)


@pytest.mark.parametrize("theme", list(THEMES))
def test_both_files_are_valid_and_on_the_paper_of_the_theme(theme: str, tmp_path: Path) -> None:
    png, svg = write_plots(comparison_of(UNSORTED, SORTED), tmp_path / "seek", (theme,))
    pixels = matplotlib.image.imread(png)
    paper = [int(THEMES[theme].paper[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    assert pixels[0, 0, :3].tolist() == pytest.approx(paper, abs=0.01)
    assert pixels.shape[1] >= 1500
    root = ElementTree.parse(svg).getroot()
    assert root.tag == "{http://www.w3.org/2000/svg}svg"


def test_equal_input_gives_equal_bytes(tmp_path: Path) -> None:
    comparison = comparison_of(UNSORTED, SORTED)
    first = write_plots(comparison, tmp_path / "a", ("light",))
    second = write_plots(comparison, tmp_path / "b", ("light",))
    for one, other in zip(first, second, strict=True):
        assert one.read_bytes() == other.read_bytes()


def test_the_svg_of_many_reads_stays_small(tmp_path: Path) -> None:
    offsets = np.random.default_rng(1).integers(0, 1 << 19, 20_000).tolist()
    many = build_of("many", offsets)
    _, svg = write_plots(comparison_of(many, many), tmp_path / "seek", ("light",))
    assert svg.stat().st_size < 2_000_000


def test_a_suffix_in_the_prefix_is_not_written_twice(tmp_path: Path) -> None:
    written = write_plots(comparison_of(UNSORTED, SORTED), tmp_path / "x.png", ("light",))
    assert [path.name for path in written] == ["x.png", "x.svg"]


def test_missing_folders_are_made(tmp_path: Path) -> None:
    written = write_plots(comparison_of(UNSORTED, SORTED), tmp_path / "a" / "b" / "c", ("light",))
    assert all(path.exists() for path in written)


def test_what_could_not_be_written_leaves_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / "seek.png" / "in-the-way").mkdir(parents=True)
    with pytest.raises(InputError) as caught:
        write_plots(comparison_of(UNSORTED, SORTED), tmp_path / "seek", ("light",))
    assert caught.value.message == f"{tmp_path / 'seek.png'}: not written, because it is a folder"
    assert [path.name for path in tmp_path.iterdir()] == ["seek.png"]


@pytest.mark.parametrize(
    "builds",
    [
        (build_of("empty", []), build_of("empty too", [])),
        (STILL, STILL),
        (UNSORTED, SORTED, STILL),
        (UNSORTED, SORTED, STILL, UNSORTED, SORTED),
        (UNSORTED, build_of("larger than a CD", [0, 10**9], 2 * 10**9)),
        (build_of("costs $x_2$ & <more>", [5000]), build_of("漢字 " * 30, [7000])),
    ],
    ids=["no reads", "no seeks", "three", "five", "does not fit", "odd labels"],
)
def test_every_comparison_can_be_drawn(builds: tuple[Build, ...], tmp_path: Path) -> None:
    png, svg = write_plots(comparison_of(*builds), tmp_path / "seek", ("light",))
    assert png.stat().st_size > 10_000
    ElementTree.parse(svg)


def test_the_title_says_by_how_much_the_best_build_is_ahead() -> None:
    # 500,000 + 501,000 + 899,000 + 881,000 bytes against 10,000
    title, subtitle = headline(comparison_of(UNSORTED, UNSORTED, SORTED))
    assert title == "sorted: 278x less seek distance than unsorted (1)"
    assert "seek distance 2.78 MB → 10.0 kB" in subtitle
    assert "non-contiguous reads 4 → 1 (of 4 → 4)" in subtitle


def test_the_title_does_not_hide_that_a_build_is_worse() -> None:
    title, _ = headline(comparison_of(SORTED, UNSORTED))
    assert title == "unsorted: 278x the seek distance of sorted"


def test_the_title_of_builds_without_seeks_divides_by_nothing() -> None:
    assert headline(comparison_of(STILL, STILL))[0].endswith("the same seek distance, 0 B")
    assert headline(comparison_of(SORTED, STILL))[0].startswith("still: no seek at all")
    assert headline(comparison_of(STILL, SORTED))[0].startswith("sorted: 10.0 kB of seek distance")
