# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""The initrd of an image, repacked, and the additional initrd archives."""
