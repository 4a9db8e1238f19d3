# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""Files that bootprof reads and writes: one module a format. Here are their names in a profile."""

from __future__ import annotations

from typing import Final

EVENTS_NAME: Final = "bootlog.events"
LIST_NAME: Final = "bootlog.list"
BOOTLOG_NAMES: Final = (EVENTS_NAME, LIST_NAME)
"""Bootlogs in the folder of a profile, the more detailed one first."""
TRACE_NAME: Final = "blocktrace.tsv"
EVENTS_MAGIC: Final = b"#bootprof-bootlog "
"""How a bootlog in the events format begins; the version of its schema follows."""
TRACE_MAGIC: Final = b"#bootprof-blocktrace "
"""How a block trace begins; the version of its schema follows."""
