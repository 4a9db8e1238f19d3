"""What the imports have in common: their one file, and names that are looked up by processes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from bootprof.errors import InputError

if TYPE_CHECKING:
    from bootprof.backends import Recording


def only_file(recording: Recording) -> Path:
    """Return the file of an import.

    Raises:
        InputError: There is none, or several.
    """
    if len(recording.files) != 1:
        raise InputError(f"one file to import is needed, not {len(recording.files)}")
    path = next(iter(recording.files.values()))
    if not path.exists() or path.is_dir():
        raise InputError(f"{path}: no such file", hint="give what the tool wrote")
    return path


@dataclass
class Process:
    """What a path of a process counts from.

    Attributes:
        directory: Its working directory; None as long as it is not known. One item, because
            threads share it.
        descriptors: Path of each open file, by its descriptor; shared by threads.
    """

    directory: list[bytes | None] = field(default_factory=lambda: [None])
    descriptors: dict[int, bytes] = field(default_factory=dict)

    def child(self, *, shares_directory: bool, shares_descriptors: bool) -> Process:
        """Return what a new process or thread starts with."""
        return Process(
            self.directory if shares_directory else list(self.directory),
            self.descriptors if shares_descriptors else dict(self.descriptors),
        )

    def absolute(self, path: bytes, base: bytes | None) -> bytes | None:
        """Return a path as it counts from the root directory; None if that is not known.

        ``..`` takes away the name before it: where that name is a symbolic link this is not what
        the kernel does, but only the root file system could tell.

        Args:
            path: As the process gave it.
            base: What it counts from; None for the working directory.
        """
        from optimizer.order import normalise

        if path.startswith(b"/"):
            return normalise(path)
        start = self.directory[0] if base is None else base
        if start is None or not start.startswith(b"/"):
            return None
        return normalise(start + b"/" + path)


class Processes:
    """The processes of a trace, by pid.

    The first process of a boot starts in the root directory. Where others start is not known, until
    the trace tells.
    """

    def __init__(self) -> None:
        self._known: dict[int, Process] = {1: Process([b"/"])}

    def __contains__(self, pid: int) -> bool:
        return pid in self._known

    def __getitem__(self, pid: int) -> Process:
        found = self._known.get(pid)
        if found is None:
            found = self._known[pid] = Process()
        return found

    def fork(self, parent: int, child: int, flags: bytes) -> None:
        """Note a child; a child that has been seen already keeps what it has."""
        if child not in self._known:
            self._known[child] = self[parent].child(
                shares_directory=b"CLONE_FS" in flags, shares_descriptors=b"CLONE_FILES" in flags
            )

    def rename(self, old: int, new: int) -> None:
        """Note that two pids are one process."""
        if old in self._known and new not in self._known:
            self._known[new] = self._known.pop(old)

    def end(self, pid: int) -> None:
        """Forget a process that has ended: its pid will be used again."""
        self._known.pop(pid, None)


def header_of(backend: str, path: Path, more: Mapping[str, str]) -> dict[str, str]:
    """Return the header of a bootlog that was imported."""
    return {"backend": backend, "imported": path.name, **more}
