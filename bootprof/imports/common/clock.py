# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""The times of a log, as nanoseconds since its first record."""

from __future__ import annotations

from typing import Final

DAY_NS: Final = 86_400_000_000_000
CLOCK: Final = rb"(?P<hour>\d\d):(?P<minute>\d\d):(?P<clock>\d\d(?:\.\d{1,9}+)?)"
"""A time of day, for the patterns of imports; :func:`of_day` takes its groups."""


def of_day(hour: bytes, minute: bytes, clock: bytes) -> int:
    """Return a time of day in nanoseconds."""
    from bootprof.imports.common.source import nanoseconds

    return (int(hour) * 60 + int(minute)) * 60_000_000_000 + nanoseconds(clock)


class Clock:
    """Counts from the first time that it gets, and never goes back."""

    def __init__(self) -> None:
        self.now_ns = 0
        self._start_ns: int | None = None

    def since_start(self, time_ns: int, *, wraps: bool) -> int:
        """Return how long after the first time another one is.

        Args:
            time_ns: Since any moment that is the same for all.
            wraps: It is a time of day, which begins again at midnight.
        """
        if self._start_ns is None:
            self._start_ns = time_ns
        elif wraps and time_ns - self._start_ns < self.now_ns - DAY_NS // 2:
            self._start_ns -= DAY_NS
        self.now_ns = max(self.now_ns, time_ns - self._start_ns)
        return self.now_ns
