# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""The processes of a trace: what their relative paths and their descriptors count from."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from bootprof.imports.common.source import PATH_BYTES, RecordError

_BITS: Final = 4
_SLOTS: Final = 1 << _BITS
_LEVELS: Final = 5
DESCRIPTOR_LIMIT: Final = _SLOTS**_LEVELS
"""1,048,576: fs.nr_open of the kernel as it comes."""

_Node = tuple[object, ...]
_EMPTY: Final[_Node] = (None,) * _SLOTS


class Descriptors:
    """Path of each open file, by its descriptor.

    A tree of small tuples that never change: a fork shares it whole, and an open makes five new
    tuples. A copy for each fork would take time and memory in proportion to forks times files.
    """

    def __init__(self, top: _Node | None = None) -> None:
        self._top = top

    def copy(self) -> Descriptors:
        """Return a copy for a child: changes of one do not affect the other."""
        return Descriptors(self._top)

    def get(self, number: int) -> bytes | None:
        """Return the path of a descriptor; None if it is not known."""
        node: object = self._top
        if not 0 <= number < DESCRIPTOR_LIMIT:
            return None
        for level in range(_LEVELS - 1, -1, -1):
            if not isinstance(node, tuple):
                return None
            node = node[number >> level * _BITS & _SLOTS - 1]
        return node if isinstance(node, bytes) else None

    def set(self, number: int, path: bytes | None) -> None:
        """Note the path of a descriptor; None if it is closed or its path is not known."""
        if 0 <= number < DESCRIPTOR_LIMIT and (path is not None or self.get(number) is not None):
            self._top = self._with(self._top, _LEVELS - 1, number, path)

    def _with(self, node: object, level: int, number: int, path: bytes | None) -> _Node:
        slots = node if isinstance(node, tuple) else _EMPTY
        place = number >> level * _BITS & _SLOTS - 1
        item = path if level == 0 else self._with(slots[place], level - 1, number, path)
        return (*slots[:place], item, *slots[place + 1 :])


@dataclass
class Process:
    """Base of the relative paths of a process.

    Attributes:
        directory: Its working directory; None while it is unknown. One item, because
            threads share it.
        root: Its root directory, ``b""`` for that of the tracer; None if it is not known. Likewise.
        descriptors: Path of each open file; shared by threads.
    """

    directory: list[bytes | None] = field(default_factory=lambda: [None])
    root: list[bytes | None] = field(default_factory=lambda: [b""])
    descriptors: Descriptors = field(default_factory=Descriptors)

    def child(self, *, shares_directory: bool, shares_descriptors: bool) -> Process:
        """Return the initial state of a new process or thread."""
        return Process(
            self.directory if shares_directory else list(self.directory),
            self.root if shares_directory else list(self.root),
            self.descriptors if shares_descriptors else self.descriptors.copy(),
        )

    def absolute(self, path: bytes, base: bytes | None) -> bytes | None:
        """Return a path relative to the tracer's root directory; None if that is unknown.

        ``..`` takes away the name before it: where that name is a symbolic link this is not what
        the kernel does, but only the root file system could show it.

        Args:
            path: As the process gave it.
            base: What it is relative to; None for the working directory.

        Raises:
            RecordError: It is longer than the kernel allows.
        """
        from optimizer.order import normalise

        root = self.root[0]
        if root is None:
            return None
        if path.startswith(b"/"):
            whole = normalise(path)
            whole = (root + whole).rstrip(b"/") or b"/" if root else whole
        else:
            start = self.directory[0] if base is None else base
            if start is None or not start.startswith(b"/"):
                return None
            inside = start.removeprefix(root) if (start + b"/").startswith(root + b"/") else None
            if root and inside is not None:
                whole = (root + normalise(inside + b"/" + path)).rstrip(b"/")
            else:
                whole = normalise(start + b"/" + path)
        if len(whole) > PATH_BYTES:
            raise RecordError
        return whole

    def enter_root(self, path: bytes | None) -> None:
        """Note a chroot(2)."""
        self.root[0] = path if path is None else path.rstrip(b"/")


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
        """Register a child; a child that is already known keeps its state."""
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
