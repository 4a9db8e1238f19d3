# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""No value of a log ends an import with a traceback, and none makes it slow or large."""

from __future__ import annotations

import io
import re
import resource
import subprocess
import sys
import tracemalloc
from pathlib import Path

import pytest

from bootprof.errors import BootprofError
from bootprof.imports import Source, load
from bootprof.imports.common.processes import DESCRIPTOR_LIMIT, Descriptors, Process, Processes
from bootprof.imports.common.source import (
    INT64_LIMIT,
    LINE_BYTES,
    PATH_BYTES,
    Counts,
    RecordError,
    nanoseconds,
    number,
)
from optimizer.formats.events import Bootlog
from tests.foreign import imported
from tests.fuzz.targets import TARGETS, attempt
from tests.imports.samples import SAMPLES

TOP = Path(__file__).parent.parent.parent
STRACE = b'9 openat(AT_FDCWD, "%b", O_RDONLY) = 3\n'


@pytest.mark.parametrize(
    ("text", "value"),
    [(b"0", 0), (b"00012", 12), (b"-3", -3), (b"9223372036854775807", INT64_LIMIT - 1)],
)
def test_numbers_in_range_are_read(text: bytes, value: int) -> None:
    assert number(text) == value


@pytest.mark.parametrize(
    "text", [b"9223372036854775808", b"9" * 5000, b"0" * 5000 + b"9" * 20, b"x", b"1_0", b"+1"]
)
def test_other_numbers_are_refused_with_the_error_of_records(text: bytes) -> None:
    with pytest.raises(RecordError):
        number(text)


def test_seconds_become_nanoseconds() -> None:
    assert nanoseconds(b"12") == 12_000_000_000
    assert nanoseconds(b"-1.5") == -1_500_000_000
    assert nanoseconds(b"0.1234567891") == 123_456_789
    with pytest.raises(RecordError):
        nanoseconds(b"9223372037.0")


@pytest.mark.parametrize("name", TARGETS)
@pytest.mark.parametrize("digits", [b"9" * 20, b"1" * 5000, b"0" * 5000 + b"1", b"-1"])
def test_each_number_of_each_sample_may_be_anything(name: str, digits: bytes) -> None:
    for seed in TARGETS[name].seeds:
        for found in re.finditer(rb"\d+", seed):
            attempt(TARGETS[name], seed[: found.start()] + digits + seed[found.end() :])


@pytest.mark.parametrize("name", TARGETS)
@pytest.mark.parametrize("text", [b"\0", b"\xff\xfe", b"\n", b'"', b"a" * 5000])
def test_anything_may_stand_at_the_start_of_each_path(name: str, text: bytes) -> None:
    for seed in TARGETS[name].seeds:
        for found in re.finditer(rb"/", seed):
            attempt(TARGETS[name], seed[: found.end()] + text + seed[found.end() :])


def test_paths_that_no_kernel_takes_are_counted() -> None:
    longest = b"/" + b"a" * (PATH_BYTES - 1)
    texts = (longest, longest + b"a", b"/nul\\0byte", b"/good")
    bootlog = imported("strace", b"".join(STRACE % text for text in texts))
    assert (bootlog.paths, bootlog.lost) == ([longest, b"/good"], 2)


def test_lines_that_are_too_long_are_left_out_and_counted() -> None:
    content = STRACE % b"/a" + STRACE % (b"x" * 3 * LINE_BYTES) + STRACE % b"/b"
    bootlog = imported("strace", content)
    assert (bootlog.paths, bootlog.lost) == ([b"/a", b"/b"], 1)


def test_a_line_as_long_as_allowed_is_read() -> None:
    padding = LINE_BYTES - len(b'9 execve("/bin/a", [""], 0x7f) = 0\n')
    content = b'9 execve("/bin/a", ["%b"], 0x7f) = 0\n' % (b"x" * padding)
    bootlog = imported("strace", content)
    assert (bootlog.paths, bootlog.lost) == ([b"/bin/a"], 0)


def test_a_directory_that_grows_without_end_is_given_up() -> None:
    content = (
        b'9 chdir("/a") = 0\n' + b'9 chdir("%b") = 0\n9 open("f", 0) = 3\n' % (b"x" * 200) * 100
    )
    bootlog = imported("strace", content)
    assert max(map(len, bootlog.paths)) <= PATH_BYTES
    assert bootlog.lost > 150


def test_descriptors_are_those_of_a_dictionary() -> None:
    import random

    source = random.Random(4)
    tables = [(Descriptors(), dict[int, bytes]())]
    for _ in range(3000):
        descriptors, expected = source.choice(tables)
        place = source.choice((0, 3, 15, 16, 255, 256, 4095, 65536, DESCRIPTOR_LIMIT - 1))
        if source.random() < 0.1 and len(tables) < 50:
            tables.append((descriptors.copy(), dict(expected)))
        elif source.random() < 0.3:
            descriptors.set(place, None)
            expected.pop(place, None)
        else:
            path = b"/%d" % source.randrange(99)
            descriptors.set(place, path)
            expected[place] = path
        assert descriptors.get(place) == expected.get(place)
    for descriptors, expected in tables:
        for place in (0, 1, 3, 15, 16, 255, 256, 4095, 65536, DESCRIPTOR_LIMIT - 1):
            assert descriptors.get(place) == expected.get(place)
    tables[0][0].set(-1, b"/x")
    tables[0][0].set(DESCRIPTOR_LIMIT, b"/x")
    assert tables[0][0].get(-1) is tables[0][0].get(DESCRIPTOR_LIMIT) is None


