# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""What block traces tell of the files that were read is enough for every command that asks.

A profile of a foreign image is recorded by ``--backend block`` alone: its bootlog has only the
operation ``block``, a range of a file that came from the medium.
"""

from __future__ import annotations

import hashlib
import json
import random
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from bootprof.backends import Recording
from bootprof.backends.block import locate_files
from bootprof.builder.initrd.readahead import make_list
from bootprof.builder.layers import load_config
from bootprof.cli import build_parser, main
from bootprof.commands.build import readahead_request
from optimizer.formats.blocktrace import READ_DTYPE, BlockTrace, write_block_trace
from optimizer.formats.bootlog import write_events
from optimizer.formats.events import Bootlog, Event, Operation
from optimizer.formats.readahead_list import parse_list
from optimizer.images.image import open_image

BLOCK = 131072
HOT = (7, 2)


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten files of two blocks each that do not compress."""
    if shutil.which("mksquashfs") is None:
        pytest.skip("mksquashfs is not installed: apt-get install squashfs-tools")
    root = tmp_path_factory.mktemp("block-profile") / "root"
    root.mkdir()
    source = random.Random(10)
    for number in range(10):
        (root / f"{number}").write_bytes(source.randbytes(2 * BLOCK))
    made = root.parent / "image.squashfs"
    command = ["mksquashfs", str(root), str(made), "-no-progress", "-no-fragments"]
    subprocess.run(command, check=True, capture_output=True)
    return made


@pytest.fixture(scope="module")
def profile(image: Path) -> Path:
    """The folder of a profile in which two files were read, as the backend block makes it."""
    layout = open_image(image).layout()
    size = image.stat().st_size
    tables = layout.tables_offset_bytes // 4096 * 4096
    rows = [(1, 0, 4096), (2, tables, size - tables)]
    for time, number in enumerate(HOT, 3):
        pieces = layout.extents_of(b"/%d" % number)
        begin = int(pieces["offset_bytes"][0])
        rows.append((time, begin, int(pieces["length_bytes"].sum())))
    digest = hashlib.sha256(image.read_bytes()).hexdigest()
    trace = BlockTrace(np.array(rows, READ_DTYPE), image.name, size, 10, digest)
    folder = image.parent / "profile"
    folder.mkdir()
    with (folder / "blocktrace.tsv").open("wb") as stream:
        write_block_trace(stream, trace)
    bootlog = locate_files(Recording(image=image, block_trace=trace)).bootlog()
    assert set(bootlog.events["operation"].tolist()) == {Operation.BLOCK}
    with (folder / "bootlog.events").open("wb") as stream:
        write_events(stream, bootlog)
    return folder


def test_analyze_knows_what_was_needed(
    image: Path, profile: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["analyze", str(image), str(profile), "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["files"] == len(HOT)
    causes = {row["cause"]: row["bytes"] for row in answer["causes"]}
    assert causes["needed_data"] == 2 * BLOCK * len(HOT)


def test_readahead_lists_what_was_read_and_no_more(image: Path, profile: Path) -> None:
    target = profile.parent / "readahead.list"
    assert main(["readahead", str(image), str(profile), "-d", "nvme", "-o", str(target)]) == 0
    with target.open("rb") as stream:
        found = parse_list(stream, "list")
    data = found.ranges[~found.ranges["tables"]]
    # What came from the medium is not widened: the superblock's page, and two files.
    covered = int(data["length_bytes"].sum())
    assert 2 * BLOCK * len(HOT) < covered <= 2 * BLOCK * len(HOT) + 4 * 4096


def test_a_single_block_of_a_file_is_wanted_without_its_neighbours(image: Path) -> None:
    event = Event(1000, 0, b"", Operation.BLOCK, 0, BLOCK, 0, 0, 1, b"squashfs", b"/4")
    events, target = image.parent / "b.events", image.parent / "one.list"
    with events.open("wb") as stream:
        write_events(stream, Bootlog.of({"backend": "block"}, [event]))
    assert main(["readahead", str(image), str(events), "-d", "nvme", "-o", str(target)]) == 0
    with target.open("rb") as stream:
        data = parse_list(stream, "list").ranges
    first, second = open_image(image).layout().extents_of(b"/4")["offset_bytes"].tolist()
    (row,) = [row for row in data.tolist() if row[0] <= first < row[0] + row[1]]
    assert row[0] + row[1] >= first + BLOCK
    assert row[0] + row[1] <= second + 4096


def test_sort_simulates_the_boot_and_keeps_the_order_of_access(
    image: Path, profile: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log = str(profile / "bootlog.events")
    options = ["--image", str(image), "--place", "auto", "--search", "5", "--format", "list"]
    assert main(["sort", log, *options]) == 0
    shown = capsys.readouterr()
    assert set(shown.out.split()) == {f"/{number}" for number in HOT}
    assert "simulated on" in shown.err
    assert "best of 5 orders" in shown.err


def test_a_build_reads_ahead_the_same(image: Path, profile: Path, tmp_path: Path) -> None:
    config = tmp_path / "live.cfg"
    config.write_text('name = "x"\n[readahead]\ndrive = "nvme"\n')
    words = ["build", "--config", str(config), "--readahead", str(profile / "bootlog.events")]
    request = readahead_request(build_parser().parse_args(words), load_config(config).readahead)
    assert request is not None
    target = tmp_path / "readahead.list"
    assert main(["readahead", str(image), str(profile), "-d", "nvme", "-o", str(target)]) == 0
    assert make_list(request, image) == target.read_bytes()


def test_a_report_has_causes_and_a_timeline(
    profile: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["compare", str(profile), str(profile), "--json"]) == 0
    build, _ = json.loads(capsys.readouterr().out)["builds"]
    assert not build["absent"]
    assert build["causes"]["files"] == len(HOT)
    assert build["causes"]["missing"] == 0
    assert build["timeline"]["events"]
