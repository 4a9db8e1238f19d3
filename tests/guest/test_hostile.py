# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""The C programs of a guest, under the sanitizers, with input that is meant to break them."""

import random
import struct
from pathlib import Path

import pytest

from tests.guest.programs import PROGRAMS, READAHEAD, TRACE, WATCH, build_checked, run_checked

NUMBERS = ["", "-1", "+1", " 1", "1 ", "0x10", "1e3", "9" * 18, "9" * 19, "9" * 5000, "\xff", "1\n"]
# struct store_header and struct bootprof_event of ebpf/.
HEADER = struct.Struct("<16s5Q64s128s")
EVENT = struct.Struct("<4Q2I4H16s16s")
OPEN, CACHE, NAME_GIVEN, IN_FILE_SYSTEM = 0, 5, 2, 4


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("programs")


@pytest.fixture(scope="module")
def programs(folder: Path) -> dict[str, Path]:
    return {program.name: build_checked(program, folder) for program in PROGRAMS}


@pytest.mark.parametrize("number", NUMBERS)
@pytest.mark.parametrize(
    ("name", "option"),
    [
        *((TRACE.name, option) for option in ("seconds", "memory", "buffer-size", "ready-fd")),
        *((WATCH.name, option) for option in ("limit", "memory", "ready-fd")),
        *((READAHEAD.name, option) for option in ("max-share", "slowest", "offset")),
    ],
)
def test_an_odd_number_is_wrong_usage_on_one_line(
    programs: dict[str, Path], name: str, option: str, number: str
) -> None:
    # As the last option, so that a number that is right is followed by a usage error, too.
    done = run_checked(programs[name], f"--{option}={number}", "--no-such-option")
    assert done.returncode == 2
    told = done.stderr + done.stdout
    assert b"not a number" in told or b"usage" in told
    assert all(
        line.startswith(name.encode() + b": ") for line in told.splitlines() if line[:1] == b"b"
    )


def event(
    operation: int = OPEN,
    flags: int = 0,
    path: bytes = b"c\0b\0a\0",
    name: bytes = b"",
    *,
    path_bytes: int | None = None,
    name_bytes: int | None = None,
) -> bytes:
    """An event as the spool file has it."""
    lengths = (
        len(path) if path_bytes is None else path_bytes,
        len(name) if name_bytes is None else name_bytes,
    )
    head = EVENT.pack(1, 2, 3, 4, 5, 6, operation, flags, *lengths, b"x" * 16, b"y" * 16)
    record = head + path + name
    return record + bytes(-len(record) % 8)


def spool(*events: bytes, used: int | None = None, count: int | None = None) -> bytes:
    content = b"".join(events)
    header = HEADER.pack(
        b"bootprof-spool1\0",
        HEADER.size + len(content) if used is None else used,
        len(events) if count is None else count,
        *(0, 0, 0),
        b"b" * 64,
        b"k" * 128,
    )
    return header + content + bytes(4096)


def recover(programs: dict[str, Path], folder: Path, content: bytes) -> tuple[int, bytes]:
    file = folder / "spool"
    file.write_bytes(content)
    done = run_checked(programs[TRACE.name], "--recover", file)
    assert len(done.stderr.splitlines()) <= 2
    return done.returncode, done.stdout


def test_a_spool_is_what_the_program_takes_it_for(
    programs: dict[str, Path], tmp_path: Path
) -> None:
    status, log = recover(programs, tmp_path, spool(event(), event(CACHE, IN_FILE_SYSTEM)))
    assert status == 0
    assert [line.rpartition(b"\t")[2] for line in log.splitlines()[4:]] == [b"/a/b/c", b"/a/b/c"]


@pytest.mark.parametrize(
    "content",
    [
        spool(event(path=b"a" * 4096, path_bytes=0xFFFF), event(path=b"b" * 65535)),
        spool(event(path=b"a" * 65535)),
        spool(event(flags=NAME_GIVEN, path=b"a\0" * 2047, name=b"n" * 65535)),
        spool(event(flags=NAME_GIVEN, path=b"a\0" * 2047, name=b"../" * 1365)),
        spool(event(flags=NAME_GIVEN, path=b"", name=b"/" * 4096)),
        spool(event(path=b"\0" * 4095)),
        spool(event(path=b"a" * 4095)),
        spool(event(path=b"\t\n\r\\" * 1023)),
        spool(event(operation=6), event(operation=0xFFFF)),
        spool(event(), count=2**64 - 1),
        spool(event(), count=2**63),
        spool(event(), count=1 << 20),
        spool(event(), used=2**64 - 1),
        spool(event(), used=0),
        spool(event(), used=HEADER.size + 3),
        spool(event(), used=HEADER.size + 4096),
        b"bootprof-spool1\0",
        b"",
    ],
    ids=lambda content: str(len(content)),
)
def test_a_hostile_spool_is_refused_or_read_up_to_its_fault(
    programs: dict[str, Path], tmp_path: Path, content: bytes
) -> None:
    status, log = recover(programs, tmp_path, content)
    assert status in (0, 2)
    for line in log.splitlines():
        assert line.startswith(b"#") or line.count(b"\t") == 9


def test_no_damage_to_a_spool_makes_the_program_crash(
    programs: dict[str, Path], tmp_path: Path
) -> None:
    source = random.Random(2026)
    good = spool(
        *(event(number % 6, number % 8, name=b"name\0" * (number % 2)) for number in range(40))
    )
    for _ in range(150):
        content = bytearray(good)
        for _ in range(source.randint(1, 40)):
            content[source.randrange(16, len(good) - 4096)] = source.choice((0, 1, 0x7F, 0xFF, 9))
        assert recover(programs, tmp_path, bytes(content))[0] in (0, 2)
