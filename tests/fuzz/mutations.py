# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""Changes to inputs that readers of text stumble over."""

from __future__ import annotations

import re

from hypothesis import strategies as st

TOKENS = (
    *(b"9" * 20, b"1" * 5000, b"0" * 5000 + b"7", b"-1", b"-" + b"9" * 30, b"0x" + b"f" * 40),
    *(b"18446744073709551615", b"9223372036854775807", b"9223372036854775808", b"4294967296"),
    *(b"\0", b"\xff\xfe", b"\n", b"\r\n", b"\t", b'"', b"\\", b"\\000", b"<", b">", b"(", b")"),
    *(
        b" = ",
        b") = 3",
        b"/",
        b"..",
        b"a" * 5000,
        b"/" + b"a" * 5000,
        b"",
        b" ",
        b"<unfinished ...>",
    ),
)
_NUMBERS = re.compile(rb"\d+")


@st.composite
def mutated(draw: st.DrawFn, seeds: tuple[bytes, ...]) -> bytes:
    """Draw an input that is near to one or several of the seeds."""
    content = b"".join(draw(st.lists(st.sampled_from(seeds), min_size=1, max_size=2)))
    for _ in range(draw(st.integers(0, 4))):
        token = draw(st.sampled_from(TOKENS) | st.binary(max_size=4))
        if draw(st.booleans()) and (numbers := list(_NUMBERS.finditer(content))):
            # In the place of a number.
            start, end = draw(st.sampled_from(numbers)).span()
        else:
            start = draw(st.integers(0, len(content)))
            end = min(start + draw(st.sampled_from((0, 0, 1, 5, 100))), len(content))
        content = content[:start] + token + content[end:]
    return content
