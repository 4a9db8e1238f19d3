# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""A root tree bootstrapped from Debian packages by mmdebstrap."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from bootprof.builder import languages
from bootprof.builder.config import System
from bootprof.process import ISOLATED, program, run


def command(
    suite: str,
    architecture: str,
    packages: Sequence[str],
    components: Sequence[str] = (),
    options: Sequence[str] = (),
) -> list[str]:
    """Return the command that bootstraps a system, but for the folder and the mirrors.

    Args:
        suite: Debian suite.
        architecture: Debian architecture.
        packages: Packages on top of the minimal base system.
        components: Archive components; mmdebstrap's default if empty.
        options: Further options of mmdebstrap.
    """
    patterns = [name for name in packages if name.startswith(("?", "~"))]
    names = [name for name in packages if name not in patterns]
    return [
        *(*ISOLATED, program("mmdebstrap"), "--variant=minbase", f"--architectures={architecture}"),
        *([f"--components={','.join(components)}"] if components else []),
        f"--include={','.join(names)}",
        # mmdebstrap takes commas in an option that begins like a pattern for a part of it.
        *(f"--include={pattern}" for pattern in patterns),
        *options,
        # The archive's copy of a moving suite can be older than its Release file allows.
        *(['--aptopt=Acquire::Check-Valid-Until "false"'] if suite == "sid" else []),
        suite,
    ]


def command_of(system: System, keyring: Path | None) -> list[str]:
    """Return the command that bootstraps the system of an image.

    Args:
        system: Which.
        keyring: File or folder of keys that the archive is checked with; None for Debian's.
    """
    options = [*languages.preseed(system), *([f"--keyring={keyring}"] if keyring else [])]
    packages = languages.packages(system)
    return command(system.suite, system.arch, packages, system.components, options)


def bootstrap(
    words: Sequence[str],
    target: Path,
    mirrors: Sequence[str],
    *,
    log_file: Path,
    progress: Callable[[str], None],
    env: Mapping[str, str] | None = None,
) -> None:
    """Bootstrap a root tree.

    Args:
        words: From :func:`command`.
        target: Folder to make; it is whole only when this function has returned.
        mirrors: Archive addresses for mmdebstrap; if empty, mmdebstrap chooses them.
        log_file: Where the output of mmdebstrap goes.
        progress: Called with the last line of that output.
        env: Variables that package scripts see.
    """
    log_file.unlink(missing_ok=True)
    run([*words, target, *mirrors], env=env, log_file=log_file, progress=progress)
