# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""``python -m tests.fuzz [--seconds N] [TARGET...]``: fuzz for as long as one likes.

With atheris installed the search is guided by coverage; without it, inputs are changed at random by
Hypothesis, which makes a failing one as small as it can.
"""

from __future__ import annotations

import argparse
import sys
import time

from hypothesis import HealthCheck, Verbosity, given, settings

import tests.conftest  # noqa: F401 - its profile of Hypothesis
from tests.fuzz.mutations import mutated
from tests.fuzz.targets import TARGETS, Target, attempt

BATCH = 1000


def with_hypothesis(name: str, target: Target, seconds: float) -> int:
    """Run a target for some time; return how many inputs were tried.

    Raises:
        Exception: What the target raised, after the input was made small and printed.
    """
    tried = 0
    ends = time.monotonic() + seconds

    def once(content: bytes) -> None:
        nonlocal tried
        tried += 1
        attempt(target, content)

    while time.monotonic() < ends:
        run = settings(
            max_examples=BATCH,
            database=None,
            verbosity=Verbosity.quiet,
            suppress_health_check=list(HealthCheck),
        )(given(content=mutated(target.seeds))(once))
        run()
    return tried


def with_atheris(target: Target, seconds: float) -> None:
    """Run a target under atheris, which ends the process."""
    import atheris

    atheris.instrument_all()
    atheris.Setup(
        [sys.argv[0], f"-max_total_time={int(seconds)}"], lambda data: attempt(target, bytes(data))
    )
    atheris.Fuzz()


def main() -> int:
    """Fuzz the targets one after the other."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("targets", nargs="*", choices=[[], *TARGETS], metavar="TARGET")
    parser.add_argument("--seconds", type=float, default=60.0, help="for each target")
    parser.add_argument(
        "--atheris", action="store_true", help="guided by coverage; one target, pip install atheris"
    )
    options = parser.parse_args()
    names = options.targets or list(TARGETS)
    if options.atheris:
        with_atheris(TARGETS[names[0]], options.seconds)
    for name in names:
        tried = with_hypothesis(name, TARGETS[name], options.seconds)
        print(f"{name:12} {tried:>9,} inputs, no finding", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
