# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""Every command finds the same squashfs in an image, whatever stands around it."""

from __future__ import annotations

import json
import random
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from bootprof.cli import main
from optimizer.formats.bootlog import write_events
from optimizer.formats.events import Bootlog, Event, Operation
from optimizer.formats.readahead_list import parse_list
from optimizer.images.image import open_image

SMALL = "/live/small.squashfs"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A squashfs, a smaller one that holds a file of the same name, and a bootlog of that file."""
    for program in ("mksquashfs", "xorriso"):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed: apt-get install squashfs-tools xorriso")
    top = tmp_path_factory.mktemp("images")
    source = random.Random(11)
    (top / "iso" / "live").mkdir(parents=True)
    for name, size in (("large", 300_000), ("small", 200_000)):
        (top / name).mkdir()
        (top / name / "file").write_bytes(source.randbytes(size))
        made = top / "iso" / "live" / f"{name}.squashfs"
        command = ["mksquashfs", str(top / name), str(made), "-no-progress", "-no-fragments"]
        subprocess.run(command, check=True, capture_output=True)
    large = top / "iso" / "live" / "large.squashfs"
    (top / "iso" / "live" / "old.module").write_bytes(
        b"hsqs" + bytes(24) + b"\3\0\1\0" + bytes(4000)
    )
    shutil.copy(large, top / "alone")
    (top / "disk").write_bytes(bytes(1 << 20) + large.read_bytes() + bytes(1 << 20))
    command = ["xorriso", "-as", "mkisofs", "-quiet", "-R", "-o", str(top / "image.iso")]
    subprocess.run([*command, str(top / "iso")], check=True, capture_output=True)
    event = Event(1, 1, b"init", Operation.READ, 0, 4096, 0, 0, 1, b"squashfs", b"/file")
    with (top / "bootlog.events").open("wb") as stream:
        write_events(stream, Bootlog.of({"backend": "test"}, [event]))
    return top


def sizes_in_layout(image: Path, capsys: pytest.CaptureFixture[str], *options: str) -> int:
    assert main(["layout", str(image), "--json", *options]) == 0
    return int(json.loads(capsys.readouterr().out)["size_bytes"])


def sizes_in_readahead(image: Path, capsys: pytest.CaptureFixture[str], *options: str) -> int:
    target = image.parent / "list"
    assert main(["readahead", str(image), "--tables", "-o", str(target), *options]) == 0
    with target.open("rb") as stream:
        return parse_list(stream, "list").squashfs_bytes


def sizes_in_sort(image: Path, capsys: pytest.CaptureFixture[str], *options: str) -> int:
    """Sort does not say which squashfs it used, but which file of it the simulated boot read."""
    log = str(image.parent / "bootlog.events")
    words = ["sort", log, "--image", str(image), "--place", "auto", "-f", "list", *options]
    assert main(words) == 0
    assert capsys.readouterr().out == "/file\n"
    return 0


@pytest.mark.parametrize("size_of", [sizes_in_layout, sizes_in_readahead, sizes_in_sort])
@pytest.mark.parametrize("name", ["alone", "disk", "image.iso"])
def test_the_squashfs_is_found_in_an_image_of_any_kind(
    folder: Path, capsys: pytest.CaptureFixture[str], name: str, size_of: Callable[..., int]
) -> None:
    expected = open_image(folder / "alone").layout().size_bytes
    assert size_of(folder / name, capsys) in (expected, 0)


@pytest.mark.parametrize("size_of", [sizes_in_layout, sizes_in_readahead, sizes_in_sort])
def test_a_squashfs_of_several_is_chosen_by_its_path(
    folder: Path, capsys: pytest.CaptureFixture[str], size_of: Callable[..., int]
) -> None:
    expected = open_image(folder / "image.iso", squashfs=SMALL).layout().size_bytes
    assert size_of(folder / "image.iso", capsys, "--squashfs", SMALL) in (expected, 0)


def test_what_was_passed_over_and_what_there_is_to_choose_from_is_said(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["layout", str(folder / "image.iso")]) == 0
    shown = capsys.readouterr().err.splitlines()
    assert len(shown) == 2
    assert "/live/old.module begins like a squashfs" in shown[0]
    assert SMALL in shown[1]
    assert "the largest is used" in shown[1]


@pytest.mark.parametrize("command", ["layout", "readahead"])
@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--squashfs", "/nowhere"], "no squashfs /nowhere in the image"),
        (["--squashfs", "/live/old.module"], "no squashfs /live/old.module in the image"),
        (["--squashfs-offset", "4096"], "no squashfs here"),
        (["--squashfs-offset", "4096", "--squashfs", SMALL], "not allowed with"),
    ],
)
def test_a_choice_that_is_none_is_one_line_and_a_hint(
    folder: Path,
    capsys: pytest.CaptureFixture[str],
    command: str,
    options: list[str],
    expected: str,
) -> None:
    tables = ["--tables"] if command == "readahead" else []
    try:
        status = main([command, str(folder / "image.iso"), *tables, *options])
    except SystemExit as ended:
        status = int(ended.code or 0)
    assert status == 2
    shown = capsys.readouterr()
    assert expected in shown.err
    assert shown.out == ""
