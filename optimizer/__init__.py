# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""Pure computations over boot profiles and image layouts.

Nothing here starts a process, opens a socket or imports :mod:`bootprof`; functions read only
the files and streams that they are handed.
"""
