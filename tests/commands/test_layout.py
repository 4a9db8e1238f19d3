# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""``bootprof layout``: what it prints, and that nothing a user does wrong gives a traceback."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from bootprof.cli import main
from bootprof.commands.layout import COLUMNS
from optimizer.formats.text import unescape
from optimizer.images.squashfs.layout import read_layout

BLOCK_BYTES = 4096


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if shutil.which("mksquashfs") is None:
        pytest.skip("mksquashfs is not installed: apt-get install squashfs-tools")
    root = tmp_path_factory.mktemp("layout") / "root"
    (root / "etc").mkdir(parents=True)
    (root / "random").write_bytes(os.urandom(2 * BLOCK_BYTES + 10))
    os.link(root / "random", root / "etc" / "other name")
    with (root / "sparse").open("wb") as file:
        file.write(b"x")
        file.truncate(3 * BLOCK_BYTES)
    (root / "empty").write_bytes(b"")
    (root / "link").symlink_to("etc")
    Path(os.fsdecode(os.fsencode(root) + b"/tab\tnewline\nback\\slash\xff")).write_bytes(b"strange")
    made = root.parent / "image.squashfs"
    command = ["mksquashfs", str(root), str(made), "-b", str(BLOCK_BYTES), "-always-use-fragments"]
    subprocess.run(command, check=True, capture_output=True)
    return made


@pytest.fixture(scope="module")
def iso(image: Path) -> Path:
    if shutil.which("xorriso") is None:
        pytest.skip("xorriso is not installed: apt-get install xorriso")
    tree = image.parent / "iso"
    (tree / "live").mkdir(parents=True)
    shutil.copy(image, tree / "live" / "filesystem.squashfs")
    made = image.parent / "image.iso"
    command = ["xorriso", "-as", "mkisofs", "-quiet", "-R", "-o", str(made), str(tree)]
    subprocess.run(command, check=True, capture_output=True)
    return made


