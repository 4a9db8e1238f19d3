# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""``bootprof analyze`` as a person runs it."""

import hashlib
import io
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from optimizer.formats.blocktrace import READ_DTYPE, BlockTrace, write_block_trace
from optimizer.formats.bootlog import write_events
from optimizer.formats.events import Bootlog, Event, Operation
from optimizer.images.squashfs.layout import read_layout

TOP = Path(__file__).parent.parent.parent
BLOCK = 131072


def analyze(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command: list[str | Path] = [sys.executable, "-m", "bootprof", "analyze", *arguments]
    done = subprocess.run(command, capture_output=True, cwd=TOP, text=True)
    assert "Traceback" not in done.stderr
    return done


def events_file(*events: tuple[Operation, int, int, bytes, bytes]) -> bytes:
    stream = io.BytesIO()
    rows = [
        Event(number, 1, b"init", operation, offset, length, 0, 21, 1, file_system, path)
        for number, (operation, offset, length, file_system, path) in enumerate(events)
    ]
    write_events(stream, Bootlog.of({"backend": "test"}, rows))
    return stream.getvalue()


@pytest.fixture
def profile(tmp_path: Path) -> tuple[Path, Path]:
    """An image with two files of two blocks, and a profile that read one whole, one in part."""
    if shutil.which("mksquashfs") is None:
        pytest.skip("mksquashfs is not installed: apt-get install squashfs-tools")
    root, image, folder = tmp_path / "root", tmp_path / "image.squashfs", tmp_path / "profile"
    root.mkdir()
    folder.mkdir()
    (root / "all").write_bytes(np.random.default_rng(1).bytes(2 * BLOCK))
    (root / "part").write_bytes(np.random.default_rng(2).bytes(2 * BLOCK))
    subprocess.run(["mksquashfs", root, image, "-no-progress"], check=True, capture_output=True)
    layout = read_layout(image)
    reads = np.array([(5, 0, image.stat().st_size)], READ_DTYPE)
    digest = hashlib.sha256(image.read_bytes()).hexdigest()
    with (folder / "blocktrace.tsv").open("wb") as stream:
        write_block_trace(stream, BlockTrace(reads, image.name, layout_size(image), 10, digest))
    (folder / "bootlog.events").write_bytes(
        events_file(
            (Operation.OPEN, 0, 0, b"overlay", b"/all"),
            (Operation.OPEN, 0, 0, b"overlay", b"/part"),
            (Operation.READ, 100, 50, b"overlay", b"/part"),
            (Operation.CACHE, 0, 2 * BLOCK, b"squashfs", b"/part"),
            (Operation.OPEN, 0, 0, b"tmpfs", b"/run/lock"),
            (Operation.OPEN, 0, 0, b"overlay", b"/made/at/boot"),
        )
    )
    assert layout.block_size_bytes == BLOCK
    return image, folder


def layout_size(image: Path) -> int:
    return image.stat().st_size


def test_json_has_limit_ratio_and_causes(profile: tuple[Path, Path]) -> None:
    done = analyze(*profile, "--json", "--drive", "usb-2")
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert answer["files"] == 2
    assert answer["missing"] == ["/made/at/boot"]
    assert answer["ratio"] == pytest.approx(answer["modelled_seconds"] / answer["limit_seconds"])
    causes = {row["cause"]: row for row in answer["causes"]}
    assert sum(row["bytes"] for row in causes.values()) == answer["bytes"]
    # Of the file that was read in part, one block is needed, and but 50 bytes of it are hot.
    assert causes["needed_data"]["bytes"] == pytest.approx(2 * BLOCK + 50, abs=3)
    assert causes["cold_neighbours"]["bytes"] == pytest.approx(BLOCK - 50, abs=3)
    assert causes["readahead"]["bytes"] == BLOCK


def test_the_table_names_the_causes_and_the_ratio(profile: tuple[Path, Path]) -> None:
    done = analyze(*profile)
    assert done.returncode == 0, done.stderr
    for words in ("kernel readahead", "inode table", "limit", "times as long", "1 paths are not"):
        assert words in done.stdout


def test_a_plain_bootlog_with_a_trace(profile: tuple[Path, Path], tmp_path: Path) -> None:
    image, folder = profile
    plain = tmp_path / "bootlog.list"
    plain.write_bytes(b"/proc/cmdline\n/part\npipe:[1]\n")
    done = analyze(image, plain, "--trace", folder / "blocktrace.tsv", "--json")
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert (answer["files"], answer["missing"]) == (1, [])
    by_option = analyze(image, folder, "--bootlog", plain, "--json")
    assert json.loads(by_option.stdout)["needed_bytes"] == answer["needed_bytes"]


def test_wrong_input_is_one_line_and_a_hint(profile: tuple[Path, Path], tmp_path: Path) -> None:
    image, folder = profile
    other = tmp_path / "other.squashfs"
    changed = bytearray(image.read_bytes())
    changed[200] ^= 1
    other.write_bytes(changed)
    nothing = tmp_path / "nothing.list"
    nothing.write_bytes(b"/gone\n")
    empty = tmp_path / "empty"
    empty.mkdir()
    for arguments, words in (
        ((other, folder), "another image"),
        ((image, folder, "--bootlog", nothing), "none of its files"),
        ((image, empty), "contains no bootlog"),
        ((image, tmp_path / "no"), "no such file"),
        ((image, nothing), "no block trace"),
        ((image, folder, "--drive", "floppy"), "no such drive"),
        ((tmp_path / "no.iso", folder), "No such file"),
    ):
        done = analyze(*arguments)
        assert done.returncode == 2, (arguments, done.stderr)
        assert words in done.stderr
