# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""Quantities and changes as people read them."""

from __future__ import annotations

import math

# A change below this is not worth a colour.
NOTABLE = 0.01
BYTE_UNITS = ("B", "kB", "MB", "GB", "TB", "PB")


def quantity(value: float, unit: str) -> str:
    """Write a value with its unit.

    Args:
        value: Not negative.
        unit: ``bytes`` (shown in decimal units: kB, MB, GB), ``seconds`` or anything that is
            counted.
    """
    if unit == "bytes":
        return with_prefix(value, BYTE_UNITS)
    if unit == "seconds":
        if 0 < value < 1:
            return f"{value * 1e3:.3g} ms"
        return f"{value:.2f} s" if 0 < value < 9.995 else f"{value:.1f} s"
    return f"{value:,.0f}"


def with_prefix(value: float, units: tuple[str, ...]) -> str:
    """Write a value with three digits or more in the largest unit that it fills."""
    number = 0
    # 999.5 would be rounded to 1000 of the smaller unit.
    while value >= 999.5 and number < len(units) - 1:
        value /= 1000
        number += 1
    if number == 0:
        return f"{value:.0f} {units[0]}"
    decimals = 2 if value < 9.995 else 1 if value < 99.95 else 0
    return f"{value:.{decimals}f} {units[number]}"


def byte_scale(largest_bytes: float) -> tuple[float, str]:
    """Return the unit for an axis of bytes: how many bytes it is, and its name; at least kB."""
    power = 1
    while largest_bytes >= 1000.0 ** (power + 1) and power < len(BYTE_UNITS) - 1:
        power += 1
    return 1000.0**power, BYTE_UNITS[power]


def factor(ratio: float) -> str:
    """Write a ratio from 1 up as a factor."""
    if ratio >= 99.95:
        return f"{ratio:,.0f}x"
    return f"{ratio:.1f}x" if ratio >= 1.95 else f"{ratio:.2f}x"


def change(ratio: float) -> str:
    """Write a ratio as a change: in percent up to a factor of 2, as a factor beyond."""
    if math.isinf(ratio):
        return "was none"
    if ratio == 0:
        return "none left"
    if ratio <= 0.5:
        return f"{factor(1 / ratio)} less"
    if ratio >= 2:
        return f"{factor(ratio)} as much"
    percent = f"{(ratio - 1) * 100:+.1f} %"
    return "same" if percent in ("+0.0 %", "-0.0 %") else percent
