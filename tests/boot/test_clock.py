# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bootprof.boot.clock import GuestClock, read_guest_clock

# Of a boot of the demonstration image with counted instructions.
SAID = b"9.66 1.24\ncpu  179 0 639 124 2 0 2 0 0 0\n"


def test_a_guests_clock_tells_how_long_it_ran_and_how_long_it_was_busy() -> None:
    assert read_guest_clock(SAID, 1) == GuestClock(9.66, 8.4)


def test_of_several_processors_the_time_that_one_was_busy_is_not_known() -> None:
    assert read_guest_clock(SAID, 2) == GuestClock(9.66, None)


@pytest.mark.parametrize(
    "said",
    [b"", b"9.66\n", b"x y\ncpu  1 2 3 4 5 6\n", b"9" * 5000 + b".66 1.24\ncpu  1 2 3 4 5\n"],
)
def test_what_is_no_clock_is_none(said: bytes) -> None:
    assert read_guest_clock(said, 1) is None


@given(st.lists(st.one_of(st.binary(max_size=8), st.sampled_from([SAID, b"cpu ", b"9" * 4400]))))
def test_whatever_a_guest_sends_is_a_clock_or_none(parts: list[bytes]) -> None:
    clock = read_guest_clock(b"".join(parts), 1)
    assert clock is None or clock.uptime_seconds >= 0
