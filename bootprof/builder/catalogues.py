# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""The messages of ``bootprof-live`` in other languages, compiled for gettext."""

from __future__ import annotations

import functools

from bootprof.files import scratch_folder
from bootprof.process import run
from bootprof.sources import LIVE_PARTS

DOMAIN = "bootprof-live"


@functools.cache
def compiled() -> dict[str, bytes]:
    """Return the catalogues by their path in a root.

    A key has compiled ones beside their sources.

    Raises:
        ToolError: msgfmt is missing, or a catalogue has errors.
    """
    found = {}
    with scratch_folder() as folder:
        for source in sorted((LIVE_PARTS / "po").glob("*.po")):
            target = folder / f"{source.stem}.mo"
            if (ready := source.with_suffix(".mo")).is_file():
                target = ready
            else:
                run(["msgfmt", "--check-format", "-o", target, source])
            path = f"usr/share/locale/{source.stem}/LC_MESSAGES/{DOMAIN}.mo"
            found[path] = target.read_bytes()
    return found
