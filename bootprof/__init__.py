# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""Boot profiling that drives the optimization of live images."""

__version__ = "0.1.0"
