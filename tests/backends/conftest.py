# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""Fixtures that the tests of backends and of imports share."""

from tests.foreign import foreign_iso, foreign_root, foreign_squashfs

__all__ = ["foreign_iso", "foreign_root", "foreign_squashfs"]
