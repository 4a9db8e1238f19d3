# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""One file of a tool, as the tests of imports have it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Sample:
    """One file of a tool: its content, the paths in it, and how many records have no path."""

    content: bytes
    paths: tuple[bytes, ...]
    lost: int = 0


def lines(*texts: str) -> bytes:
    """Return lines as a file has them."""
    return "".join(f"{text}\n" for text in texts).encode("latin-1")
