# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""Programs and modules that were compiled in advance, for a system without a compiler.

A key (docs/key.md) carries them in this folder, under the names of a cache: a name contains the
digest of all sources, so that sources which have changed are compiled again.
"""

from __future__ import annotations

from pathlib import Path

FOLDER = Path("/usr/lib/bootprof/prepared")


def find(name: str) -> Path | None:
    """Return what was prepared under the name of an entry of a cache, or None."""
    path = FOLDER / name
    return path if path.exists() else None
