# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""Names of the drives, for help texts that must not wait for the numbers (and numpy) behind them.

:mod:`optimizer.drives.models` describes a drive for each of these names.
"""

from __future__ import annotations

from typing import Final

DRIVE_NAMES: Final = ("cd-24x", "dvd-8x", "usb-2", "sd-card", "hard-disk", "nvme")
COMPARED_DRIVES: Final = ("cd-24x", "usb-2", "hard-disk", "nvme")
"""Drives that a comparison models by default."""
