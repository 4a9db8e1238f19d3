"""A root tree bootstrapped from Debian packages by mmdebstrap."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from bootprof.builder.config import System
from bootprof.process import ISOLATED, program, run


def bootstrap_command(system: System) -> list[str]:
    """Return the command that bootstraps a system, but for the folder and the mirrors."""
    return [
        "mmdebstrap",
        "--variant=minbase",
        f"--architectures={system.arch}",
        f"--components={','.join(system.components)}",
        f"--include={','.join(sorted(system.packages))}",
        # The archive's copy of a moving suite can be older than its Release file allows.
        *(['--aptopt=Acquire::Check-Valid-Until "false"'] if system.suite == "sid" else []),
        system.suite,
    ]


def bootstrap(
    system: System, target: Path, *, log_file: Path, progress: Callable[[str], None]
) -> None:
    """Bootstrap a root tree.

    Args:
        system: What to install.
        target: Folder to make; it is whole only when this function has returned.
        log_file: Where the output of mmdebstrap goes.
        progress: Called with the last line of that output.
    """
    name, *arguments = bootstrap_command(system)
    run(
        [*ISOLATED, program(name), *arguments, target, *system.mirrors],
        env=system.install_env,
        log_file=log_file,
        progress=progress,
    )
