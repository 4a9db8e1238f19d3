# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""Constants of the Linux kernel that several modules need."""

from __future__ import annotations

import errno
from typing import Final

PAGE_BYTES: Final = 4096
"""The page cache holds pages: a part of one costs as much as all of it."""

LINK_LIMIT: Final = 40
"""Symbolic links that are followed in one path (MAXSYMLINKS, include/linux/namei.h)."""

MISSING: Final = frozenset((errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG))
"""Errors of a look-up of a path that does not exist."""
