# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""Measurements: what bootprof costs and gains, as ratios in one run."""
