"""What the recorders that write a rich bootlog themselves have in common."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bootprof.errors import InputError

if TYPE_CHECKING:
    from bootprof.backends import Recording
    from optimizer.formats.events import Bootlog


def read_rich(recording: Recording, name: str) -> Bootlog:
    """Read one of the recorded files as a rich bootlog.

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
        raise InputError(f"{name}: not recorded", hint="see what the guest's agent said of itself")
    with path.open("rb") as stream:
        return read_bootlog(stream, str(path))
