# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""``bootprof readahead``: a list from a bootlog or a block trace, and clear words where not."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from bootprof.builder.layers import load_config
from bootprof.cli import build_parser, main
from bootprof.commands.build import readahead_request
from optimizer.formats.readahead_list import ReadaheadList, parse_list
from optimizer.images.image import open_image
from optimizer.images.squashfs.layout import read_layout

BLOCK = 131072


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if shutil.which("mksquashfs") is None:
        pytest.skip("mksquashfs is not installed: apt-get install squashfs-tools")
    root = tmp_path_factory.mktemp("readahead") / "root"
    root.mkdir()
    for number in range(10):
        (root / f"file {number}").write_bytes(os.urandom(2 * BLOCK))
    made = root.parent / "image.squashfs"
    command = ["mksquashfs", str(root), str(made), "-no-progress"]
    subprocess.run(command, check=True, capture_output=True)
    return made


def listed(path: Path) -> ReadaheadList:
    with path.open("rb") as stream:
        return parse_list(stream, str(path))


def test_a_bootlog_becomes_a_list_for_this_image(
    image: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bootlog, target = tmp_path / "bootlog.list", tmp_path / "readahead.list"
    bootlog.write_text("/file 2\n/file 7\n/not there\n")
    assert main(["readahead", str(image), str(bootlog), "-d", "usb-2", "-o", str(target)]) == 0
    found = listed(target)
    assert found.superblock == image.read_bytes()[:96]
    assert found.drive == "usb-2"
    # Superblock, two files, tables; of the files two blocks each, and what shares a page with them.
    assert len(found.ranges) == 4
    assert 4 * BLOCK < int(found.ranges["length_bytes"].sum()) < 4 * BLOCK + 32768
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.startswith("4 ranges, ")
    assert "one pass on USB 2" in shown.err


def test_without_output_the_list_goes_to_standard_output(
    image: Path, tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    bootlog, target = tmp_path / "bootlog.list", tmp_path / "readahead.list"
    bootlog.write_text("/file 2\n")
    assert main(["readahead", str(image), str(bootlog), "-o", str(target)]) == 0
    assert main(["readahead", str(image), str(tmp_path)]) == 0
    assert capfdbinary.readouterr().out == target.read_bytes()


def test_a_block_trace_becomes_a_list_of_what_was_read(image: Path, tmp_path: Path) -> None:
    trace, target = tmp_path / "blocktrace.tsv", tmp_path / "readahead.list"
    digest = hashlib.sha256(image.read_bytes()).hexdigest()
    trace.write_text(
        f"#bootprof-blocktrace 1\n#image: x\n#image_bytes: {image.stat().st_size}\n"
        f"#image_sha256: {digest}\n#target_ns: 9\n1\t409600\t8192\n2\t819200\t4096\n"
    )
    assert main(["readahead", str(image), str(trace), "-d", "nvme", "-o", str(target)]) == 0
    places = listed(target).ranges[["offset_bytes", "length_bytes"]].tolist()
    assert places[1:3] == [(409600, 8192), (819200, 4096)]


def test_a_block_trace_of_another_image_is_refused(
    image: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trace = tmp_path / "blocktrace.tsv"
    trace.write_text(
        "#bootprof-blocktrace 1\n#image: x\n#image_bytes: 4096\n#target_ns: 9\n1\t0\t4096\n"
    )
    assert main(["readahead", str(image), str(trace)]) == 2
    assert "belongs to another image" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("content", "words"),
    [(None, "no such file"), ("/not there\n", "none of its files"), ("", "none of its files")],
)
def test_a_bootlog_that_says_nothing_of_the_image_is_refused(
    image: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    content: str | None,
    words: str,
) -> None:
    bootlog, target = tmp_path / "bootlog.list", tmp_path / "readahead.list"
    if content is not None:
        bootlog.write_text(content)
    assert main(["readahead", str(image), str(bootlog), "-o", str(target)]) == 2
    assert words in capsys.readouterr().err
    assert not target.exists()


def test_a_folder_without_a_bootlog_is_refused(
    image: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["readahead", str(image), str(tmp_path)]) == 2
    assert "contains no bootlog" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "source", "drive"),
    [
        ([], "configured.list", "usb-2"),
        (["--readahead-drive", "nvme"], "configured.list", "nvme"),
        (["--readahead", "other.list"], "other.list", "usb-2"),
        (["--no-readahead"], None, None),
    ],
)
def test_a_build_reads_ahead_what_is_configured_unless_told_otherwise(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    words: list[str],
    source: str | None,
    drive: str | None,
) -> None:
    for name in ("configured.list", "other.list"):
        (tmp_path / name).write_text(f"/{name}\n")
    config = tmp_path / "live.cfg"
    config.write_text('name = "x"\n[readahead]\nbootlog = "configured.list"\ndrive = "usb-2"\n')
    monkeypatch.chdir(tmp_path)
    options = build_parser().parse_args(["build", "--config", str(config), *words])
    request = readahead_request(options, load_config(config).readahead)
    if source is None:
        assert request is None
    else:
        assert request is not None
        assert Path(request.source).name == source
        assert request.touched == {f"/{source}".encode(): []}
        assert request.drive.name == drive


