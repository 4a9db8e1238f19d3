# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""Boot targets: when a boot counts as done."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from bootprof.errors import InputError


@dataclass(frozen=True)
class Target:
    """When a boot counts as done: the first condition that is true.

    Attributes:
        console: Regular expression to search for in the output of the guest's serial port.
        seconds: Time since power-on.
    """

    console: re.Pattern[bytes] | None
    seconds: float | None


def parse_target(text: str) -> Target:
    """Read a boot target: ``console:REGEX`` or ``seconds:N``.

    Raises:
        InputError: It is neither.
    """
    kind, _, value = text.partition(":")
    try:
        if kind == "console" and value:
            return Target(re.compile(value.encode()), None)
        if kind == "seconds":
            seconds = float(value)
            if not (math.isfinite(seconds) and seconds > 0):
                raise ValueError("the time must be above 0")
            return Target(None, seconds)
    except (re.error, ValueError) as error:
        raise InputError(f"boot target {text!r}: {error}") from None
    raise InputError(
        f"unknown boot target {text!r}",
        hint="give console:REGEX or seconds:N, for example console:login:",
    )
