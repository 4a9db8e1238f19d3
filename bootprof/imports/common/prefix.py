# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""What syslog, the journal and dmesg put in front of a line."""

from __future__ import annotations

import re

from bootprof.imports.common.source import nanoseconds

_CLOCK = rb"\d\d:\d\d:\d\d(?:[.,]\d{1,9}+)?"
_PROGRAM = rb"[\w.@/+()-]{1,64}+"
# RFC 3164, ISO 8601 (rsyslog, journalctl -o short-iso), journalctl -o short-full, short-monotonic
# and short-unix; then host and program.
_LOGGED = re.compile(
    rb"(?:[A-Z][a-z]{2} [ \d]\d "
    + _CLOCK
    + rb"|\d{4}-\d\d-\d\d[T ]"
    + _CLOCK
    + rb"(?:Z|[+-]\d\d:?\d\d)?"
    rb"|[A-Z][a-z]{2} \d{4}-\d\d-\d\d " + _CLOCK + rb" [A-Z+-]\S{0,9}"
    rb"|\[ *(?P<since>\d{1,12}+\.\d{6})\]"
    rb"(?= [\w.-]{1,255}+ (?:kernel|" + _PROGRAM + rb"\[\d{1,10}+\]): )"
    rb"|\d{9,11}+\.\d{6}) [\w.-]{1,255}+ " + _PROGRAM + rb"(?:\[\d{1,10}+\])?: ?"
)
# dmesg -r, dmesg -x.
_LEVEL = re.compile(rb"<\d{1,4}>|[a-z]{3,9} *:[a-z]{3,9} *: ")
# dmesg with its several forms of the time; then the caller (CONFIG_PRINTK_CALLER).
_STAMP = re.compile(
    rb"\[ *(?P<since>\d{1,12}+\.\d{1,9}+)(?: *<[ \d.]{0,30}>)?\] ?"
    rb"|\[ *[<+][ \d.]{1,30}>?\] ?|\[[A-Z][a-z]{2} ?\d\d \d\d:\d\d\] ?"
    rb"|\[[A-Z][a-z]{2} [A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d \d{4}\] ?"
    rb"|\d{4}-\d\d-\d\d[T ]" + _CLOCK + rb"(?:Z|[+-]\d\d:?\d\d)? "
)
_CALLER = re.compile(rb"\[ *[TC]\d{1,10}+\] ?")


def logged_text(line: bytes) -> bytes:
    """Return the text of a line of syslog or of the journal; a line of neither comes back whole."""
    found = _LOGGED.match(line)
    return line[found.end() :] if found is not None else line


def kernel_text(line: bytes) -> tuple[int, bytes]:
    """Return the time and the text of a line of the kernel's log.

    Args:
        line: As dmesg, syslog, the journal or a console has it.

    Returns:
        Nanoseconds since the kernel started, 0 if the line has no time, and what follows all
        prefixes.

    Raises:
        RecordError: The time is out of range.
    """
    time_ns = 0
    for pattern in (_LEVEL, _LOGGED, _LEVEL, _STAMP, _CALLER):
        found = pattern.match(line)
        if found is None:
            continue
        line = line[found.end() :]
        since = found.groupdict().get("since")
        if since:
            time_ns = nanoseconds(since)
    return time_ns, line
