# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""The subcommands, one module each.

A module defines ``add_parser(subparsers)``, which declares the options and sets the parser's
default ``run`` to a function that takes the parsed arguments and returns an exit status. Large
modules are imported inside that function, so that ``bootprof --help`` stays fast.
"""
