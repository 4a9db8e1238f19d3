# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""Exceptions of bootprof: all errors that are reported to the user.

Only ``bootprof.cli.main`` catches and prints them: one line with what went wrong and where, then a
hint how to fix it.
"""

from __future__ import annotations


class BootprofError(Exception):
    """Something failed that the user can understand.

    Attributes:
        message: One line: what failed and where (file, line, offset in bytes).
        hint: How to fix it, or an empty string.
        exit_status: Process exit status that the command line ends with.
    """

    exit_status = 1

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class InputError(BootprofError):
    """The command line, a configuration or an input file is wrong; exit status 2."""

    exit_status = 2


class MixedError(InputError):
    """No order of a file system's blocks makes a boot faster; packing it again does."""


class FormatError(InputError):
    """An image or a log is truncated, corrupt or of a kind that is not supported."""
