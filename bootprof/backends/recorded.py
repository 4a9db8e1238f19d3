# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""Backends whose recorder in the guest writes a bootlog in ``events`` format itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bootprof.errors import InputError

if TYPE_CHECKING:
    from bootprof.backends import Recording
    from optimizer.formats.events import Bootlog


def read_recorded(recording: Recording, name: str) -> Bootlog:
    """Read one of the recorded files as a bootlog in ``events`` format.

    Args:
        recording: What was recorded.
        name: Name of the file.

    Raises:
        InputError: It was not recorded.
        FormatError: It is damaged.
    """
    from optimizer.formats.bootlog import read_bootlog

    path = recording.files.get(name)
    if path is None:
        raise InputError(f"{name}: not recorded", hint="guest/agent.log shows what the agent did")
    with path.open("rb") as stream:
        return read_bootlog(stream, str(path))
