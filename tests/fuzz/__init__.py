# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""Fuzz targets: everything that reads what others wrote, one function each.

A short run of each is a test; ``make fuzz`` goes on for as long as one likes.
"""
