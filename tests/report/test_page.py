# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
import dataclasses
import itertools
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from bootprof.commands.inputs import load_build
from bootprof.errors import InputError
from bootprof.report.as_json import as_json
from bootprof.report.comparison import Build, Comparison, compare
from bootprof.report.conditions import Conditions
from bootprof.report.details import Details, gather
from bootprof.report.page import TITLES, report, write_report
from bootprof.report.plotdata import plot_data
from bootprof.report.raster import HEIGHT_PIXELS
from bootprof.report.trace_figures import axis_of
from optimizer.drives.models import CD_24X, NVME
from optimizer.drives.seek import seek_distances
from optimizer.formats.blocktrace import READ_DTYPE, BlockTrace

VOID = {"meta", "br", "link", "img", "input", "hr"}
# The attributes that make a browser fetch something.
FETCHING = ("src", "href", "xlink:href", "srcset", "data", "action", "poster", "background")


class Page(HTMLParser):
    """What a page is made of; complains of tags that do not match."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.text: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert len(attrs) == len(dict(attrs)), f"<{tag}> has an attribute twice"
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.text.append(data)

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]

    def words(self) -> str:
        return " ".join(self.text)


def trace_build(label: str, starts: list[int], image_bytes: int = 1 << 20) -> Build:
    reads = np.zeros(len(starts), READ_DTYPE)
    reads["time_ns"] = np.arange(len(starts)) * 10**9
    reads["offset_bytes"] = starts
    reads["length_bytes"] = 1000
    trace = BlockTrace(reads, "gone.iso", image_bytes, max(len(starts), 1) * 10**9)
    return Build(label, Path("nowhere") / label / "blocktrace.tsv", trace)


def told(*builds: Build) -> tuple[Comparison, list[Details]]:
    drives = [CD_24X, NVME]
    comparison = compare(builds, drives)
    return comparison, [gather(build, drives) for build in comparison.builds]


UNSORTED = trace_build("unsorted", [500_000, 0, 900_000, 20_000])
SORTED = trace_build("sorted", [0, 1000, 2000, 13_000])


def test_every_section_is_there_with_its_figure(profile: Path) -> None:
    build = load_build(profile)
    page = Page(report(*told(dataclasses.replace(build, label="other"), build)))
    assert [section["id"] for section in page.all("section")] == list(TITLES)
    assert [link["href"] for link in page.all("a")] == [f"#{key}" for key in TITLES]
    words = page.words()
    for title in TITLES.values():
        assert title in words
    # Two builds: seeks, maps, processes and folders for each; sums, histograms, drives, causes.
    pictures = [svg for svg in page.all("svg") if svg.get("role") == "img"]
    assert len(pictures) == 2 * 4 + 1 + 2 + 1 + 1
    for words_of_section in ("init [1]", "fragments", "needed data", "lost 3 accesses"):
        assert words_of_section in words
    assert "because" not in words


def test_the_page_needs_nothing_but_itself(profile: Path) -> None:
    build = load_build(profile)
    text = report(*told(build, build))
    page = Page(text)
    for _, attributes in page.tags:
        for name in FETCHING:
            value = attributes.get(name)
            assert value is None or value.startswith(("data:image/png;base64,", "#")), value
    assert {tag for tag, _ in page.tags}.isdisjoint({"script", "link", "iframe", "object", "base"})
    assert "@import" not in text
    assert set(re.findall(r"url\(([^)]{0,20})", text)) <= {
        f"#seek-{place}-{marks}" for place in (0, 1) for marks in ("strokes", "dots")
    }
    policy = next(meta for meta in page.all("meta") if "http-equiv" in meta)
    assert str(policy["content"]).startswith("default-src 'none'")


def test_pictures_have_words_tables_captions_and_identifiers_are_unique(profile: Path) -> None:
    build = load_build(profile)
    page = Page(report(*told(build, build)))
    for svg in page.all("svg"):
        hidden = svg.get("aria-hidden") == "true" or svg.get("class") == "area"
        assert hidden or svg.get("aria-label")
    assert len(page.all("caption")) == len(page.all("table")) > 0
    identifiers = [str(attributes["id"]) for _, attributes in page.tags if "id" in attributes]
    assert len(identifiers) == len(set(identifiers))
    levels = [int(tag[1]) for tag, _ in page.tags if re.fullmatch(r"h\d", tag)]
    assert levels.count(1) == 1
    assert all(after - before <= 1 for before, after in itertools.pairwise(levels))
    assert page.all("html")[0]["lang"] == "en"
    assert any(meta.get("name") == "viewport" for meta in page.all("meta"))


def test_what_is_missing_is_said(profile: Path) -> None:
    words = Page(report(*told(UNSORTED, load_build(profile)))).words()
    assert "unsorted: no map, because the image nowhere/unsorted/gone.iso does not exist." in words
    assert "unsorted: no causes, because" in words
    assert "unsorted: no timeline, because" in words
    assert "profile: no" not in words


def test_labels_and_paths_cannot_become_markup(profile: Path, tmp_path: Path) -> None:
    hostile = "</title><script>alert(1)</script>\"onload='x' &amp; \u202e$x_2$"
    events = (profile / "bootlog.events").read_bytes()
    paths = events.replace(b"/etc/small", b"/etc/<img src=x onerror=alert(2)>\xff\x01")
    (profile / "bootlog.events").write_bytes(paths.replace(b"\tsh\t", b"\t<b>&sh\t"))
    build = load_build(profile, hostile)
    page = Page(report(*told(build, dataclasses.replace(build, label="b"))))
    assert {tag for tag, _ in page.tags}.isdisjoint({"script", "img", "b"})
    assert all(not name.startswith("on") for _, attributes in page.tags for name in attributes)
    words = page.words()
    assert "</title><script>alert(1)</script>\"onload='x' &amp; " in words
    assert "<img src=x onerror=alert(2)>" in words
    assert "<b>&sh [7]" in words
    write_report(*told(build, build), tmp_path / "report.html")


@pytest.mark.parametrize(
    "builds",
    [
        (trace_build("empty", []), trace_build("empty too", [])),
        (trace_build("still", [0, 1000]), trace_build("still too", [0, 1000])),
        (UNSORTED, SORTED, UNSORTED, SORTED, UNSORTED, SORTED, UNSORTED),
        (UNSORTED, trace_build("too large for a CD", [0, 10**9], 2 * 10**9)),
        (trace_build("one byte", [1], 1), trace_build("漢字 " * 30, [7])),
        (trace_build("huge", [0, 10**18 - 1], 10**18), UNSORTED),
    ],
    ids=["no reads", "no seeks", "seven", "does not fit", "odd", "an exabyte"],
)
def test_every_comparison_has_a_report(builds: tuple[Build, ...]) -> None:
    text = report(*told(*builds))
    assert "nan" not in re.sub(r"base64,[^\"]*", "", text)
    Page(text)


def recorded(build: Build, target_ns: int, conditions: Conditions) -> Build:
    trace = dataclasses.replace(build.trace, target_ns=target_ns)
    return dataclasses.replace(build, trace=trace, conditions=conditions)


@pytest.mark.parametrize("accelerator", ["tcg", "icount"])
def test_a_boot_time_by_the_clock_of_the_host_is_shown_and_not_judged(accelerator: str) -> None:
    conditions = Conditions(accelerator=accelerator, kernel="6.1.0 <b>", boots=1)
    slow, fast = (recorded(UNSORTED, seconds * 10**9, conditions) for seconds in (4, 3))
    text = report(*told(slow, fast))
    row = text[text.index(f"time to boot target (host&#x27;s clock, QEMU {accelerator})") :]
    assert "<td>not comparable</td>" in row[: row.index("</tr>")]
    words = Page(text).words()
    assert f"one boot under QEMU {accelerator}, whose speed" in words
    assert f"time since power-on (s, QEMU {accelerator})" in words
    assert "6.1.0 <b>" in words
    assert "guest's clock" not in words


def test_a_boot_time_by_the_clock_of_the_guest_is_judged_between_equal_machines() -> None:
    counted = Conditions(accelerator="icount", machine="amd64", guest_seconds=10.0)
    other = dataclasses.replace(counted, machine="i386")
    builds = (
        recorded(UNSORTED, 10**9, counted),
        recorded(SORTED, 10**9, dataclasses.replace(counted, guest_seconds=7.5)),
        recorded(SORTED, 10**9, other),
        recorded(SORTED, 10**9, Conditions(accelerator="tcg")),
    )
    text = report(*told(*builds))
    row = text[text.index("time to boot target (guest&#x27;s clock, QEMU icount)") :]
    cells = re.findall(r"<td>(.*?)</td>", row[: row.index("</tr>")])
    assert cells[1:] == [
        *("7.50 s", '<span class="less">▼ -25.0 %</span>'),
        *("10.0 s", "not comparable"),
        *("not recorded", ""),
    ]
    words = Page(text).words()
    assert "cannot be compared with unsorted: the profiles differ in machine." in words


def test_panels_of_processes_share_the_axis_of_time(profile: Path) -> None:
    build = load_build(profile)
    later = dataclasses.replace(build, label="later")
    comparison, (found, _) = told(build, later)
    assert found.timeline is not None
    longer = dataclasses.replace(
        found, timeline=dataclasses.replace(found.timeline, end_ns=80 * 10**9)
    )
    text = report(comparison, [found, longer])
    processes = text[text.index('id="processes"') :]
    ticks = re.findall(r'class="tick middle">(\d+)<', processes)
    assert ticks == ["0", "20", "40", "60", "80"] * 4


def test_dots_at_the_edges_of_the_image_are_drawn_whole() -> None:
    scale = plot_data(compare([trace_build("edge", [0, (1 << 20) - 1000])], [])).offsets
    axis = axis_of(scale)
    pixel = 1 / HEIGHT_PIXELS
    assert axis.share(0) > 4 * pixel and axis.share(scale.high) < 1 - 4 * pixel


def test_equal_input_gives_equal_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_report(*told(UNSORTED, SORTED), tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_300_000_reads_stay_small() -> None:
    offsets = np.random.default_rng(1).integers(0, 1 << 30, 300_000).tolist()
    many = trace_build("many", offsets, 1 << 30)
    assert len(report(*told(many, SORTED))) < 2_000_000


def test_what_could_not_be_written_leaves_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / "report.html" / "in-the-way").mkdir(parents=True)
    with pytest.raises(InputError) as caught:
        write_report(*told(UNSORTED, SORTED), tmp_path / "report.html")
    assert (
        caught.value.message == f"{tmp_path / 'report.html'}: not written, because it is a folder"
    )
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]


def test_json_has_the_documented_keys_and_no_infinity(profile: Path) -> None:
    still = trace_build("still", [0, 1000])
    made = as_json(*told(still, UNSORTED, load_build(profile)), [Path("s.png")], Path("r.html"))
    found = json.loads(json.dumps(made, allow_nan=False))
    assert set(found) == {
        *("schema", "builds", "seek_length_edges_bytes", "drives", "plots", "report"),
    }
    assert (found["schema"], found["plots"], found["report"]) == (1, ["s.png"], "r.html")
    assert [drive["name"] for drive in found["drives"]] == ["cd-24x", "nvme"]
    first, second, whole = found["builds"]
    for build in found["builds"]:
        assert set(build) == {
            *("label", "path", "image", "image_bytes", "image_sha256", "conditions", "metrics"),
            *("seeks_by_length", "image_map", "causes", "timeline", "absent"),
        }
        assert set(build["metrics"]) == {
            *("reads", "bytes", "unique-bytes", "non-contiguous", "seek-distance", "boot-time"),
            *("cd-24x", "cd-24x-bound", "nvme", "nvme-bound"),
        }
    assert first["metrics"]["seek-distance"] == {"unit": "bytes", "value": 0, "ratio": 1.0}
    assert second["metrics"]["seek-distance"]["ratio"] is None
    assert set(first["conditions"].values()) == {None}
    assert set(first["metrics"]["boot-time"]) == {"unit", "value", "ratio"}
    assert second["metrics"]["boot-time"]["ratio"] is None
    assert "accelerator" in second["metrics"]["boot-time"]["not_comparable"]
    assert first["image_sha256"] is None
    assert set(first["absent"]) == {"image_map", "causes", "timeline"}
    assert whole["absent"] == {}
    assert [row["title"] for row in whole["timeline"]["processes"]] == ["init [1]", "sh [7]"]
    assert (
        sum(row["bytes"] for row in whole["causes"]["causes"]) == whole["metrics"]["bytes"]["value"]
    )
    assert {row["kind"] for row in whole["image_map"]} >= {"file data", "fragments", "tables"}


def test_json_sorts_every_seek_into_one_bin() -> None:
    found = json.loads(json.dumps(as_json(*told(UNSORTED, SORTED), [], None)))
    edges = found["seek_length_edges_bytes"]
    assert edges == sorted(edges)
    for build, shown in ((UNSORTED, found["builds"][0]), (SORTED, found["builds"][1])):
        distances = seek_distances(build.trace.reads)
        bins = shown["seeks_by_length"]
        assert len(bins["seeks"]) == len(edges) - 1
        assert sum(bins["seeks"]) + bins["contiguous_reads"] == len(distances)
        assert sum(bins["distance_bytes"]) == distances.sum()
        expected = np.histogram(distances[distances > 0], edges)[0].tolist()
        assert bins["seeks"] == expected
    assert found["report"] is None
