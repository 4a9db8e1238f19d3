# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""strace -f: by what the real strace prints of a known program, and by lines that are hard."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bootprof.errors import FormatError
from bootprof.imports.strace import unescape
from optimizer.formats.events import Operation
from tests.foreign import imported

STRANGE = b'sp ace\nnew"quote\\back\xff\xfe>)'

# Opens 13 files in a known order, in every way that there is to name one.
PROGRAM = r"""
import ctypes, os, sys
top = os.fsencode(sys.argv[1])
os.chdir(top)                                       # from here on the directory is known
os.open(b"one", os.O_RDONLY)
directory = os.open(b"sub", os.O_RDONLY | os.O_DIRECTORY)
os.open(b"two", os.O_RDONLY, dir_fd=directory)
other = os.dup(directory)
os.close(directory)
os.open(b"three", os.O_RDONLY, dir_fd=other)
os.fchdir(other)
os.open(b"../four", os.O_RDONLY)
os.stat(b"never-opened")
for missing in (b"missing", b"/no/such/file"):
    try:
        os.open(missing, os.O_RDONLY)
    except OSError:
        pass
child = os.fork()
if child == 0:
    os.open(b"five", os.O_RDONLY)
    os.chdir(b"..")
    os.open(b"six", os.O_RDONLY)
    os._exit(0)
os.waitpid(child, 0)
os.open(b"seven", os.O_RDONLY)
os.open(b"../" + sys.stdin.buffer.read(), os.O_RDONLY)
os.execv(b"./program", [b"program"])
"""
EXPECTED = [
    b"/one",
    b"/sub/two",
    b"/sub/three",
    b"/four",
    b"/sub/five",
    b"/six",
    b"/sub/seven",
    b"/" + STRANGE,
    b"/sub/program",
]


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    top = tmp_path_factory.mktemp("strace")
    (top / "sub").mkdir()
    for path in (*EXPECTED[:-1], b"/sub/never-opened"):
        Path(os.fsdecode(os.fsencode(top) + path)).write_bytes(b"content")
    shutil.copy(shutil.which("true") or "/bin/true", top / "sub" / "program")
    return top


def traced(tree: Path, options: list[str], output: Path, *, to_file: bool) -> bytes:
    if shutil.which("strace") is None:
        pytest.skip("strace is not installed: apt-get install strace")
    python = os.path.realpath(sys.executable)
    program = [python, "-I", "-S", "-c", PROGRAM, str(tree)]
    where = ["-o", str(output)] if to_file else []
    done = subprocess.run(
        ["strace", "-f", *options, *where, *program],
        input=STRANGE,
        capture_output=True,
        check=False,
    )
    if b"ptrace" in done.stderr and b"not permitted" in done.stderr:
        pytest.skip("this machine does not let strace trace")
    assert done.returncode == 0, done.stderr
    return output.read_bytes() if to_file else done.stderr


@pytest.mark.parametrize("to_file", [True, False], ids=["file", "terminal"])
@pytest.mark.parametrize(
    "options",
    [
        *(
            [],
            ["-t"],
            ["-tt"],
            ["-ttt"],
            ["-r"],
            ["-y"],
            ["-yy", "-T", "-tt"],
            ["-x"],
            ["-xx"],
            ["-i"],
        ),
        *(["-Y"], ["-n"], ["-X", "verbose"], ["-X", "raw"], ["-k"], ["-v", "-s", "9999"]),
        *(["-tt", "-Y", "-n", "-i", "-yy"], ["-r", "-ttt"]),
    ],
    ids=" ".join,
)
def test_every_file_that_was_opened_is_found_and_no_other(
    tree: Path, tmp_path: Path, options: list[str], to_file: bool
) -> None:
    text = traced(tree, options, tmp_path / "out", to_file=to_file)
    bootlog = imported("strace", text)
    prefix = os.fsencode(tree)
    found = [path.removeprefix(prefix) for path in bootlog.paths if path.startswith(prefix + b"/")]
    assert [path for path in found if path != b"/sub"] == EXPECTED
    times = bootlog.events["time_ns"]
    assert (times[1:] >= times[:-1]).all()
    if {"-t", "-tt", "-ttt", "-r"} & set(options):
        assert 0 <= times[-1] < 60 * 10**9
    last = bootlog.events[bootlog.events["path"] == len(bootlog.paths) - 1]
    assert b"/etc/ld.so.cache" in bootlog.paths
    assert len(last)
    programs = bootlog.events["operation"] == Operation.EXEC
    assert prefix + b"/sub/program" in {bootlog.paths[p] for p in bootlog.events["path"][programs]}


