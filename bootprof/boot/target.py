# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""Boot targets: when a boot counts as done."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bootprof.boot.screen import Picture, read_picture
from bootprof.errors import InputError

# systemd's manager prints it when all jobs of the boot are done; that of an initrd does not get
# there, or has no userspace in it.
SYSTEMD_FINISHED: Final = rb"Startup finished in [^\r\n]{0,200}\(userspace\)"
SYSTEMD_OPTIONS: Final = "systemd.log_target=console"


@dataclass(frozen=True)
class Target:
    """When a boot counts as done: the first condition that is true.

    Attributes:
        console: Regular expression to search for in the output of the guest's serial port.
        seconds: Time since power-on.
        idle_seconds: For how long nothing was read of the medium. The boot counts as done at the
            last read.
        picture: What is on the screen.
        options: What the kernel's command line needs for it, where it is given.
    """

    console: re.Pattern[bytes] | None = None
    seconds: float | None = None
    idle_seconds: float | None = None
    picture: Picture | None = None
    options: str = ""


def parse_target(text: str) -> Target:
    """Read a boot target.

    Args:
        text: ``console:REGEX``, ``seconds:N``, ``idle:N``, ``screen:FILE`` or ``systemd``.

    Raises:
        InputError: It is none of these.
    """
    kind, _, value = text.partition(":")
    try:
        if kind == "console" and value:
            return Target(re.compile(value.encode()))
        if kind in ("seconds", "idle"):
            seconds = float(value)
            if not (math.isfinite(seconds) and seconds > 0):
                raise ValueError("the time must be above 0")
            return Target(seconds=seconds) if kind == "seconds" else Target(idle_seconds=seconds)
    except (re.error, ValueError) as error:
        raise InputError(f"boot target {text!r}: {error}") from None
    if kind == "screen" and value:
        return Target(picture=read_picture(Path(value)))
    if text == "systemd":
        return Target(re.compile(SYSTEMD_FINISHED), options=SYSTEMD_OPTIONS)
    raise InputError(
        f"unknown boot target {text!r}",
        hint="give console:REGEX, seconds:N, idle:N, screen:FILE or systemd, "
        "for example console:login:",
    )
