# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""Reader of squashfs 4.0: one module a part of the format."""

from optimizer.images.squashfs.layout import FORMAT

__all__ = ["FORMAT"]
