# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
import math

import pytest

from bootprof.units import change, factor, quantity


@pytest.mark.parametrize(
    ("value", "unit", "expected"),
    [
        (0, "bytes", "0 B"),
        (999, "bytes", "999 B"),
        (1000, "bytes", "1.00 kB"),
        (9_994, "bytes", "9.99 kB"),
        (9_996, "bytes", "10.0 kB"),
        (999_499, "bytes", "999 kB"),
        (999_501, "bytes", "1.00 MB"),
        (10_570_000_000, "bytes", "10.6 GB"),
        (5e18, "bytes", "5000 PB"),
        (0, "seconds", "0.0 s"),
        (0.0444, "seconds", "44.4 ms"),
        (1.366, "seconds", "1.37 s"),
        (61.04, "seconds", "61.0 s"),
        (1742, "reads", "1,742"),
    ],
)
def test_a_quantity_has_three_digits_and_its_unit(value: float, unit: str, expected: str) -> None:
    assert quantity(value, unit) == expected


@pytest.mark.parametrize(
    ("ratio", "expected"),
    [
        (1.0, "same"),
        (1.0004, "same"),
        (0.9, "-10.0 %"),
        (1.25, "+25.0 %"),
        (0.5, "2.0x less"),
        (0.1, "10.0x less"),
        (3.0, "3.0x as much"),
        (1 / 91672.8, "91,673x less"),
        (0.0, "none left"),
        (math.inf, "was none"),
    ],
)
def test_a_change_is_in_percent_up_to_a_factor_of_two(ratio: float, expected: str) -> None:
    assert change(ratio) == expected


def test_a_small_factor_keeps_two_decimals() -> None:
    assert (factor(1.04), factor(2.0), factor(100.0)) == ("1.04x", "2.0x", "100x")
