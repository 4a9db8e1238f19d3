# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""Commands that take an image take an EROFS, bare and in an ISO."""

from __future__ import annotations

import json
import random
import subprocess
from pathlib import Path

import pytest

from bootprof.checksums import Covering
from bootprof.cli import main
from bootprof.rewrite import rewrite
from optimizer.images.image import open_image
from optimizer.images.reorder import Wanted, unequal

FILES = 60
WANTED = [b"/usr/file-%d" % number for number in (50, 3, 41, 12)]


@pytest.fixture(scope="module")
def erofs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("commands")
    (folder / "tree/usr").mkdir(parents=True)
    source = random.Random(16)
    for number in range(FILES):
        (folder / f"tree/usr/file-{number}").write_bytes(source.randbytes(9000) + b"text" * 9000)
    image = folder / "image.erofs"
    command = ["mkfs.erofs", "-zlz4hc", "-C65536", image, folder / "tree"]
    subprocess.run([str(word) for word in command], check=True, capture_output=True)
    return image


def firsts(image: Path) -> list[int]:
    layout = open_image(image).layout()
    return [int(layout.extents_of(path)["offset_bytes"][0]) for path in WANTED]


def test_an_erofs_in_an_iso_is_reordered_where_it_is(erofs: Path, tmp_path: Path) -> None:
    tree = tmp_path / "iso/LiveOS"
    tree.mkdir(parents=True)
    (tree / "squashfs.img").write_bytes(erofs.read_bytes())
    iso, target = tmp_path / "live.iso", tmp_path / "out.iso"
    command: list[str | Path] = ["xorriso", "-as", "mkisofs", "-quiet", "-R", "-o", iso]
    subprocess.run([*command, tmp_path / "iso"], check=True, capture_output=True)
    done = rewrite(open_image(iso), Wanted(WANTED), target, Covering())
    assert done.way == "in place"
    assert firsts(target) == sorted(firsts(target)) != firsts(iso)
    with iso.open("rb") as one, target.open("rb") as other:
        assert unequal(open_image(iso).layout(), one, open_image(target).layout(), other) is None


def test_reorder_takes_a_list_and_a_block_trace(
    erofs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    order, trace = tmp_path / "bootlog.list", tmp_path / "blocktrace.tsv"
    order.write_bytes(b"\n".join([*WANTED, b""]))
    layout = open_image(erofs).layout()
    head = b"#bootprof-blocktrace 1\n#image: image.erofs\n#image_bytes: %d\n#target_ns: 99\n"
    lines = [head % erofs.stat().st_size]
    for time, path in enumerate(WANTED):
        piece = layout.extents_of(path)[0]
        lines.append(b"%d\t%d\t%d\n" % (time, piece["offset_bytes"], piece["length_bytes"]))
    trace.write_bytes(b"".join(lines))
    for given in (order, trace):
        target = tmp_path / f"{given.name}.erofs"
        assert main(["reorder", str(erofs), str(given), "-o", str(target)]) == 0
        assert firsts(target) == sorted(firsts(target)) != firsts(erofs)
    assert "0 B compressed again" in capsys.readouterr().err
    # The files of a block trace are found by the places of their contents.
    found = tmp_path / "found.list"
    words = ["convert", "--from", "block", str(trace), "--image", str(erofs)]
    assert main([*words, "-o", str(found)]) == 0
    assert [path for path in WANTED if path in found.read_bytes()] == WANTED


def test_layout_calls_an_erofs_by_its_name(erofs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["layout", str(erofs), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["format"], found["compressor"], found["paths"]) == ("erofs", "lz4", FILES + 2)
    assert main(["layout", str(erofs)]) == 0
    assert "\nerofs " in capsys.readouterr().out
