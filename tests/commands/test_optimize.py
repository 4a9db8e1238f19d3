# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""``bootprof optimize`` without a boot."""

from __future__ import annotations

import random
import shutil
import subprocess
from itertools import pairwise
from pathlib import Path

import pytest

from bootprof.builder.initrd.archive import archive
from bootprof.cli import main
from optimizer.formats.bootlog import read_bootlog, write_events
from optimizer.formats.events import Bootlog, Event, Operation
from optimizer.images.image import open_image
from optimizer.replay import reads_of_demand
from optimizer.spans import make_spans
from tests.foreign import fake_kernel

# Far from each other on an image in the order of its names.
WANTED = [b"/file-%02d" % number for number in (90, 10, 80, 20, 70, 30)]


@pytest.fixture(scope="module")
def squashfs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("optimize")
    source = random.Random(8)
    (folder / "tree").mkdir()
    for number in range(10, 99):
        (folder / f"tree/file-{number}").write_bytes(source.randbytes(150_000))
    image = folder / "image.squashfs"
    subprocess.run(
        ["mksquashfs", folder / "tree", image, "-quiet", "-no-progress", "-comp", "lz4"], check=True
    )
    return image


@pytest.fixture
def profile(tmp_path: Path) -> Path:
    folder = tmp_path / "profile"
    folder.mkdir()
    events = [
        Event(number, 1, b"init", Operation.READ, 0, 4096, 0, 0, number, b"squashfs", path)
        for number, path in enumerate(WANTED, 1)
    ]
    with (folder / "bootlog.events").open("wb") as stream:
        write_events(stream, Bootlog.of({"backend": "test"}, events))
    return folder


def test_a_dry_run_writes_nothing_and_says_what_is_gained(
    squashfs: Path, profile: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = sorted(squashfs.parent.iterdir())
    assert main(["optimize", str(squashfs), "--profile", str(profile), "--dry-run"]) == 0
    said = capsys.readouterr().out
    (line,) = (line for line in said.splitlines() if "seek distance" in line)
    assert "less" in line or "-" in line
    assert sorted(squashfs.parent.iterdir()) == before


def test_a_dry_run_of_an_image_in_the_wanted_order_gains_nothing(
    squashfs: Path, profile: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sorted_image = tmp_path / "sorted.squashfs"
    words = ["--profile", str(profile)]
    assert main(["optimize", str(squashfs), "-o", str(sorted_image), "--no-check", *words]) == 0
    assert main(["optimize", str(sorted_image), "--dry-run", *words]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines
    assert [line for line in lines[1:] if not line.endswith("same")] == []


def test_a_dry_run_needs_the_time_of_each_access(
    squashfs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "bootlog.list").write_bytes(WANTED[0] + b"\n")
    assert main(["optimize", str(squashfs), "--profile", str(tmp_path), "--dry-run"]) == 2
    assert "does not record when" in capsys.readouterr().err


def test_replayed_reads_begin_with_what_is_read_ahead(squashfs: Path, profile: Path) -> None:
    layout = open_image(squashfs).layout()
    with (profile / "bootlog.events").open("rb") as stream:
        log = read_bootlog(stream, "bootlog.events")
    plain = reads_of_demand(layout, log)
    ahead = make_spans([int(plain["offset_bytes"].min())], [1 << 20])
    reads = reads_of_demand(layout, log, ahead)
    end = int(ahead["offset_bytes"][0]) + (1 << 20)
    first, rest = reads[0], reads[1:]
    assert (first["offset_bytes"], first["length_bytes"]) == (ahead["offset_bytes"][0], 1 << 20)
    assert 0 < len(rest) < len(plain)
    assert all(row["offset_bytes"] >= end for row in rest)
    missing = {int(row["offset_bytes"]) for row in plain if row["offset_bytes"] >= end}
    assert missing <= {int(row["offset_bytes"]) for row in rest}


def test_a_dry_run_with_readahead_reads_it_first(
    squashfs: Path, profile: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "initrd/conf/conf.d").mkdir(parents=True)
    (tmp_path / "initrd/usr").mkdir()
    shutil.copy("/usr/bin/busybox", tmp_path / "initrd/usr")
    (tmp_path / "iso/boot/grub").mkdir(parents=True)
    archive(tmp_path / "initrd", tmp_path / "iso/initrd", 0)
    (tmp_path / "iso/vmlinuz").write_bytes(fake_kernel())
    (tmp_path / "iso/boot/grub/grub.cfg").write_text(
        "menuentry Live {\n linux /vmlinuz\n initrd /initrd\n}\n"
    )
    shutil.copy(squashfs, tmp_path / "iso/filesystem.squashfs")
    iso = tmp_path / "live.iso"
    command: list[str | Path] = ["xorriso", "-as", "mkisofs", "-quiet", "-R", "-o", iso]
    subprocess.run([*command, tmp_path / "iso"], check=True, capture_output=True)
    reads = []
    for more in ([], ["--readahead"]):
        words = ["optimize", str(iso), "--profile", str(profile), "--dry-run", *more]
        assert main(words) == 0
        said = capsys.readouterr().out
        assert ("what --readahead reads first" in said) == bool(more)
        (line,) = (line for line in said.splitlines() if line.startswith("  reads"))
        reads.append(int(line.split()[2]))
    assert 0 < reads[1] < reads[0]


def test_replayed_reads_cover_what_is_needed_once(squashfs: Path, profile: Path) -> None:
    layout = open_image(squashfs).layout()
    with (profile / "bootlog.events").open("rb") as stream:
        reads = reads_of_demand(layout, read_bootlog(stream, "bootlog.events"))
    spans = [(row["offset_bytes"], row["offset_bytes"] + row["length_bytes"]) for row in reads]
    for path in WANTED:
        first = int(layout.extents_of(path)["offset_bytes"][0])
        assert sum(start <= first < end for start, end in spans) == 1
    ordered = sorted(spans)
    assert all(one[1] <= other[0] for one, other in pairwise(ordered))


def test_a_file_system_in_a_file_is_refused_before_the_boot(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "tree/LiveOS").mkdir(parents=True)
    (tmp_path / "tree/LiveOS/rootfs.img").write_bytes(random.Random(1).randbytes(1 << 20))
    image = tmp_path / "squashfs.img"
    tree = tmp_path / "tree"
    subprocess.run(["mksquashfs", tree, image, "-quiet", "-no-progress"], check=True)
    assert main(["optimize", str(image), "-o", str(tmp_path / "out.img")]) == 2
    said = capsys.readouterr().err
    assert "/LiveOS/rootfs.img is a file system in the file system" in said
    assert "boot of" not in said
    assert not (tmp_path / "out.img").exists()
