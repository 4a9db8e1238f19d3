# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""``python -m tests.fuzz [--seconds N] [TARGET...]``: fuzz for as long as one likes.

With atheris installed the search is guided by coverage; without it, inputs are changed at random by
Hypothesis, which makes a failing one as small as it can.
"""

from __future__ import annotations

import argparse
import importlib.util
import re
import subprocess
import sys
import time
from pathlib import Path

from hypothesis import HealthCheck, Verbosity, given, settings

import tests.conftest  # noqa: F401 - its profile of Hypothesis
from tests.fuzz.mutations import mutated
from tests.fuzz.targets import TARGETS, Target, attempt

BATCH = 1000
EXECUTED = re.compile(r"stat::number_of_executed_units: *(\d+)")


def with_hypothesis(target: Target, seconds: float) -> int:
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


def with_atheris(name: str, corpus: Path, seconds: float) -> int:
    """Run a target under atheris; return how many inputs were tried.

    Args:
        name: Of the target.
        corpus: Folder for inputs that reach new code, from which a later run goes on, and for
            inputs that fail.
        seconds: How long.

    Raises:
        SystemExit: An input failed; it is saved in the folder.
    """
    command = [sys.executable, "-m", "tests.fuzz.guided", name, str(corpus), str(int(seconds))]
    done = subprocess.run(command, capture_output=True, check=False)
    said = done.stderr.decode(errors="replace") + done.stdout.decode(errors="replace")
    executed = EXECUTED.search(said)
    if done.returncode or executed is None:
        print(said[-4000:], file=sys.stderr)
        sys.exit(f"{name}: a finding; the input is in {corpus}")
    return int(executed[1])


def main() -> int:
    """Fuzz the targets one after the other."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("targets", nargs="*", choices=[[], *TARGETS], metavar="TARGET")
    parser.add_argument("--seconds", type=float, default=60.0, help="for each target")
    parser.add_argument(
        "--corpus", type=Path, default=Path("build/fuzz"), help="where atheris keeps its inputs"
    )
    parser.add_argument("--random", action="store_true", help="without atheris")
    options = parser.parse_args()
    guided = not options.random and importlib.util.find_spec("atheris") is not None
    print("guided by coverage (atheris)" if guided else "at random (Hypothesis)")
    for name in options.targets or TARGETS:
        if guided:
            tried = with_atheris(name, options.corpus / name, options.seconds)
        else:
            tried = with_hypothesis(TARGETS[name], options.seconds)
        print(f"{name:12} {tried:>9,} inputs, no finding", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
