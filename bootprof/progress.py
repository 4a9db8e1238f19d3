# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""Progress of long work, on standard error.

On a terminal a step is a line with a spinner, its detail and the time that it has taken; elsewhere
(a log file, a CI) a line when it starts and a line when it ends.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from optimizer.formats.text import printable

Update = Callable[[str], None]


@contextmanager
def step(title: str) -> Iterator[Update]:
    """Show that a step runs, and how long it took.

    Args:
        title: The step, as a noun phrase.

    Yields:
        A function that replaces the detail shown behind the title. Off a terminal the detail is
        shown once only, when the step has ended.
    """
    started = time.monotonic()
    detail = ""
    if sys.stderr.isatty():
        from rich.console import Console
        from rich.text import Text

        # As Text and not as a string: output of a guest is not markup.
        console = Console(stderr=True)
        with console.status(Text(title)) as status:

            def update(text: str) -> None:
                nonlocal detail
                detail = text
                seconds = time.monotonic() - started
                status.update(Text(printable(f"{title}: {text} ({seconds:.0f} s)")))

            yield update
    else:
        note(f"{title} ...")

        def update(text: str) -> None:
            nonlocal detail
            detail = text

        yield update
    note(f"{title}: {detail + ', ' if detail else ''}{time.monotonic() - started:.1f} s")


def note(text: str) -> None:
    """Print one line that stays; what of it is not printable is escaped."""
    print(printable(text, limit=None), file=sys.stderr, flush=True)
