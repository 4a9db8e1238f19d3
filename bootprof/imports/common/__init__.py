# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""What the imports share: lines and numbers with limits, logs, processes, block reads."""
