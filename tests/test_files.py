# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""Outputs: whole or not there, and nothing is put in the place of a device."""

import os
import signal
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from bootprof import files
from bootprof.errors import InputError

TOP = Path(__file__).parent.parent


def node(path: Path, kind: int, device: int = 0) -> Path:
    os.mknod(path, kind | 0o600, device)
    return path


def test_a_regular_file_is_replaced_and_keeps_its_mode(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("old")
    path.chmod(0o640)
    files.write_output(path, b"new")
    assert path.read_bytes() == b"new"
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert list(tmp_path.iterdir()) == [path]


def test_a_symbolic_link_stays_and_its_target_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    link = tmp_path / "link"
    link.symlink_to("there/file")
    files.write_output(link, b"new")
    assert link.is_symlink()
    assert (tmp_path / "there/file").read_bytes() == b"new"


@pytest.mark.root
def test_a_character_device_is_written_to_and_stays(tmp_path: Path) -> None:
    null = node(tmp_path / "null", stat.S_IFCHR, os.makedev(1, 3))
    files.write_output(null, b"gone")
    assert stat.S_ISCHR(null.lstat().st_mode)


def test_a_named_pipe_is_written_to_and_stays(tmp_path: Path) -> None:
    pipe = node(tmp_path / "pipe", stat.S_IFIFO)
    got: list[bytes] = []
    reader = threading.Thread(target=lambda: got.append(pipe.read_bytes()))
    reader.start()
    files.write_output(pipe, b"content")
    reader.join()
    assert got == [b"content"]
    assert stat.S_ISFIFO(pipe.lstat().st_mode)


@pytest.mark.root
@pytest.mark.parametrize("through_link", [False, True])
def test_a_block_device_is_refused_and_not_opened(tmp_path: Path, through_link: bool) -> None:
    # No driver has this number: to open it would be another error.
    disk = node(tmp_path / "disk", stat.S_IFBLK, os.makedev(240, 77))
    name = tmp_path / "link"
    name.symlink_to(disk)
    with pytest.raises(InputError, match="not written, because it is a block device"):
        files.write_output(name if through_link else disk, b"x")
    with (
        pytest.raises(InputError, match="because it is a block device"),
        files.replacing(name if through_link else disk) as temporary,
    ):
        temporary.write_text("x")
    assert stat.S_ISBLK(disk.lstat().st_mode)


@pytest.mark.parametrize("command", ["sort", "merge", "convert", "compare", "readahead", "layout"])
@pytest.mark.root
def test_no_command_puts_a_file_in_the_place_of_a_device(tmp_path: Path, command: str) -> None:
    import numpy as np

    from optimizer.formats.blocktrace import READ_DTYPE, BlockTrace, write_block_trace

    null = node(tmp_path / "null", stat.S_IFCHR, os.makedev(1, 3))
    disk = node(tmp_path / "disk", stat.S_IFBLK, os.makedev(240, 77))
    (tmp_path / "root").mkdir()
    (tmp_path / "root/file").write_bytes(b"x" * 5000)
    image = tmp_path / "image.squashfs"
    subprocess.run(
        ["mksquashfs", tmp_path / "root", image, "-no-progress"], check=True, capture_output=True
    )
    (tmp_path / "bootlog.list").write_text("/file\n")
    (tmp_path / "strace.log").write_text('openat(AT_FDCWD, "/file", O_RDONLY) = 3\n')
    reads = np.array([(0, 0, 512)], READ_DTYPE)
    with (tmp_path / "trace.tsv").open("wb") as stream:
        write_block_trace(stream, BlockTrace(reads, image.name, image.stat().st_size, 1))
    for target, status in ((null, 0), (disk, 2)):
        arguments: dict[str, list[str]] = {
            "sort": ["bootlog.list", "-o", str(target)],
            "merge": ["bootlog.list", "-o", str(target), "--report", str(target)],
            "convert": ["--from", "strace", "strace.log", "-o", str(target)],
            "compare": ["trace.tsv", "trace.tsv", "--no-plot", "--report", str(target)],
            "readahead": ["image.squashfs", "bootlog.list", "-o", str(target)],
            "layout": ["image.squashfs"],
        }
        done = subprocess.run(
            [sys.executable, "-m", "bootprof", command, *arguments[command]],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(TOP)},
            capture_output=True,
            text=True,
        )
        if command != "layout":
            assert done.returncode == status, done.stderr
        assert stat.S_ISCHR(null.lstat().st_mode)
        assert stat.S_ISBLK(disk.lstat().st_mode)


def test_what_a_block_leaves_half_made_is_removed(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("old")
    with pytest.raises(ValueError, match="oops"), files.replacing(path) as temporary:
        temporary.write_text("new")
        raise ValueError("oops")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


KILLED = """
import os, signal, sys
from pathlib import Path
from bootprof import files
with files.replacing(Path(sys.argv[1])) as temporary:
    temporary.write_text("half")
    print(flush=True)
    sys.stdin.read(1)
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_leftovers_of_a_killed_run_go_and_those_in_use_stay(tmp_path: Path) -> None:
    def start() -> subprocess.Popen[bytes]:
        child = subprocess.Popen(
            [sys.executable, "-c", KILLED, tmp_path / "output"],
            cwd=TOP,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert child.stdout is not None
        child.stdout.readline()
        return child

    mine = tmp_path / ".bootprof-unfinished-of-mine"
    mine.mkdir()
    killed, running = start(), start()
    killed.communicate(b"x")
    assert killed.returncode == -signal.SIGKILL
    assert len(list(tmp_path.glob(files.UNFINISHED + "*"))) == 3
    files.write_output(tmp_path / "other", b"")
    left = sorted(tmp_path.glob(files.UNFINISHED + "*"))
    running.communicate(b"x")
    assert len(left) == 2
    assert mine in left


def test_a_link_is_replaced_and_what_it_pointed_to_stays(tmp_path: Path) -> None:
    (tmp_path / "old").write_text("old")
    link = tmp_path / "link"
    files.replace_link(link, Path("old"))
    files.replace_link(link, Path("new"))
    assert link.readlink() == Path("new")
    assert (tmp_path / "old").read_text() == "old"
    with pytest.raises(InputError, match="regular file"):
        files.replace_link(tmp_path / "old", Path("new"))


def test_a_folder_of_any_depth_is_removed_and_what_its_links_lead_to_stays(tmp_path: Path) -> None:
    outside, top = tmp_path / "outside", tmp_path / "top"
    outside.mkdir()
    (outside / "kept").write_text("kept")
    top.mkdir()
    descriptor = os.open(top, os.O_RDONLY)
    # More than the levels at which a removal by recursion ends in an error.
    for _ in range(1200):
        os.symlink(outside, "link", dir_fd=descriptor)
        os.mkdir("below", dir_fd=descriptor)
        inner = os.open("below", os.O_RDONLY, dir_fd=descriptor)
        os.close(descriptor)
        descriptor = inner
    os.close(descriptor)
    files.remove(top)
    assert not top.exists()
    assert (outside / "kept").read_text() == "kept"
