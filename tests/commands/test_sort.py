# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""``bootprof sort`` as a person runs it: whole processes, pipes, files, a real image."""

import io
import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from optimizer.formats.bootlog import write_events
from optimizer.formats.events import Bootlog, Event, Operation

TOP = Path(__file__).parent.parent.parent


def sort(*arguments: str | Path, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    command: list[str | Path] = [sys.executable, "-m", "bootprof", "sort", *arguments]
    return subprocess.run(command, input=stdin, capture_output=True, cwd=TOP)


def said(done: subprocess.CompletedProcess[bytes]) -> str:
    assert b"Traceback" not in done.stderr
    return done.stderr.decode()


def events_file(*paths_and_types: tuple[bytes, bytes]) -> bytes:
    events = [
        Event(number, 1, b"init", Operation.OPEN, 0, 0, 0, 21, number, file_system, path)
        for number, (path, file_system) in enumerate(paths_and_types)
    ]
    stream = io.BytesIO()
    write_events(stream, Bootlog.of({"backend": "test"}, events))
    return stream.getvalue()


PLAIN = b"/etc/b\n/dev/null\n/etc/a b\n/etc/b\n/usr/system-x\\x2dy.slice\n/sysroot/c\npipe:[1]\n"


@pytest.mark.parametrize("arguments", [(), ("-",)])
def test_a_plain_list_on_standard_input(arguments: tuple[str, ...]) -> None:
    done = sort(*arguments, stdin=PLAIN)
    assert done.returncode == 0
    assert done.stdout == (
        b"etc/b 32767\netc/a\\ b 32766\nusr/system-x\\\\x2dy.slice 32765\nsysroot/c 32764\n"
    )
    assert said(done) == "bootprof: 4 files; left out: 1 excluded, 1 not absolute\n"


def test_a_file_other_formats_and_places(tmp_path: Path) -> None:
    (tmp_path / "bootlog.list").write_bytes(b"/a\n/b\n/c\n")
    log = tmp_path / "bootlog.list"
    assert sort(log, "--place", "end").stdout == b"a -1\nb -2\nc -3\n"
    assert sort(log, "--format", "gensquashfs").stdout == b"-3 a\n-2 b\n-1 c\n"
    assert sort(log, "-f", "gensquashfs", "-p", "end").stdout == b"1 a\n2 b\n3 c\n"
    assert sort(log, "-f", "mkdwarfs").stdout == b"a\nb\nc\n"
    assert sort(log, "--format", "list", "--exclude", "/b").stdout == b"/a\n/c\n"


def test_a_list_for_mkdwarfs_has_raw_paths_and_one_place(tmp_path: Path) -> None:
    done = sort("-f", "mkdwarfs", stdin=PLAIN)
    assert done.stdout == b"etc/b\netc/a b\nusr/system-x\\x2dy.slice\nsysroot/c\n"
    refused = sort("-f", "mkdwarfs", "--place", "end", stdin=PLAIN)
    assert (refused.returncode, refused.stdout) == (2, b"")
    assert "mkdwarfs writes listed files before all others" in said(refused)


def test_an_events_log_leaves_out_what_no_image_holds() -> None:
    log = events_file(
        *((b"/init", b"rootfs"), (b"/b", b"overlay"), (b"/x", b"tmpfs"), (b"/a", b"ext4")),
        (b"/medium/live/root.squashfs", b"iso9660"),
    )
    done = sort("--format", "list", stdin=log)
    assert done.stdout == b"/b\n/a\n"
    assert (
        said(done)
        == "bootprof: 2 files; left out: 3 on file systems that are not part of an image\n"
    )
    everything = sort("-f", "list", "--all-file-systems", stdin=log).stdout
    assert everything == b"/init\n/b\n/x\n/a\n/medium/live/root.squashfs\n"


def test_a_cut_rich_log_is_used_with_a_warning() -> None:
    done = sort(
        "--format", "list", stdin=events_file((b"/b", b"overlay"), (b"/a", b"overlay"))[:-1]
    )
    assert done.returncode == 0
    assert done.stdout == b"/b\n"
    assert "the last line is cut short" in said(done)


def test_default_filter_can_be_switched_off() -> None:
    done = sort("--no-default-filter", "-q", "-f", "list", stdin=b"/dev/x\n/a\n")
    assert (done.stdout, done.stderr) == (b"/dev/x\n/a\n", b"")


def test_a_list_with_newlines_in_names_comes_through_and_a_sort_file_counts_them() -> None:
    text = b"/new\\012line\n/a\n"
    assert sort("--format", "list", stdin=text).stdout == text
    done = sort(stdin=text)
    assert done.stdout == b"a 32767\n"
    assert "1 with a newline" in said(done)


def test_a_sort_file_is_taken_in_the_order_of_its_priorities() -> None:
    done = sort(stdin=b"etc/ld.so.cache\t-3\nusr/lib/with\\ space  7\nbin/sed 32767\n")
    assert done.stdout == b"bin/sed 32767\nusr/lib/with\\ space 32766\netc/ld.so.cache 32765\n"
    assert "3 lines of a sort file (PATH PRIORITY), highest priority first" in said(done)
    done = sort("-f", "list", stdin=b"2 a\n-7 b c\n")
    assert done.stdout == b"/b c\n/a\n"
    assert "(PRIORITY PATH), lowest priority first" in said(done)


def test_lists_of_other_systems_are_read_without_their_carriage_returns() -> None:
    done = sort(stdin=b"/b\r\n/a\r\n")
    assert done.stdout == b"b 32767\na 32766\n"
    assert "CR LF" in said(done)
    log = events_file((b"/b", b"overlay"), (b"/a", b"overlay"))
    assert sort("-q", stdin=log.replace(b"\n", b"\r\n")).stdout == b"b 32767\na 32766\n"
    assert sort("-q", stdin=b"/b\r\n/a\n").stdout == b"b\\\r 32767\na 32766\n"


def test_directories_are_never_written_and_mksquashfs_takes_the_result(tmp_path: Path) -> None:
    done = sort(stdin=b"/\n/a\n/a/hot\n/b/\n")
    assert done.stdout == b"a/hot 32767\n"
    assert "3 directories by name (--root finds all)" in said(done)
    (tmp_path / "root/a").mkdir(parents=True)
    (tmp_path / "root/b").mkdir()
    (tmp_path / "root/a/hot").write_text("x")
    done = sort("--root", tmp_path / "root", stdin=b"/\n/a\n/a/hot\n/b\n")
    assert done.stdout == b"a/hot 32767\n"
    assert "3 not regular files" in said(done)


def test_output_file_is_replaced_whole_or_not_at_all(tmp_path: Path) -> None:
    output = tmp_path / "distrib.sort"
    output.write_text("old")
    log = tmp_path / "log"
    log.write_bytes(events_file((b"/a", b"overlay")) + b"wrong\n")
    done = sort(log, "-o", output)
    assert done.returncode == 2
    assert f"{log}:5: an event has 10 fields" in said(done)
    assert output.read_text() == "old"
    done = sort("-o", output, stdin=b"/a\n")
    assert (done.returncode, done.stdout, output.read_bytes()) == (0, b"", b"a 32767\n")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["distrib.sort", "log"]


def test_output_to_a_device_or_through_a_link(tmp_path: Path) -> None:
    done = sort("-o", "/dev/stdout", stdin=b"/a\n")
    assert done.stdout == b"a 32767\n"
    assert sort("-o", "/dev/null", stdin=b"/a\n").returncode == 0
    assert stat.S_ISCHR(Path("/dev/null").stat().st_mode)
    (tmp_path / "real").touch()
    (tmp_path / "link").symlink_to("real")
    sort("-o", tmp_path / "link", stdin=b"/a\n")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real").read_bytes() == b"a 32767\n"


@pytest.mark.parametrize(
    ("arguments", "stdin", "error"),
    [
        (["gone.list"], b"", "error: gone.list: No such file or directory"),
        (["tests"], b"", "error: tests: Is a directory"),
        ([], b"", "error: standard input: nothing to sort: 0 files"),
        ([], b"a\nb\n", "nothing to sort: 0 files; left out: 2 not absolute"),
        ([], b"\x7fELF\0\0", "error: standard input:1: NUL byte"),
        ([], b"#bootprof-blocktrace 1\n1\t2\t3\n", "kind bootprof-blocktrace, not a bootlog"),
        (["--root", "gone"], b"/a\n", "error: gone: the root is not a directory"),
        (["--exclude", ""], b"/a\n", "error: --exclude: empty pattern"),
        (["--exclude", "[z-a]"], b"/a\n", "error: --exclude [z-a]: bad character range"),
        (["--format", "iso"], b"/a\n", "invalid choice: 'iso'"),
    ],
)
def test_wrong_input_is_one_clear_line_and_status_2(
    arguments: list[str], stdin: bytes, error: str
) -> None:
    done = sort(*arguments, stdin=stdin)
    assert done.returncode == 2
    assert error in said(done)
    assert done.stdout == b""


def test_nothing_to_sort_is_allowed_if_asked() -> None:
    done = sort("--allow-empty", stdin=b"")
    assert (done.returncode, done.stdout) == (0, b"")


def test_a_full_disk_and_a_closed_pipe_are_status_1() -> None:
    done = sort("-o", "/dev/full", stdin=b"/a\n")
    assert done.returncode == 1
    assert "No space left" in said(done)
    reader, writer = os.pipe()
    os.close(reader)
    try:
        command = [sys.executable, "-m", "bootprof", "sort", "-q"]
        lines = b"".join(b"/%d\n" % number for number in range(100_000))
        done = subprocess.run(command, input=lines, stdout=writer, stderr=subprocess.PIPE, cwd=TOP)
    finally:
        os.close(writer)
    assert done.returncode == 1
    assert done.stderr == b""


def test_plain_input_does_not_load_numpy() -> None:
    program = (
        "import sys; from bootprof.cli import main; status = main(['sort', '-q']);"
        "sys.exit('numpy' in sys.modules or status)"
    )
    done = subprocess.run([sys.executable, "-c", program], input=b"/a\n", cwd=TOP)
    assert done.returncode == 0


@pytest.mark.skipif(not shutil.which("mksquashfs"), reason="mksquashfs is not installed")
def test_from_bootlog_to_image_through_links(tmp_path: Path) -> None:
    root = tmp_path / "root"
    (root / "usr/lib").mkdir(parents=True)
    (root / "usr/bin").mkdir()
    (root / "lib").symlink_to("usr/lib")
    names = ["usr/lib/ld.so", "usr/bin/a b", "usr/lib/x\\x2dy", "usr/bin/cold", "usr/bin/hard"]
    for name in names:
        (root / name).write_bytes(os.urandom(3000))
    os.link(root / "usr/bin/hard", root / "usr/bin/aaa-hard")
    log = (
        b"/usr/bin/hard\n/lib/x\\x2dy\n/usr/lib/x\\x2dy\n/usr/bin/a b\n/lib/ld.so\n/proc/1/stat\n"
        b"/usr/bin/aaa-hard\n/usr/bin/gone\n/usr\n"
    )
    done = sort("--root", root, "-o", tmp_path / "sort", stdin=log)
    assert done.returncode == 0
    assert said(done) == (
        f"bootprof: 4 files; left out: 1 excluded, 1 not in {root}, 1 not regular files, "
        "2 further names of a file\n"
    )
    image = tmp_path / "image"
    words: list[str | Path] = ["mksquashfs", root, image, "-sort", tmp_path / "sort"]
    made = subprocess.run([*words, "-noD", "-noF", "-no-progress"], capture_output=True, check=True)
    assert made.stderr == b""
    data = image.read_bytes()
    places = {name: data.find((root / name).read_bytes()) for name in names}
    assert sorted(places, key=places.__getitem__) == [
        "usr/bin/hard",
        "usr/lib/x\\x2dy",
        "usr/bin/a b",
        "usr/lib/ld.so",
        "usr/bin/cold",
    ]


def test_at_the_end_the_duplicates_of_a_hot_file_come_with_it(tmp_path: Path) -> None:
    root = tmp_path / "root"
    (root / "etc").mkdir(parents=True)
    for name, content in {"etc/hot": "same", "cold": "same", "other": "else"}.items():
        (root / name).write_text(content)
    (tmp_path / "bootlog.list").write_text("/etc/hot\n")
    arguments = ("--root", root, tmp_path / "bootlog.list", "-q")
    assert sort(*arguments, "--place", "end").stdout == b"etc/hot -1\ncold -2\n"
    assert sort(*arguments).stdout == b"etc/hot 32767\n"


def test_place_auto_without_an_image_says_what_it_takes() -> None:
    done = sort("--place", "auto", stdin=b"/a\n")
    assert done.returncode == 2
    assert "--image" in said(done)
