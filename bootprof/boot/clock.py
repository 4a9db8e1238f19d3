# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""Duration of a boot by the guest's own clock.

By the host's clock, the time of an emulated boot depends on the load of the host. By the guest's
clock it does not if instructions are counted (``--accelerator icount``).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

# /proc/stat counts in USER_HZ, which is part of the interface.
TICKS_PER_SECOND: Final = 100
# First line of /proc/uptime: seconds since the start of the kernel, and idle; and of /proc/stat:
# ticks of user, nice, system, idle, waiting for I/O, ... (proc(5)). Ten digits are 300 years.
_SAID = re.compile(rb"(\d{1,10}\.\d\d) \S{1,20}\ncpu +\d+ \d+ \d+ (\d{1,10}) (\d{1,10})(?: |\n)")


@dataclass(frozen=True)
class GuestClock:
    """The guest's clock at the harvest, right after the boot target.

    Attributes:
        uptime_seconds: Time since the start of its kernel.
        busy_seconds: How much of it one processor was busy; of several processors, the uptime less
            the sum of their idle times is no such figure, so it is given for one alone.
    """

    uptime_seconds: float
    busy_seconds: float | None


def read_guest_clock(said: bytes, processors: int) -> GuestClock | None:
    """Read what the agent sent as ``processor``; None if it is something else.

    Args:
        said: First line of /proc/uptime and first line of /proc/stat.
        processors: Number of the guest's processors.
    """
    found = _SAID.match(said)
    if found is None:
        return None
    uptime_seconds = float(found[1])
    idle_seconds = (int(found[2]) + int(found[3])) / TICKS_PER_SECOND
    busy_seconds = round(uptime_seconds - idle_seconds, 2) if processors == 1 else None
    return GuestClock(uptime_seconds, busy_seconds)
