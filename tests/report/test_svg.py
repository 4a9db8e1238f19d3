# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
import html
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bootprof.report.svg import Axis, boxes, escape, linear_axis, number
from optimizer.formats.text import printable


@given(st.floats(1e-9, 1e18))
def test_an_axis_has_few_round_ticks_within_it(high: float) -> None:
    axis = linear_axis(high, "things")
    values = [value for value, _ in axis.ticks]
    assert 2 <= len(values) <= 7
    assert values[0] == 0 and values[-1] <= high * (1 + 1e-9)
    labels = [label for _, label in axis.ticks]
    assert len(set(labels)) == len(labels)


def test_a_margin_leaves_room_at_both_ends_and_adds_no_ticks() -> None:
    axis = linear_axis(100, "things", margin=0.02)
    assert (axis.low, axis.high) == (-2, 102)
    assert [value for value, _ in axis.ticks] == [0, 20, 40, 60, 80, 100]


@pytest.mark.parametrize(
    ("high", "labels"),
    [
        (52.5, ["0", "10", "20", "30", "40", "50"]),
        (1.8, ["0.0", "0.5", "1.0", "1.5"]),
        (6000, ["0", "1,000", "2,000", "3,000", "4,000", "5,000", "6,000"]),
        (0, ["0.0", "0.2", "0.4", "0.6", "0.8", "1.0"]),
    ],
)
def test_ticks_are_labelled_as_people_write_numbers(high: float, labels: list[str]) -> None:
    assert [label for _, label in linear_axis(high, "things").ticks] == labels


def test_shares_of_a_logarithmic_axis() -> None:
    axis = Axis(10, 1000, "bytes", (), logarithmic=True)
    assert [axis.share(value) for value in (10, 100, 1000)] == pytest.approx([0, 0.5, 1])


@given(st.text())
def test_escaped_text_has_no_markup_and_says_the_same(text: str) -> None:
    escaped = escape(text)
    assert not set(escaped) & set("<>\"'")
    escaped.encode()
    shown = html.unescape(escaped).split("\n")
    assert shown == [printable(line, limit=None) for line in text.split("\n")]


@given(st.floats(-1e6, 1e6))
def test_coordinates_are_short_and_right(value: float) -> None:
    assert math.isclose(float(number(value)), value, abs_tol=0.006)
    assert number(value) not in ("-0", "")
    assert "e" not in number(value)


def test_a_box_is_closed() -> None:
    assert boxes([(1, 2, 3, 4.5)]) == "M1 2h3v4.5h-3z"
