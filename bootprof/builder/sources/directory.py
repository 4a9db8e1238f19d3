# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""A root tree copied from a folder, as of an installed system or another builder."""

from __future__ import annotations

from bootprof.builder import overlay
from bootprof.builder.overlay import Overlay
from bootprof.builder.roottree import RootTree


def copy(source: Overlay, tree: RootTree) -> int:
    """Copy a folder into a root tree.

    Args:
        source: The folder, looked through.
        tree: Root tree.

    Returns:
        The time of the newest file, in seconds since 1970.
    """
    overlay.apply(source, tree)
    return max((entry.attributes.mtime_ns or 0 for entry in source.entries), default=0) // 10**9
