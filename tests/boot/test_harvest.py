# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""The agent's protocol, as an honest guest speaks it and as hostile ones do."""

import io
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bootprof import backends
from bootprof.boot.harvest import (
    LINE_LIMIT_BYTES,
    READY_LIMIT_BYTES,
    Harvest,
    allowed_files,
)
from bootprof.errors import BootprofError

NAMES = ("a", "b", "c")
READY = b"ready backend=kmod\n"
WHOLE = READY + b"file a 4\nend\nfile b 0\nfile c 9\nfile x 3\nend\n"
LIMIT_BYTES = 1000


class Kept(io.BytesIO):
    """A file whose content can be looked at when it is closed."""

    content: bytes | None = None

    def close(self) -> None:
        self.content = self.getvalue()
        super().close()


def take(pieces: Sequence[bytes]) -> tuple[Harvest, dict[str, Kept], str]:
    """Feed a harvest; return it, its files, and the error."""
    files: dict[str, Kept] = {}

    def create(name: str) -> Kept:
        assert name in NAMES
        assert name not in files
        return files.setdefault(name, Kept())

    harvest = Harvest(NAMES, create, limit_bytes=LIMIT_BYTES)
    try:
        for piece in pieces:
            harvest.feed(piece)
    except BootprofError as error:
        return harvest, files, error.message
    return harvest, files, ""


def contents(files: dict[str, Kept]) -> dict[str, bytes | None]:
    return {name: file.content for name, file in files.items()}


def test_a_harvest_is_taken_apart_whatever_its_files_contain() -> None:
    harvest, files, error = take([WHOLE])
    assert not error
    assert harvest.finished
    assert harvest.agent == "ready backend=kmod"
    assert contents(files) == {"a": b"end\n", "b": b"", "c": b"file x 3\n"}
    assert harvest.files == ["a", "b", "c"]


@pytest.mark.parametrize("length", range(len(WHOLE)))
def test_a_harvest_is_not_taken_for_whole_while_a_byte_is_missing(length: int) -> None:
    harvest, _, error = take([WHOLE[:length]])
    assert not error
    assert not harvest.finished


@pytest.mark.parametrize(
    ("sent", "message"),
    [
        (b"hello there\n", "does not follow the agent's protocol"),
        (b"\n", "does not follow"),
        (READY * 2, "does not follow"),
        (READY + b"file ../../x 3\nabc", "does not follow"),
        (READY + b"file /etc/x 3\nabc", "does not follow"),
        (READY + b"file .. 3\nabc", "no backend in use records: .."),
        (READY + b"file  3\nabc", "does not follow"),
        (READY + b"file a/b 3\nabc", "does not follow"),
        (READY + b"file \xff\xfe 3\nabc", "does not follow"),
        (READY + b"file \xc3\xa4 3\nabc", "does not follow"),
        (READY + b"file a\0 3\nabc", "does not follow"),
        (READY + b"file profile.json 3\nabc", "no backend in use records: profile.json"),
        (READY + b"file nbdkit.log 3\nabc", "no backend in use records: nbdkit.log"),
        (READY + b"file a -3\nabc", "does not follow"),
        (READY + b"file a 0x3\nabc", "does not follow"),
        (READY + b"file a " + b"9" * 5000 + b"\n", "does not follow"),
        (READY + b"file a \xd9\xa3\nabc", "does not follow"),
        (READY + b"file a 3\nabcfile a 3\nabc", "sent a twice"),
        (READY + b"file a 1001\n", "exceed the limit"),
        (READY + b"file a 999\n" + b"x" * 999 + b"file b 2\n", "exceed the limit"),
        (READY + b"x" * LINE_LIMIT_BYTES, "does not follow"),
        (b"ready" + b"x" * READY_LIMIT_BYTES, "does not follow"),
    ],
)
def test_what_a_hostile_guest_sends_is_refused_on_one_printable_line(
    sent: bytes, message: str
) -> None:
    _, _, error = take([sent])
    assert message in error
    assert error.isprintable()
    assert len(error) < 300


def test_escape_sequences_of_a_guest_are_shown_and_not_obeyed() -> None:
    _, _, error = take([b"\x1b]52;c;ZXZpbA==\x07[/red]\n"])
    assert error.isprintable()
    harvest, _, _ = take([b"ready \x1b]0;title\x07\n"])
    assert harvest.agent.isprintable()


def test_a_guest_can_reach_no_name_but_those_of_its_backends() -> None:
    allowed = allowed_files(["fanotify"])
    assert allowed == {"fanotify.events", "agent.log", "processor"}
    every = allowed_files(backends.RECORDERS)
    assert every >= {"events", "stats", "bootlog.list", "ebpf.events", "tracepoints.log"}
    assert not {name for name in every if "/" in name or name in (".", "..")}


FRAGMENTS = st.one_of(
    st.binary(max_size=20),
    st.sampled_from(
        [READY, b"end\n", b"file a 4\n", b"file b 0\n", b"abcd", b"file c 998\n", b"\n"]
    ),
    st.builds(lambda size: b"z" * size, st.sampled_from([120, 127, 128, 129, 990, 5000])),
)


@given(st.lists(FRAGMENTS, max_size=12).map(b"".join), st.data())
def test_whatever_arrives_in_whatever_pieces_gives_the_same_and_no_other_error(
    sent: bytes, data: st.DataObject
) -> None:
    cuts = data.draw(st.lists(st.integers(0, len(sent)), max_size=8).map(sorted))
    pieces = [sent[a:b] for a, b in zip([0, *cuts], [*cuts, len(sent)], strict=True)]
    one, one_files, one_error = take([sent])
    many, many_files, many_error = take(pieces)
    assert many_error == one_error
    assert many.agent == one.agent
    assert many.files == one.files
    assert many.finished == one.finished
    assert many.received_bytes == one.received_bytes
    assert contents(many_files) == contents(one_files)
    assert one.received_bytes <= LIMIT_BYTES
