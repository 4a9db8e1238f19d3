# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""The headline of a comparison: the gain of the best build, in one sentence with figures."""

from __future__ import annotations

from bootprof.report.comparison import Comparison
from bootprof.report.plotdata import short
from bootprof.units import factor, quantity


def headline(comparison: Comparison) -> tuple[str, str]:
    """Return the headline of a comparison, and a line with the values behind it.

    The headline compares the build with the least seek distance with the first one.
    """
    distances = [
        comparison.value(number, "seek-distance") or 0.0 for number in range(len(comparison.builds))
    ]
    others = range(1, len(distances))
    best = min(others, key=lambda number: distances[number])
    first, other = (short(comparison.builds[number].label) for number in (0, best))
    before, after = distances[0], distances[best]
    amounts = f"{quantity(after, 'bytes')} instead of {quantity(before, 'bytes')}"
    if before == after:
        title = f"{other} and {first}: the same seek distance, {quantity(after, 'bytes')}"
    elif after == 0:
        title = f"{other}: no seek at all, {amounts} with {first}"
    elif after < before:
        title = f"{other}: {factor(before / after)} less seek distance than {first}"
    elif before == 0:
        title = f"{other}: {quantity(after, 'bytes')} of seek distance, none with {first}"
    else:
        title = f"{other}: {factor(after / before)} the seek distance of {first}"

    def both(metric: str, unit: str) -> str:
        values = (comparison.value(number, metric) or 0.0 for number in (0, best))
        return " → ".join(quantity(value, unit) for value in values)

    subtitle = (
        f"seek distance {both('seek-distance', 'bytes')}     "
        f"non-contiguous reads {both('non-contiguous', 'reads')} "
        f"(of {both('reads', 'reads')})     "
        f"read {both('bytes', 'bytes')}"
    )
    return title, subtitle
