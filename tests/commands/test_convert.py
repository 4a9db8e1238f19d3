# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""``bootprof convert``: what it writes where, and that wrong input gives one clear line."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from bootprof.cli import main
from bootprof.imports import load, names
from optimizer.formats.blocktrace import READ_DTYPE, BlockTrace, write_block_trace
from optimizer.formats.bootlog import read_bootlog
from optimizer.images.squashfs.layout import read_layout

TOP = Path(__file__).parent.parent.parent
STRACE = b'9 open("/b", O_RDONLY) = 3\n9 open("/a\\nc", O_RDONLY) = 4\n9 open("/b", O_RDONLY) = 5\n'


@pytest.fixture
def text(tmp_path: Path) -> Path:
    file = tmp_path / "boot.strace"
    file.write_bytes(STRACE)
    return file


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if shutil.which("mksquashfs") is None:
        pytest.skip("mksquashfs is not installed: apt-get install squashfs-tools")
    folder = tmp_path_factory.mktemp("convert")
    (folder / "root").mkdir()
    for name in ("first", "second"):
        (folder / "root" / name).write_bytes(
            np.random.default_rng(1).bytes(200_000) + name.encode()
        )
    made = folder / "image.squashfs"
    command = ["mksquashfs", str(folder / "root"), str(made), "-no-fragments"]
    subprocess.run(command, check=True, capture_output=True)
    return made


@pytest.fixture
def trace(tmp_path: Path, image: Path) -> Path:
    """A boot that read all of /first, and the block of /second behind it along with that."""
    layout = read_layout(image)
    first, second = layout.extents_of(b"/first"), layout.extents_of(b"/second")
    start, behind = int(first["offset_bytes"][0]), int(second["offset_bytes"][0])
    end = behind + int(second["length_bytes"][0])
    reads = np.array([(5, start, end - start)], READ_DTYPE)
    file = tmp_path / "blocktrace.tsv"
    with file.open("wb") as stream:
        write_block_trace(stream, BlockTrace(reads, "image.squashfs", image.stat().st_size, 10**9))
    return file


