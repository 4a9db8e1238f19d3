# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""``python -m bootprof``."""

import sys

from bootprof.cli import main

sys.exit(main())