@pytest.mark.parametrize("options", [[], ["-t"], ["-tt"], ["-ttt"], ["-r"], ["-y"]], ids=" ".join)
def test_a_file_for_each_process_is_put_in_order(
    tree: Path, tmp_path: Path, options: list[str]
) -> None:
    traced(tree, ["-ff", *options, "-o", str(tmp_path / "out")], tmp_path, to_file=False)
    files = sorted(tmp_path.glob("out.*"), reverse=True)
    assert len(files) == 2
    bootlog = imported(
        "strace", *(file.read_bytes() for file in files), files=[file.name for file in files]
    )
    prefix = os.fsencode(tree)
    found = [path.removeprefix(prefix) for path in bootlog.paths if path.startswith(prefix + b"/")]
    assert found == EXPECTED
    assert len(set(bootlog.events["pid"].tolist())) == 2
    assert bootlog.lost == 0


def test_files_of_processes_are_woven_by_their_times() -> None:
    parent = (
        b'23:59:58.0 chdir("/srv") = 0\n23:59:58.1 clone(flags=SIGCHLD) = 11\n'
        b'00:00:01.5 open("c", O_RDONLY) = 3\n00:00:03.0 open("e", O_RDONLY) = 3\n'
    )
    child = (
        b'23:59:59.0 open("a", O_RDONLY) = 3\n00:00:01.0 open("b", O_RDONLY) = 3\n'
        b'00:00:02.0 open("d", O_RDONLY) = 3\n'
    )
    bootlog = imported("strace", child, parent, files=("t.11", "t.10"))
    assert bootlog.paths == [b"/srv/a", b"/srv/b", b"/srv/c", b"/srv/d", b"/srv/e"]
    assert bootlog.events["time_ns"].tolist() == [
        1_000_000_000,
        3_000_000_000,
        3_500_000_000,
        4_000_000_000,
        5_000_000_000,
    ]


def test_a_process_that_begins_after_midnight_comes_after_those_before() -> None:
    parent = b'23:59:58 open("/a", 0) = 3\n00:00:04 open("/c", 0) = 3\n'
    child = b'00:00:02 open("/b", 0) = 3\n'
    bootlog = imported("strace", child, parent, files=("t.9", "t.10"))
    assert bootlog.paths == [b"/a", b"/b", b"/c"]


def test_files_without_a_pid_in_their_names_are_all_read() -> None:
    texts = [b'01:00:0%d open("/%d", 0) = 3\n' % (number, number) for number in range(3)]
    assert imported("strace", *texts, files=("a", "b", "c")).paths == [b"/0", b"/1", b"/2"]


def test_without_times_a_child_runs_where_its_parent_made_it() -> None:
    first = b'chdir("/a") = 0\nfork() = 11\nopen("z", 0) = 3\n'
    second = b'open("b", 0) = 3\nfork() = 12\nopen("d", 0) = 3\n'
    third = b'open("c", 0) = 3\n'
    stranger = b'open("/s", 0) = 3\n'
    files = ("t.12", "t.11", "t.10", "t.99")
    bootlog = imported("strace", third, second, first, stranger, files=files)
    assert bootlog.paths == [b"/a/b", b"/a/c", b"/a/d", b"/a/z", b"/s"]


def test_calls_that_were_interrupted_are_put_together() -> None:
    text = (
        b'10 openat(AT_FDCWD, "/a", O_RDONLY <unfinished ...>\n'
        b'11 openat(AT_FDCWD, "/b", O_RDONLY) = 3\n'
        b"10 <... openat resumed>)             = 4\n"
        b'10 openat(AT_FDCWD, "/c", O_RDONLY <unfinished ...>\n'
        b"10 <... openat resumed>)             = -1 ENOENT (No such file or directory)\n"
        b'11 openat(AT_FDCWD, "/d", O_RDONLY <unfinished ...>) = ?\n'
        b"11 +++ killed by SIGKILL +++\n"
    )
    bootlog = imported("strace", text)
    assert [(bootlog.event(i).pid, bootlog.event(i).path) for i in range(2)] == [
        (11, b"/b"),
        (10, b"/a"),
    ]
    assert bootlog.paths == [b"/b", b"/a"]


def test_a_child_starts_where_its_parent_is_even_if_it_shows_first() -> None:
    text = (
        b'10 chdir("/var") = 0\n'
        b"10 clone(child_stack=NULL, flags=CLONE_CHILD_SETTID|SIGCHLD <unfinished ...>\n"
        b'11 openat(AT_FDCWD, "lib", O_RDONLY) = 3\n'
        b"10 <... clone resumed>, child_tidptr=0x7f) = 11\n"
        b'11 chdir("/tmp") = 0\n'
        b'10 openat(AT_FDCWD, "log", O_RDONLY) = 3\n'
    )
    assert imported("strace", text).paths == [b"/var/lib", b"/var/log"]


