# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""The folder of a profile: its contents, and what may be replaced.

All files written by the host have fixed names. Files from the guest are in the folder ``guest``,
under names that its backends declare, so that no guest can overwrite a file of the host.

A folder is replaced or removed only if it contains nothing but files of a profile. If it contains
files of the user, bootprof stops before the boot.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from bootprof import __version__, backends
from bootprof.boot.harvest import allowed_files
from bootprof.errors import BootprofError, InputError
from bootprof.files import remove, replacing
from optimizer.formats.text import printable

PROFILE: Final = "profile.json"
FAILURE: Final = "failure.json"
"""Marks a folder with the evidence of a boot that failed, and says how it failed."""
GUEST: Final = "guest"
"""Folder for files from the guest."""
HOST_FILES: Final = frozenset(
    {
        *(PROFILE, FAILURE, GUEST, "bootlog.list", "bootlog.events", "blocktrace.tsv"),
        *("console.log", "nbdkit.log", "drive.statistics"),
    }
)


def foreign_files(folder: Path) -> list[str]:
    """Return the names in a folder that no profile has, sorted."""
    recorded = allowed_files(backends.RECORDERS)
    # Profiles before schema 3 had the guest's files next to the others.
    found = [path.name for path in folder.iterdir() if path.name not in HOST_FILES | recorded]
    guest = folder / GUEST
    if guest.is_dir():
        found += [f"{GUEST}/{path.name}" for path in guest.iterdir() if path.name not in recorded]
    return sorted(found)


def is_ours(folder: Path, mark: str) -> bool:
    """Return whether a folder contains a mark, and only files of a profile."""
    return (
        folder.is_dir()
        and not folder.is_symlink()
        and (folder / mark).is_file()
        and not foreign_files(folder)
    )


def require_replaceable(folder: Path) -> None:
    """Check that a profile may replace what exists.

    Raises:
        InputError: It is something else, or the user has files there.
    """
    if is_ours(folder, PROFILE) or not folder.exists():
        return
    if (folder / PROFILE).is_file():
        raise InputError(
            f"{folder}: not replaced, because it contains {printable(foreign_files(folder)[0])}, "
            "which is not part of a profile",
            hint="move it elsewhere, or choose another folder with --output",
        )
    raise InputError(
        f"{folder}: exists and is not a profile", hint="name another folder with --output"
    )


def failure_folder(folder: Path) -> Path:
    """Return where the evidence of a failed boot goes: a folder that is free, or ours."""
    number = 0
    while True:
        suffix = ".failed" if number == 0 else f".failed-{number}"
        failed = folder.with_name(folder.name + suffix)
        if is_ours(failed, FAILURE) or not (failed.exists() or failed.is_symlink()):
            return failed
        number += 1


@contextlib.contextmanager
def profile_folder(folder: Path) -> Iterator[Path]:
    """Make the folder of a profile, which takes its place if the block ends well.

    If the block fails, what there is of the profile is kept as evidence, and the error's hint says
    where. An earlier profile stays as it is then; it is replaced, and earlier evidence removed,
    by a profile that is whole.

    Args:
        folder: Where the profile goes.

    Yields:
        The folder to write to.

    Raises:
        InputError: What exists may not be replaced.
    """
    if folder.is_symlink():
        # The link stays, and the folder that it leads to is replaced.
        folder = folder.resolve()
    require_replaceable(folder)
    with replacing(folder) as temporary:
        temporary.mkdir()
        try:
            yield temporary
        except BootprofError as error:
            failed = failure_folder(folder)
            # From here on, the files that an error names exist.
            error.message = error.message.replace(str(temporary), str(failed))
            error.hint = error.hint.replace(str(temporary), str(failed))
            record = {"bootprof": __version__, "error": error.message, "hint": error.hint}
            (temporary / FAILURE).write_text(json.dumps(record, indent=2) + "\n")
            remove(failed)
            temporary.rename(failed)
            error.hint = f"{error.hint}; " if error.hint else ""
            error.hint += f"what was recorded of the boot is in {failed}"
            raise
        require_replaceable(folder)
        remove(folder)
    failed = failure_folder(folder)
    if failed.exists():
        remove(failed)