def output(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> str:
    assert main(["layout", *map(str, arguments)]) == 0
    return capsys.readouterr().out


def json_output(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> Any:
    return json.loads(output(capsys, *arguments, "--json"))


def test_summary_names_compressor_tables_and_counts(
    image: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said = output(capsys, image)
    assert "gzip, blocks of 4,096 bytes" in said
    for table in ("superblock", "inode table", "directory table", "fragment table", "id table"):
        assert table in said
    facts = json_output(capsys, image)
    assert facts["paths"] == 8
    assert facts["inodes"]["file"] == 4
    assert facts["inodes"]["symlink"] == 1
    assert facts["blocks"]["holes"] == 2
    assert facts["blocks"]["stored"] == 2
    ends = [table["offset_bytes"] + table["length_bytes"] for table in facts["tables"]]
    assert ends[-1] == facts["size_bytes"]


def test_summary_of_an_iso_says_where_the_squashfs_is(
    iso: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "/live/filesystem.squashfs" in output(capsys, iso)
    facts = json_output(capsys, iso)
    assert facts["squashfs_path"] == "/live/filesystem.squashfs"
    assert facts["tables"][0]["offset_bytes"] == facts["squashfs_offset_bytes"] > 0


def test_extents_of_a_file_hold_its_bytes(
    image: Path, iso: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Random contents are stored as they are, so the image itself can be compared."""
    random = (image.parent / "root" / "random").read_bytes()
    for place in (image, iso):
        (file,) = json_output(capsys, place, "--file", "/random")["files"]
        assert file["size_bytes"] == len(random)
        assert sorted(file["links"]) == ["/etc/other name", "/random"]
        data = place.read_bytes()
        for extent in file["extents"][:2]:
            start, length = extent["offset_bytes"], extent["length_bytes"]
            begin = extent["file_offset_bytes"]
            assert data[start : start + length] == random[begin : begin + extent["file_bytes"]]
        assert [extent["kind"] for extent in file["extents"]] == ["block", "block", "fragment"]


def test_text_of_files_of_each_type(image: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = output(capsys, image, "--file", "random", "--file", "/link", "--file", "/etc/")
    assert "hard links: /random, /etc/other name" in said
    assert "target etc" in said
    assert "directory table" in said
    assert "compressor" not in said
    assert "hole" in output(capsys, image, "--file", "/sparse")


def test_at_names_the_files_of_a_block_and_the_block_of_a_table(
    iso: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    layout = read_layout(iso, json_output(capsys, iso)["squashfs_offset_bytes"])
    start = int(layout.extents_of(b"/random")[1]["offset_bytes"])
    table = next(table for table in layout.tables if table.kind.label == "inode table")
    said = output(capsys, iso, "--at", f"{start:#x}+100", "--at", str(table.offset_bytes))
    assert "/random" in said
    assert "/etc/other name" in said
    assert "100 of them" in said
    assert "inode table block 0" in said
    assert "ISO file /live/filesystem.squashfs" in said
    block, other = json_output(capsys, iso, "--at", f"{start}+5000", "--at", "0")["at"]
    kinds = [row["kind"] for row in block["squashfs"]]
    assert kinds[0] == "block"
    assert "fragment" in kinds
    assert block["squashfs"][0]["overlap_bytes"] == BLOCK_BYTES
    assert [row["kind"] for row in other["iso"]] == ["system area"]


def test_at_an_offset_behind_everything_says_so(
    image: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "nothing" in output(capsys, image, "--at", "0x7fffffffffff")


def test_tsv_has_every_path_and_every_block(
    image: Path, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    assert main(["layout", str(image), "--tsv"]) == 0
    header, *lines = capsysbinary.readouterr().out.splitlines()
    assert header.decode().split("\t") == list(COLUMNS)
    rows = [line.split(b"\t") for line in lines]
    assert {len(row) for row in rows} == {len(COLUMNS)}
    layout = read_layout(image)
    assert {unescape(row[0]) for row in rows} == set(layout.paths)
    for index, path in enumerate(layout.paths):
        mine = [row for row in rows if unescape(row[0]) == path and row[3] != b"-"]
        expected = layout.extents_of_inode(int(layout.entries["inode"][index]))
        names = COLUMNS[4:]
        assert [tuple(int(field) for field in row[4:]) for row in mine] == [
            tuple(int(extent[name]) for name in names) for extent in expected
        ]


def test_tsv_of_one_file(image: Path, capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    assert main(["layout", str(image), "--tsv", "--file", "//sparse"]) == 0
    kinds = [line.split(b"\t")[3] for line in capsysbinary.readouterr().out.splitlines()[1:]]
    assert kinds == [b"block", b"hole", b"hole"]


def test_squashfs_offset_is_believed(
    image: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    odd = tmp_path / "odd.img"
    odd.write_bytes(b"x" * 100 + image.read_bytes())
    facts = json_output(capsys, odd, "--squashfs-offset", "100")
    assert facts["squashfs_offset_bytes"] == 100


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["{image}", "--file", "/no/such"], "no file /no/such in the image"),
        (["{image}", "--tsv", "--file", "/no/such"], "no file /no/such in the image"),
        (["{image}", "--tsv", "--at", "0"], "--tsv cannot be combined with --at"),
        (["{image}", "--squashfs-offset", "512"], "no squashfs here"),
        (["{image}", "--squashfs-offset", "0xffffffffffff"], "too short for a squashfs"),
        (["{cut}"], "truncated"),
        (["{zeros}"], "no squashfs found"),
    ],
)
def test_wrong_input_is_one_line_and_a_hint(
    image: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    expected: str,
) -> None:
    (tmp_path / "cut").write_bytes(image.read_bytes()[:-5000])
    (tmp_path / "zeros").write_bytes(bytes(100_000))
    places = {"image": image, "cut": tmp_path / "cut", "zeros": tmp_path / "zeros"}
    assert main(["layout", *(word.format(**places) for word in arguments)]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    lines = said.err.splitlines()
    assert expected in lines[0]
    assert lines[0].startswith("bootprof: error: ")
    assert len(lines) == 2
    assert lines[1].startswith("bootprof: hint: ")


@pytest.mark.parametrize(
    "words", [["--at", "x"], ["--at", "-5"], ["--at", "1+"], ["--json", "--tsv"]]
)
def test_wrong_usage_ends_with_status_2(image: Path, words: list[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["layout", str(image), *words])
    assert caught.value.code == 2


def test_missing_file_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["layout", str(tmp_path / "missing")]) == 2
    assert "missing: No such file" in capsys.readouterr().err
