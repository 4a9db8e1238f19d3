# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""Boots an image in QEMU: serves the image, follows the guest, writes the profile."""
