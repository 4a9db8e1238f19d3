# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""Reader of EROFS: one module a part of the format."""

from optimizer.images.erofs.layout import FORMAT

__all__ = ["FORMAT"]