def test_threads_share_directory_and_descriptors() -> None:
    text = (
        b'10 chdir("/var") = 0\n'
        b"10 clone(child_stack=0x7f, flags=CLONE_VM|CLONE_FS|CLONE_FILES|CLONE_THREAD) = 11\n"
        b'11 chdir("/tmp") = 0\n'
        b'11 openat(AT_FDCWD, "dir", O_RDONLY|O_PATH) = 5\n'
        b'10 openat(5, "file", O_RDONLY) = 6\n'
    )
    assert imported("strace", text).paths == [b"/tmp/dir/file"]


def test_the_first_process_of_a_boot_starts_in_the_root_directory() -> None:
    assert imported("strace", b'1 open("init", O_RDONLY) = 3\n').paths == [b"/init"]


def test_paths_whose_start_is_not_known_are_counted_not_guessed() -> None:
    bootlog = imported("strace", b'9 open("x", O_RDONLY) = 3\n9 open("/y", O_RDONLY) = 4\n')
    assert bootlog.paths == [b"/y"]
    assert bootlog.lost == 1


def test_getcwd_tells_where_a_process_is() -> None:
    text = b'9 getcwd("/srv", 4096) = 5\n9 open("x", O_RDONLY) = 3\n'
    assert imported("strace", text).paths == [b"/srv/x"]


def test_mappings_name_the_file_of_their_descriptor() -> None:
    text = (
        b'9 open("/lib/libc.so.6", O_RDONLY|O_CLOEXEC) = 3\n'
        b"9 mmap(NULL, 8192, PROT_READ, MAP_PRIVATE|MAP_ANONYMOUS, -1, 0) = 0x7f0000\n"
        b"9 mmap(0x7f1000, 4096, PROT_READ, MAP_PRIVATE|MAP_FIXED, 3, 0x26000) = 0x7f1000\n"
    )
    bootlog = imported("strace", text)
    event = bootlog.event(1)
    assert len(bootlog.events) == 2
    assert (event.operation, event.path) == (Operation.MAP, b"/lib/libc.so.6")
    assert (event.offset_bytes, event.length_bytes) == (0x26000, 4096)


def test_midnight_does_not_turn_time_back() -> None:
    text = b'9 23:59:59.5 open("/a", O_RDONLY) = 3\n9 00:00:01.0 open("/b", O_RDONLY) = 3\n'
    assert imported("strace", text).events["time_ns"].tolist() == [0, 1_500_000_000]


@pytest.mark.parametrize(
    "content", [b"", b"hello\n", b"\x7fELF" + bytes(500), b"openat(\n", b"\xff\n" * 9]
)
def test_what_is_not_from_strace_is_refused_with_what_was_expected(content: bytes) -> None:
    with pytest.raises(FormatError) as raised:
        imported("strace", content)
    assert "strace -f" in raised.value.hint


def as_strace_writes(path: bytes) -> bytes:
    """Escape as strace does (print_quoted_string of its util.c)."""
    letters = {10: b"\\n", 9: b"\\t", 13: b"\\r", 12: b"\\f", 11: b"\\v", 34: b'\\"', 92: b"\\\\"}
    written = b""
    for place, byte in enumerate(path):
        digit_follows = path[place + 1 : place + 2].isdigit()
        if byte in letters:
            written += letters[byte]
        elif 32 <= byte < 127:
            written += bytes([byte])
        else:
            written += b"\\%03o" % byte if digit_follows else b"\\%o" % byte
    return written


@given(path=st.binary(min_size=1, max_size=60).filter(lambda text: b"\0" not in text))
def test_escapes_are_undone(path: bytes) -> None:
    assert unescape(as_strace_writes(path)) == path


@settings(max_examples=150)
@given(
    lines=st.lists(
        st.one_of(
            st.binary(max_size=40),
            st.sampled_from(
                [
                    b'7 openat(AT_FDCWD, "/x", O_RDONLY) = 3',
                    b"7 clone(flags=CLONE_FS <unfinished ...>",
                    b"7 <... clone resumed>) = 8",
                    b"8 +++ exited with 0 +++",
                    b"strace: Process 9 attached",
                    b"[pid 9] fchdir(3) = 0",
                    b"mmap(NULL, 1, R, P, 3, 0) = 0x1",
                    b'7 openat(99999999999999999999, "", 0) = 99999999999999999999',
                    b"7 dup2(3</x>, 4) = 4",
                ]
            ),
        ),
        max_size=12,
    )
)
def test_no_text_makes_it_fail_in_another_way(lines: list[bytes]) -> None:
    try:
        bootlog = imported("strace", b"\n".join(lines))
    except FormatError:
        return
    assert all(re.match(rb"/", path) for path in bootlog.paths)
