"""``python -m bootprof``."""

import sys

from bootprof.cli import main

sys.exit(main())