def test_threads_share_what_they_open_and_forks_do_not() -> None:
    processes = Processes()
    processes[5].descriptors.set(3, b"/a")
    processes.fork(5, 6, b"CLONE_FILES|CLONE_FS")
    processes.fork(5, 7, b"SIGCHLD")
    processes[6].descriptors.set(4, b"/b")
    processes[6].directory[0] = b"/d"
    assert [processes[pid].descriptors.get(4) for pid in (5, 6, 7)] == [b"/b", b"/b", None]
    assert [processes[pid].directory[0] for pid in (5, 6, 7)] == [b"/d", b"/d", None]
    assert processes[7].descriptors.get(3) == b"/a"


def test_no_path_leaves_a_new_root_directory() -> None:
    process = Process([b"/jail/sub"])
    process.enter_root(b"/jail/")
    assert process.absolute(b"../../../etc/a", None) == b"/jail/etc/a"
    assert process.absolute(b"/../etc/a", None) == b"/jail/etc/a"
    assert process.absolute(b"x", b"/outside") == b"/outside/x"
    process.enter_root(None)
    assert process.absolute(b"/etc/a", None) is None


def peak_bytes(name: str, content: bytes) -> int:
    """Return the most memory that an import takes beside its file."""
    stream = io.BytesIO(content)
    tracemalloc.start()
    try:
        load(name).bootlog([Source("log", stream)])
    except BootprofError:
        pass
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    return peak


def forks_and_opens(count: int) -> bytes:
    """A process that opens a file before each fork, whose children stay."""
    return b"".join(
        b'9 open("/a", O_RDONLY) = %d\n9 fork() = %d\n' % (number % 900, 1000 + number)
        for number in range(count)
    )


def nested_forks(count: int) -> bytes:
    """A process that opens many files, and then each child forks the next one."""
    opens = b"".join(b'100 open("/a", O_RDONLY) = %d\n' % number for number in range(900))
    return opens + b"".join(
        b'%d open("/b", O_RDONLY) = 5\n%d fork() = %d\n'
        % (100 + number, 100 + number, 101 + number)
        for number in range(count)
    )


@pytest.mark.parametrize("make", [forks_and_opens, nested_forks])
def test_memory_of_descriptors_grows_with_the_file(make: object) -> None:
    few, many = (peak_bytes("strace", make(count)) for count in (1000, 4000))  # type: ignore[operator]
    # Squared, it would be 16 times as much.
    assert many < 6 * few
    assert many < 40_000_000


@pytest.mark.parametrize("name", SAMPLES)
def test_memory_grows_no_faster_than_the_file(name: str) -> None:
    content = b"".join(sample.content for sample in SAMPLES[name].values())
    few, many = (
        peak_bytes(name, content * (count // len(content))) for count in (300_000, 1_200_000)
    )
    assert many < 6 * few


LONG = """
import resource, sys
resource.setrlimit(resource.RLIMIT_CPU, (60, 60))
from tests.fuzz.targets import TARGETS, attempt
target = TARGETS[sys.argv[1]]
lines = sorted({line for seed in target.seeds for line in seed.split(b"\\n") if line})[::7][:6]
pieces = (b" ", b"(", b") ", b"<", b'"', b"[", b"\\\\", b"1 ", b": ", b"/", b"a ", b"1", b", ")
for piece in pieces:
    for line in lines:
        for place in (0, len(line) // 2):
            attempt(target, line[:place] + piece * (200_000 // len(piece)) + line[place:] + b"\\n")
"""


@pytest.mark.parametrize("name", TARGETS)
def test_a_line_of_200_kilobytes_is_read_in_one_go(name: str) -> None:
    """150 such lines take some 3 s of a processor; one alone took 25 s where time was squared."""
    done = subprocess.run([sys.executable, "-c", LONG, name], cwd=TOP, capture_output=True)
    assert done.returncode == 0, done.stderr.decode()[-2000:]


def test_lines_take_memory_for_their_events_only() -> None:
    """The text itself, 13 MB, is not kept: 200,000 lines of a call that opens nothing."""
    line = b'9 newfstatat(AT_FDCWD, "/etc/localtime", {st_mode=S_IFREG}, 0) = 0\n'
    stream = io.BytesIO((STRACE % b"/a") + line * 200_000)
    tracemalloc.start()
    bootlog: Bootlog = load("strace").bootlog([Source("log", stream)])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert bootlog.paths == [b"/a"]
    assert peak < 3_000_000


def test_counts_start_at_nothing() -> None:
    assert Counts() == Counts(0, 0)
    assert resource.getrlimit(resource.RLIMIT_CPU)[0] == resource.RLIM_INFINITY
