# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""Imports of perf, ureadahead and e4rat."""

from __future__ import annotations

import shutil
import struct
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bootprof.errors import BootprofError, FormatError, InputError
from optimizer.formats.events import Operation
from tests.foreign import imported

# What perf trace of Linux 6.1 prints; names stand with quotes in newer versions only.
TRACE = b"""\
         ? (         ): sh/10  ... [continued]: execve())                              = 0
     0.356 ( 0.015 ms): sh/10 openat(dfd: CWD, filename: "/etc/new style", flags: RDONLY) = 4
     0.359 ( 0.015 ms): sh/10 openat(dfd: CWD, filename: /etc/none, flags: RDONLY) = -1 ENOENT (No such file or directory)
     0.400 ( 0.015 ms): sh/10 open(filename: /etc/old, flags: RDONLY|CLOEXEC)          = 3
     0.401 ( 0.001 ms): sh/10 chdir(filename: "/var")                                  = 0
     0.402 ( 0.001 ms): sh/10 clone(clone_flags: CHILD_CLEARTID|0x11)                  = 11 (x)
     0.403 ( 0.001 ms): sh/10 openat(dfd: CWD, filename: "lib", flags: RDONLY|DIRECTORY) = 5
     0.404 ( 0.001 ms): sh/10 openat(dfd: 5, filename: "inner")                        = 6
     0.410 (         ): a b/11 execve(filename: "/usr/bin/cat", argv: 0x559, envp: 0x55) ...
     0.420 ( 0.010 ms): cat/11  ... [continued]: execve())                             = 0
     0.421 ( 0.010 ms): cat/11 openat(dfd: CWD, filename: 0x9a2110b1, flags: RDONLY)   = 3
"""  # noqa: E501


def test_perf_trace_gives_the_names_of_calls_that_succeeded() -> None:
    bootlog = imported("perf", TRACE)
    assert bootlog.paths == [
        b"/etc/new style",
        b"/etc/old",
        b"/var/lib",
        b"/var/lib/inner",
        b"/usr/bin/cat",
    ]
    first, last = bootlog.event(0), bootlog.event(4)
    assert (first.time_ns, first.pid, first.command) == (356_000, 10, b"sh")
    assert (last.operation, last.pid, last.command) == (Operation.EXEC, 11, b"a b")
    assert bootlog.lost == 2, "an execution and an open have no name"


SCRIPT = b"""\
             cat 25804 [000] 14785.299258: syscalls:sys_enter_openat: dfd: 0xffffff9c, filename: 0x7f4b017a4fc0, flags: 0x0
             cat 25804 [000] 14785.299260:        probe:vfs_getname: (ffffffff8121cb5f) pathname="/etc/hostname"
             cat 25804 [000] 14785.299270: syscalls:sys_exit_openat: 0x3
             cat 25804 [000] 14785.299358: syscalls:sys_enter_openat: dfd: 0xffffff9c, filename: 0x7f4b017a4fc0 "/etc/none", flags: 0x0
             cat 25804 [000] 14785.299370: syscalls:sys_exit_openat: 0xfffffffffffffffe
          my cat   804 [001] 14786.000000: syscalls:sys_enter_execve: filename: 0x7f4b "/bin/x y", argv: 0x1
          my cat   804 [001] 14786.000001: syscalls:sys_exit_execve: 0x0
"""  # noqa: E501


def test_perf_script_joins_a_call_with_its_result_and_with_the_probe() -> None:
    bootlog = imported("perf", SCRIPT)
    assert bootlog.paths == [b"/etc/hostname", b"/bin/x y"]
    event = bootlog.event(1)
    assert (event.time_ns, event.pid, event.command) == (14786 * 10**9, 804, b"my cat")
    assert "results" not in bootlog.header


def test_perf_script_without_results_says_so() -> None:
    calls = b"".join(line for line in SCRIPT.splitlines(True) if b"sys_exit" not in line)
    bootlog = imported("perf", calls)
    assert bootlog.paths == [b"/etc/hostname", b"/etc/none", b"/bin/x y"]
    assert "not recorded" in bootlog.header["results"]


def test_what_perf_prints_here_is_read_or_refused_in_one_line(tmp_path: Path) -> None:
    if shutil.which("perf") is None:
        pytest.skip("perf is not installed: apt-get install linux-perf")
    file = tmp_path / "trace"
    command = ["perf", "trace", "-o", str(file), "cat", "/etc/hostname"]
    done = subprocess.run(command, capture_output=True, check=False)
    if done.returncode or not file.exists() or b"openat(" not in file.read_bytes():
        pytest.skip("this machine does not let perf trace")
    try:
        assert b"/etc/hostname" in imported("perf", file.read_bytes()).paths
    except InputError as error:
        # Without the probe this perf prints addresses.
        assert "not the names" in error.message


@pytest.mark.parametrize("backend", ["perf", "ureadahead", "e4rat"])
@pytest.mark.parametrize("content", [b"", b"hello\n", b"\x7fELF" + bytes(500), b"\xff" * 70])
def test_what_is_of_another_kind_is_refused(backend: str, content: bytes) -> None:
    with pytest.raises(FormatError) as raised:
        imported(backend, content)
    assert raised.value.hint


