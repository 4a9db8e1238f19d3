# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""Both formats of a bootlog, with any bytes in a path, whole and damaged."""

import io
import logging

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from optimizer.errors import FormatError
from optimizer.formats.bootlog import (
    OPERATIONS,
    distinct_paths,
    read_bootlog,
    write_events,
    write_list,
)
from optimizer.formats.events import EVENT_DTYPE, Bootlog, Event, Operation
from optimizer.formats.text import escape_line, unescape_line

# Bytes that one of the formats treats in a special way, more often than chance would have them.
TRICKY = st.lists(
    st.sampled_from([b"\n", b"\\", b"\t", b"\r", b"0", b"1", b"2", b"3", b"4", b"#", b" ", b"\xff"])
    | st.binary(min_size=1, max_size=3).filter(lambda text: b"\0" not in text),
    max_size=12,
).map(b"".join)
PATHS = TRICKY.map(lambda text: b"/" + text)
EVENTS = st.builds(
    Event,
    time_ns=st.integers(0, 2**63 - 1),
    pid=st.integers(0, 2**31 - 1),
    command=TRICKY,
    operation=st.sampled_from(Operation),
    offset_bytes=st.integers(0, 2**63 - 1),
    length_bytes=st.integers(0, 2**63 - 1),
    device_major=st.integers(0, 2**32 - 1),
    device_minor=st.integers(0, 2**32 - 1),
    inode=st.integers(0, 2**64 - 1),
    file_system=TRICKY,
    path=PATHS | st.just(b""),
)
HEADERS = st.dictionaries(
    st.from_regex(r"[A-Za-z0-9_.-]+", fullmatch=True).filter(lambda key: key != "lost"),
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")),
    max_size=3,
)


def event(path: bytes = b"/etc/fstab", time_ns: int = 5, file_system: bytes = b"overlay") -> Event:
    return Event(time_ns, 1, b"systemd", Operation.OPEN, 0, 0, 0, 21, 4711, file_system, path)


def events_file(*events: Event) -> bytes:
    stream = io.BytesIO()
    write_events(stream, Bootlog.of({"backend": "test"}, events))
    return stream.getvalue()


def paths_of(text: bytes) -> list[bytes]:
    return list(distinct_paths(io.BytesIO(text), "log"))


@given(st.lists(PATHS, unique=True))
def test_a_list_comes_back_as_written(paths: list[bytes]) -> None:
    stream = io.BytesIO()
    write_list(stream, paths)
    assert paths_of(stream.getvalue()) == paths
    assert stream.getvalue().count(b"\n") == len(paths)


@given(st.lists(PATHS))
def test_distinct_paths_are_those_of_first_access(paths: list[bytes]) -> None:
    for text in (
        b"".join(escape_line(path) + b"\n" for path in paths),
        events_file(*(event(path) for path in paths)),
    ):
        assert list(distinct_paths(io.BytesIO(text), "log")) == list(dict.fromkeys(paths))


@given(TRICKY)
def test_an_escaped_line_changes_only_what_it_must(text: bytes) -> None:
    assert unescape_line(escape_line(text)) == text
    if unescape_line(text) == text and b"\n" not in text:
        assert escape_line(text) == text


@given(HEADERS, st.lists(EVENTS, max_size=8), st.integers(0, 2**40))
def test_an_events_file_comes_back_as_written(
    header: dict[str, str], events: list[Event], lost: int
) -> None:
    written = Bootlog.of(header, events, lost)
    stream = io.BytesIO()
    write_events(stream, written)
    text = stream.getvalue()
    back = read_bootlog(io.BytesIO(text), "log")
    assert (back.header, back.lost, back.truncated) == (header, lost, 0)
    assert [back.event(index) for index in range(len(back.events))] == events
    assert np.array_equal(back.events, written.events)
    assert (back.commands, back.file_systems, back.paths) == (
        written.commands,
        written.file_systems,
        written.paths,
    )
    assert paths_of(text) == list(dict.fromkeys(e.path for e in events if e.path))


