# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""Errors of the use cases, in the family of :mod:`optimizer.errors`."""

from __future__ import annotations

from optimizer.errors import BootprofError, FormatError, InputError, MixedError

__all__ = [
    "BootprofError",
    "FormatError",
    "InputError",
    "MixedError",
    "ToolError",
    "UnsupportedError",
]


class ToolError(BootprofError):
    """An external program failed or is not installed."""


class UnsupportedError(BootprofError):
    """This machine, kernel or set of privileges does not support the request."""