@pytest.mark.parametrize("words", [[], ["--readahead", "not-there"]])
def test_readahead_of_the_tables_alone_takes_no_bootlog(tmp_path: Path, words: list[str]) -> None:
    config = tmp_path / "live.cfg"
    config.write_text('name = "x"\n[readahead]\nwhat = "tables"\n')
    options = build_parser().parse_args(["build", "--config", str(config), *words])
    request = readahead_request(options, load_config(config).readahead)
    assert request is not None
    assert request.touched is None


def test_the_tables_alone_are_all_tables_and_no_data(image: Path, tmp_path: Path) -> None:
    target = tmp_path / "readahead.list"
    assert main(["readahead", str(image), "--tables", "-o", str(target)]) == 0
    found = listed(target).ranges
    layout = read_layout(image)
    # What begins with the superblock and what begins with the inode table, in pages of 4 KiB.
    inode_table = layout.superblock.inode_table // 4096 * 4096
    assert [int(offset) for offset in found["offset_bytes"]] == [0, inode_table]
    end = int(found["offset_bytes"][-1] + found["length_bytes"][-1])
    assert end == layout.size_bytes
    assert int(found["length_bytes"][0]) == 4096


@pytest.mark.parametrize("words", [[], ["some.list", "--tables"]])
def test_either_a_bootlog_or_the_tables_have_to_be_asked_for(
    image: Path, words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["readahead", str(image), *words]) == 2
    assert "give a bootlog or --tables, but not both" in capsys.readouterr().err


def test_a_list_without_a_gap_counts_none(
    image: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """All of the image is one stretch, but two ranges: data, and tables directly behind it."""
    size = image.stat().st_size
    trace = tmp_path / "blocktrace.tsv"
    trace.write_text(
        f"#bootprof-blocktrace 1\n#image: x\n#image_bytes: {size}\n#target_ns: 9\n1\t0\t{size}\n"
    )
    assert main(["readahead", str(image), str(trace), "-o", str(tmp_path / "list")]) == 0
    assert len(listed(tmp_path / "list").ranges) == 2
    assert "\n0 gaps are read too: 0 B, unneeded\n" in capsys.readouterr().err


def test_a_list_of_an_erofs_names_its_superblock_and_only_needed_metadata(
    tmp_path: Path,
) -> None:
    (tmp_path / "tree").mkdir()
    for number in range(2000):
        (tmp_path / f"tree/file-{number}").write_bytes(b"content %d " % number * 300)
    image, bootlog = tmp_path / "image.erofs", tmp_path / "bootlog.list"
    tree = tmp_path / "tree"
    subprocess.run(["mkfs.erofs", "-zlz4", image, tree], check=True, capture_output=True)
    bootlog.write_bytes(b"/file-7\n/file-1990\n")
    assert main(["readahead", str(image), str(bootlog), "-o", str(tmp_path / "list")]) == 0
    with (tmp_path / "list").open("rb") as stream:
        found = parse_list(stream, "list")
    layout = open_image(image).layout()
    assert (found.superblock_offset_bytes, found.squashfs_bytes) == (1024, layout.size_bytes)
    assert found.superblock == image.read_bytes()[1024 : 1024 + 96]
    for path in (b"/file-7", b"/file-1990"):
        at = int(layout.extents_of(path)["offset_bytes"][0])
        begins, ends = found.ranges["offset_bytes"], found.ranges["length_bytes"]
        assert ((begins <= at) & (at < begins + ends)).any()
    assert not found.ranges["tables"].any()