Blocks = list[tuple[int, int]]


def packed(files: list[tuple[bytes, int, Blocks]], major: int = 8, minor: int = 1) -> bytes:
    """A pack as ureadahead 0.100 writes it on a 64-bit machine (write_pack() of its pack.c)."""
    content = struct.pack("<3sBB3xQq", b"ura", 2, 1, major << 8 | minor, 1_700_000_000)
    content += struct.pack("<Qii", 2, 0, 5)
    content += struct.pack("<Q", len(files))
    for path, inode, _ in files:
        content += struct.pack("<i4xQ256s", -1, inode, path)
    blocks = [(place, *block) for place, (_, _, found) in enumerate(files) for block in found]
    content += struct.pack("<Q", len(blocks))
    for place, offset, length in blocks:
        content += struct.pack("<Qqqq", place, offset, length, 4096 * offset)
    return content


FILES: list[tuple[bytes, int, Blocks]] = [
    (b"/usr/lib/libc.so.6", 77, [(0, 4096), (65536, 8192)]),
    (b"/etc/with space", 78, []),
    (b"/bin/sh", 79, [(4096, 4096)]),
]
# The same pack, as ureadahead --dump prints it (pack_dump()).
DUMP = b"""\
/var/lib/ureadahead/pack: created Tue, 14 Nov 2023 22:13:20 +0000 for hdd 8:1
2 inode groups, 3 files, 3 blocks (16 kB)
/usr/lib/libc.so.6 (1860 kB), 2 blocks (12 kB)
  [@...............@#........................................................]

\t0, 4096 bytes (at 0)
\t65536, 8192 bytes (at 268435456)

/etc/with space (0 kB), 0 blocks (0 kB)

/bin/sh (12 kB), 1 blocks (4 kB)
  [.@.                                                                       ]

\t4096, 4096 bytes (at 16777216)

"""


@pytest.mark.parametrize("content", [packed(FILES), DUMP], ids=["pack", "dump"])
def test_a_pack_and_its_dump_give_the_pages_of_each_file(content: bytes) -> None:
    bootlog = imported("ureadahead", content)
    assert bootlog.paths == [path for path, _, _ in FILES]
    events = [bootlog.event(index) for index in range(len(bootlog.events))]
    assert [(e.operation, e.offset_bytes, e.length_bytes) for e in events] == [
        (Operation.CACHE, 0, 4096),
        (Operation.CACHE, 65536, 8192),
        (Operation.OPEN, 0, 0),
        (Operation.CACHE, 4096, 4096),
    ]
    assert {(event.device_major, event.device_minor) for event in events} == {(8, 1)}


def test_a_pack_that_was_cut_off_is_refused_wherever_that_was() -> None:
    content = packed(FILES)
    for size in range(3, len(content)):
        with pytest.raises(FormatError):
            imported("ureadahead", content[:size])


@settings(max_examples=200)
@given(place=st.integers(3, 1100), value=st.binary(min_size=1, max_size=16))
def test_a_damaged_pack_is_read_or_refused(place: int, value: bytes) -> None:
    content = packed(FILES)
    try:
        imported("ureadahead", content[:place] + value + content[place + len(value) :])
    except BootprofError as error:
        assert "log" in error.message


def test_a_list_of_e4rat_has_device_inode_and_path() -> None:
    bootlog = imported("e4rat", b"2049 42 /bin/sh\n1048832 7 /a file with spaces\n2049 9 /bin/sh\n")
    assert bootlog.paths == [b"/bin/sh", b"/a file with spaces"]
    first, second = bootlog.event(0), bootlog.event(1)
    assert (first.device_major, first.device_minor, first.inode) == (8, 1, 42)
    assert (second.device_major, second.device_minor) == (1, 256)


def test_a_list_of_plain_paths_is_one_too() -> None:
    assert imported("e4rat", b"/b\n\n/a b\n/b\n").paths == [b"/b", b"/a b"]


def test_a_line_that_is_no_path_is_named_by_its_number() -> None:
    with pytest.raises(FormatError, match=":2: "):
        imported("e4rat", b"/b\nrelative\n")


# A list whose lines all end with a carriage return is taken for one of another system.
PATHS = st.binary(min_size=1, max_size=50).map(
    lambda text: b"/" + text.replace(b"\0", b"x").replace(b"\n", b"y").rstrip(b"\r")
)


@given(
    files=st.lists(
        st.tuples(
            PATHS, st.integers(0, 2**63 - 1), st.integers(0, 4095), st.integers(0, 2**20 - 1)
        ),
        min_size=1,
        max_size=9,
    )
)
def test_lists_of_e4rat_keep_every_path_in_order(files: list[tuple[bytes, int, int, int]]) -> None:
    lines = [
        b"%d %d %b\n" % (minor & 0xFF | major << 8 | (minor & 0xFFF00) << 12, inode, path)
        for path, inode, major, minor in files
    ]
    bootlog = imported("e4rat", b"".join(lines))
    events = [bootlog.event(index) for index in range(len(bootlog.events))]
    assert [(e.path, e.inode, e.device_major, e.device_minor) for e in events] == files
