# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""An ordinary user with subordinate IDs, whom only one command's mount namespace knows."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from bootprof.process import program

UID, FIRST_SUBORDINATE, SUBORDINATE_IDS = 54321, 200_000, 65536
NAME = "builder"


def as_user(
    folder: Path, command: Sequence[str | Path], subordinate_ids: int = SUBORDINATE_IDS
) -> list[str | Path]:
    """Return what runs a command as this user; the machine's own files are not changed.

    Args:
        folder: For the files that replace those of /etc.
        command: Program and arguments.
        subordinate_ids: How many the user has.
    """
    passwd = Path("/etc/passwd").read_text() + f"{NAME}:x:{UID}:{UID}::/nonexistent:/bin/sh\n"
    ids = f"{NAME}:{FIRST_SUBORDINATE}:{subordinate_ids}\n"
    for name, content in (
        ("passwd", passwd),
        ("group", Path("/etc/group").read_text() + f"{NAME}:x:{UID}:\n"),
        ("subuid", ids),
        ("subgid", ids),
    ):
        (folder / name).write_text(content)
    script = 'for name in passwd group subuid subgid; do mount --bind "$0/$name" "/etc/$name"; done'
    drop = [program("setpriv"), f"--reuid={UID}", f"--regid={UID}", "--clear-groups"]
    return [
        *("unshare", "--mount", "sh", "-ec", f'{script}; exec "$@"', folder),
        *(*drop, "env", "HOME=/nonexistent", *command),
    ]