def test_operation_names_are_those_of_the_enum() -> None:
    assert [name.decode().upper() for name in OPERATIONS] == [one.name for one in Operation]


def test_the_documented_example_is_read() -> None:
    text = (
        b"#bootprof-bootlog 1\n#backend: kmod (ftrace)\n#kernel: 6.1.0-50-amd64\n#lost: 3\n"
        b"1234567890\t1\tsystemd\topen\t0\t0\t0:21\t4711\toverlay\t/etc/fstab\n"
    )
    bootlog = read_bootlog(io.BytesIO(text), "log")
    assert bootlog.header == {"backend": "kmod (ftrace)", "kernel": "6.1.0-50-amd64"}
    assert bootlog.lost == 3
    assert bootlog.event(0) == event(time_ns=1234567890)
    assert bootlog.events.dtype == EVENT_DTYPE


def test_plain_keeps_unit_names_and_carriage_returns_and_skips_empty_lines() -> None:
    text = b"\n/usr/lib/systemd/system/system-systemd\\x2dcryptsetup.slice\n\n\n/a\r\n/last"
    assert paths_of(text) == [
        b"/usr/lib/systemd/system/system-systemd\\x2dcryptsetup.slice",
        b"/a\r",
        b"/last",
    ]


def test_plain_writer_leaves_out_repeats_and_refuses_what_is_no_path() -> None:
    stream = io.BytesIO()
    write_list(stream, [b"/b", b"/a", b"/b"])
    assert stream.getvalue() == b"/b\n/a\n"
    for wrong in (b"", b"relative", b"/nul\0"):
        with pytest.raises(ValueError, match="not an absolute path"):
            write_list(stream, [wrong])


def test_lines_longer_than_a_block_and_across_blocks_are_whole() -> None:
    paths = [b"/%d/" % number + b"x" * 3000 for number in range(2000)]
    assert paths_of(b"\n".join(paths)) == paths
    text = events_file(*(event(path, number) for number, path in enumerate(paths)))
    assert paths_of(text) == paths
    assert len(read_bootlog(io.BytesIO(text), "log").events) == 2000


def test_file_systems_are_passed_over_if_asked() -> None:
    text = events_file(
        event(b"/init", 1, b"rootfs"), event(b"/a", 2), event(b"/proc/1/stat", 3, b"proc")
    )
    skipped: set[bytes] = set()
    stream = io.BytesIO(text)
    found = list(distinct_paths(stream, "log", skip={b"proc", b"rootfs"}, skipped=skipped))
    assert found == [b"/a"]
    assert skipped == {b"/init", b"/proc/1/stat"}


def test_a_log_cut_anywhere_keeps_every_whole_event(caplog: pytest.LogCaptureFixture) -> None:
    events = [event(b"/a"), event(b"/b c\\"), event(b"/d\n")]
    text = events_file(*events)
    start = text.index(b"\n5\t") + 1
    for length in range(start, len(text)):
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            back = read_bootlog(io.BytesIO(text[:length]), "log")
        whole = text[start:length].count(b"\n")
        assert [back.event(index) for index in range(len(back.events))] == events[:whole]
        assert back.truncated == (0 if text[:length].endswith(b"\n") else 1)
        assert len(caplog.records) == back.truncated
    assert paths_of(text[:-1]) == [b"/a", b"/b c\\"]


def test_header_lines_may_follow_the_events() -> None:
    text = events_file(event()) + b"#lost: 12\n"
    assert read_bootlog(io.BytesIO(text), "log").lost == 12