def test_the_plain_bootlog_goes_to_standard_output(
    text: Path, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    assert main(["convert", "--from", "strace", str(text)]) == 0
    out, err = capfdbinary.readouterr()
    assert out == b"/b\n/a\\012c\n"
    assert b"3 events of 2 files" in err


def test_the_rich_bootlog_can_be_read_back(text: Path, tmp_path: Path) -> None:
    output = tmp_path / "bootlog.events"
    assert main(["convert", "-f", "strace", str(text), "--events", "-o", str(output)]) == 0
    with output.open("rb") as stream:
        bootlog = read_bootlog(stream, "x")
    assert bootlog.header["backend"] == "strace"
    assert [bootlog.event(index).path for index in range(3)] == [b"/b", b"/a\nc", b"/b"]


def test_blocks_are_mapped_to_files_at_or_above_the_threshold(
    trace: Path, image: Path, tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    table = tmp_path / "confidence.tsv"
    command = ["convert", "--from", "block", str(trace), "--image", str(image)]
    assert main([*command, "--confidence", str(table), "--threshold", "0.5"]) == 0
    out, err = capfdbinary.readouterr()
    assert out == b"/first\n"
    assert b"left out 1 files" in err
    assert [line.split(b"\t")[0] for line in table.read_bytes().splitlines()[1:]] == [
        b"/first",
        b"/second",
    ]
    assert main(command) == 0
    assert capfdbinary.readouterr().out == b"/first\n/second\n"


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--from", "strace", "NOWHERE"], "No such file"),
        (["--from", "e4rat", "TEXT"], "expected"),
        (["--from", "blkparse", "TEXT"], "--image"),
        (["--from", "block", "TEXT", "--image", "IMAGE"], "not a block trace"),
        (["--from", "block", "TRACE", "--image", "TEXT"], "neither a squashfs"),
        (["--from", "block", "TRACE", "--image", "NOWHERE"], "no such image"),
        (["--from", "tracepoints", "TEXT", "--image", "TEXT"], "neither a squashfs"),
        (["--from", "strace", "TEXT", "--threshold", "0.5"], "no confidence"),
        (["--from", "strace", "TEXT", "--confidence", "x"], "no confidence"),
    ],
)
def test_wrong_input_is_status_2_and_says_what_is_wrong(
    text: Path,
    trace: Path,
    image: Path,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    expected: str,
) -> None:
    places = {"TEXT": text, "TRACE": trace, "IMAGE": image, "NOWHERE": text.parent / "nowhere"}
    assert main(["convert", *(str(places.get(word, word)) for word in arguments)]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert expected in err
    assert "Traceback" not in err


def test_output_is_not_touched_when_the_input_is_wrong(text: Path, tmp_path: Path) -> None:
    output = tmp_path / "kept"
    output.write_text("before")
    assert main(["convert", "-f", "e4rat", str(text), "-o", str(output)]) == 2
    assert output.read_text() == "before"


def test_the_help_names_every_format_and_formats_describes_it(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit):
        main(["convert", "--help"])
    shown = capsys.readouterr().out
    assert main(["convert", "--formats"]) == 0
    described = capsys.readouterr().out
    for name in names():
        assert name in shown
        item = load(name)
        assert f"{name:12} {item.summary}{' (--image)' if item.needs_image else ''}\n" in described
        assert item.record in described


def test_the_manual_has_a_row_of_each_format() -> None:
    manual = (TOP / "docs/commands/convert.md").read_text()
    for name in names():
        item = load(name)
        assert f"| `{name}` | {item.summary} | {item.gives} | `{item.record}` |" in manual


def test_the_format_is_told_by_the_look_of_the_file(
    text: Path, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    assert main(["convert", str(text)]) == 0
    out, err = capfdbinary.readouterr()
    assert out == b"/b\n/a\\012c\n"
    assert b"read as strace" in err


def convert(*arguments: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-m", "bootprof", "convert", *arguments]
    return subprocess.run(command, input=stdin, capture_output=True, cwd=TOP, check=False)


def test_standard_input_is_read_and_recognised() -> None:
    done = convert("-", stdin=STRACE)
    assert (done.returncode, done.stdout) == (0, b"/b\n/a\\012c\n")
    done = convert("-", stdin=b"hello\n")
    assert done.returncode == 2
    assert b"standard input: not of a known tool; it begins with 'hello'" in done.stderr
    done = convert("-", "-", stdin=STRACE)
    assert done.returncode == 2
    assert b"twice" in done.stderr


def test_files_are_named_from_the_root_of_what_was_recorded(
    tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    log = tmp_path / "log"
    top = bytes(tmp_path)
    log.write_bytes(
        b'9 openat(AT_FDCWD<%b>, "/etc/ld.so.cache", O_RDONLY) = 3</etc/ld.so.cache>\n'
        b'9 chroot("root") = 0\n9 execve("/bin/app", ["app"], 0x7f) = 0\n'
        b'9 openat(AT_FDCWD<%b>, "/etc/a", O_RDONLY) = 3<%b/root/etc/a>\n' % (top, top, top)
    )
    events = tmp_path / "out.events"
    command = ["convert", str(log), "--root", str(tmp_path / "root")]
    assert main(command) == 0
    assert capfdbinary.readouterr().out == b"/bin/app\n/etc/a\n"
    assert main([*command, "--rich", "-o", str(events)]) == 0
    with events.open("rb") as stream:
        bootlog = read_bootlog(stream, "x")
    assert [bootlog.event(index).path for index in range(2)] == [b"/bin/app", b"/etc/a"]
    assert main(["convert", str(log), "--root", str(tmp_path / "other")]) == 0
    assert b"0 events of 0 files" in capfdbinary.readouterr().err


def test_without_a_file_the_error_says_what_is_needed() -> None:
    done = convert()
    assert done.returncode == 2
    assert b"no file to convert is given" in done.stderr
