# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""The live image builder: root file system, squashfs, profiler archive, boot loader, ISO image."""