GOOD = b"5\t1\tsh\topen\t0\t0\t0:21\t4711\toverlay\t/a\n"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"/a\n/b\0\n", "log:2: NUL byte"),
        (b"\x7fELF\0\0", "log:1: NUL byte"),
        (b"/" + b"x" * (3 << 20), "log:1: the line is too long"),
        (b"#bootprof-blocktrace 1\n", "log:1: this is a file of kind bootprof-blocktrace"),
        (b"#bootprof-bootlog 2\n", "log:1: bootlog of schema version '2'"),
        (b"#bootprof-bootlog 1\r\n", r"log:1: bootlog of schema version '1\\r'"),
        (b"#bootprof-bootlog 1\n#lost: many\n", "log:2: lost: not a number"),
        (b"#bootprof-bootlog 1\n#kernel\n", "log:2: not '#key: value'"),
        (b"#bootprof-bootlog 1\n" + GOOD + b"\n", "log:3: an event has 10 fields"),
        (b"#bootprof-bootlog 1\n" + GOOD + b"/etc/fstab\n", "log:3: an event has 10 fields"),
        (b"#bootprof-bootlog 1\n" + GOOD.replace(b"open", b"oops"), "log:2: operation expected"),
        (b"#bootprof-bootlog 1\n" + GOOD.replace(b"0:21", b"21"), "log:2: device as major:minor"),
        (b"#bootprof-bootlog 1\n" + b"-" + GOOD, "log:2: time in nanoseconds expected"),
        (b"#bootprof-bootlog 1\n" + b"9" * 18 + GOOD, "log:2: time in nanoseconds is out of"),
        (b"#bootprof-bootlog 1\n" + GOOD.replace(b"4711", b"9" * 20), "log:2: inode is out of"),
        (b"#bootprof-bootlog 1\n" + GOOD.replace(b":21", b":4294967296"), "log:2: device as"),
    ],
)
def test_bad_input_is_named_with_file_and_line(text: bytes, said: str) -> None:
    with pytest.raises(FormatError, match=said) as caught:
        paths_of(text)
    assert caught.value.hint
    assert "\n" not in caught.value.message


@pytest.mark.parametrize(
    "wrong",
    [
        GOOD.replace(b"\t0\t0\t", b"\t0\t18446744073709027328\t"),
        GOOD.replace(b"open", b"oops"),
        b"9" * 18 + GOOD,
        b"/etc/fstab\n",
        b"\n",
    ],
)
def test_a_wrong_event_costs_itself_and_not_the_log(
    wrong: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    text = b"#bootprof-bootlog 1\n" + (GOOD * 15 + wrong) * 3 + GOOD
    with caplog.at_level(logging.WARNING):
        back = read_bootlog(io.BytesIO(text), "log")
    assert (len(back.events), back.wrong, back.truncated) == (46, 3, 0)
    first, count = caplog.messages
    assert first.startswith("log:17: this event is left out: ")
    assert count == "log: 3 wrong events are left out"
    assert paths_of(text) == [b"/a"]


def test_a_log_of_many_wrong_events_is_refused_at_the_first() -> None:
    text = b"#bootprof-bootlog 1\n" + GOOD * 18 + b"oops\n" * 2
    with pytest.raises(FormatError, match="log:20: an event has 10 fields"):
        read_bootlog(io.BytesIO(text), "log")


def test_a_list_is_not_taken_for_events() -> None:
    with pytest.raises(FormatError, match="log:1: not an events file"):
        read_bootlog(io.BytesIO(b"/etc/fstab\n"), "log")


@given(st.binary(max_size=200))
def test_garbage_gives_paths_or_a_format_error(text: bytes) -> None:
    for prefix in (b"", b"#bootprof-bootlog 1\n", b"#bootprof-bootlog 1\n" + GOOD):
        try:
            found = paths_of(prefix + text)
        except FormatError:
            continue
        assert all(found)


def test_rich_writer_refuses_what_could_not_be_read_back() -> None:
    with pytest.raises(ValueError, match="not a header key"):
        write_events(io.BytesIO(), Bootlog.of({"a key": "x"}, []))
    with pytest.raises(ValueError, match="cannot hold a NUL"):
        write_events(io.BytesIO(), Bootlog.of({}, [event(b"/a\0")]))
