# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""How well a bootlog agrees with what the workload did."""

from __future__ import annotations

from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from optimizer.formats.events import Bootlog, Operation
from optimizer.formats.text import unescape

# Opens there are many at once, so that their order among processes is unknown.
STORM = "storm"
PREFIX = b"/w/"


@dataclass(frozen=True)
class Access:
    """One line of the workload's list."""

    pid: int
    part: str
    kind: str
    path: bytes


@dataclass(frozen=True)
class Score:
    """How well a list of paths agrees with the truth.

    Attributes:
        accessed: Number of distinct paths that were accessed.
        found: How many of these were listed.
        listed: Number of distinct paths that were listed.
        tau: Kendall's tau-b of the ranks of first access of those found; None below two.
        missed: Paths that were accessed and not listed, in the order of access.
        invented: Paths that were listed and not accessed.
    """

    accessed: int
    found: int
    listed: int
    tau: float | None
    missed: tuple[bytes, ...] = field(repr=False)
    invented: tuple[bytes, ...] = field(repr=False)

    @property
    def recall(self) -> float | None:
        """Share of the accessed paths that were listed."""
        return self.found / self.accessed if self.accessed else None

    @property
    def precision(self) -> float | None:
        """Share of the listed paths that were accessed."""
        return self.found / self.listed if self.listed else None


@dataclass(frozen=True)
class Result:
    """What one recorder was worth on one kernel.

    Attributes:
        parts: Score of each part of the workload, in its order.
        total: Score over all parts but the storm.
        processes: Number of processes that opened or executed something.
        in_order: How many of these have exactly their opens and executions, in their order.
        storm_opens: Number of opens in the storm.
        storm_recorded: How many of these were recorded, one event each.
        lost: Events that the recorder says it lost.
        skipped: How many of these the kernel skipped, which may or may not have been events.
    """

    parts: dict[str, Score]
    total: Score
    processes: int
    in_order: int
    storm_opens: int
    storm_recorded: int
    lost: int
    skipped: int


def read_truth(content: bytes) -> list[Access]:
    """Read the workload's list."""
    accesses = []
    for line in content.splitlines():
        pid, part, kind, path = line.split(b"\t")
        accesses.append(Access(int(pid), part.decode(), kind.decode(), unescape(path)))
    return accesses


def kendall_tau(first: Sequence[float], second: Sequence[float]) -> float | None:
    """Return Kendall's tau-b of two rankings of the same things; None if it is not defined."""
    x = np.sign(np.subtract.outer(np.asarray(first), np.asarray(first)))
    y = np.sign(np.subtract.outer(np.asarray(second), np.asarray(second)))
    scale = float(np.sqrt((x * x).sum() * (y * y).sum()))
    return float((x * y).sum()) / scale if scale else None


def part_of(path: bytes) -> str | None:
    """Return the part of the workload whose folder a path is in."""
    if not path.startswith(PREFIX):
        return None
    return path[len(PREFIX) :].split(b"/", 1)[0].decode(errors="replace")


def score(accessed: Iterable[bytes], listed: Iterable[bytes]) -> Score:
    """Compare two lists of paths, each in the order of access; repeats count once."""
    truth = {path: rank for rank, path in enumerate(dict.fromkeys(accessed))}
    log = {path: rank for rank, path in enumerate(dict.fromkeys(listed))}
    common = [path for path in truth if path in log]
    return Score(
        accessed=len(truth),
        found=len(common),
        listed=len(log),
        tau=kendall_tau([truth[path] for path in common], [log[path] for path in common]),
        missed=tuple(path for path in truth if path not in log),
        invented=tuple(path for path in log if path not in truth),
    )


def sequences(log: Bootlog, aside: Container[bytes]) -> dict[int, list[tuple[str, bytes]]]:
    """Return what each process opened and executed below the workload's folder, in order.

    Args:
        log: A bootlog.
        aside: Paths that are left out.
    """
    names = {int(Operation.OPEN): "open", int(Operation.EXEC): "exec"}
    wanted = {
        index
        for index, path in enumerate(log.paths)
        if path.startswith(PREFIX) and path not in aside
    }
    found: dict[int, list[tuple[str, bytes]]] = {}
    events = log.events[np.isin(log.events["operation"], list(names))]
    for pid, operation, path in zip(
        events["pid"].tolist(), events["operation"].tolist(), events["path"].tolist(), strict=True
    ):
        if path in wanted:
            found.setdefault(pid, []).append((names[operation], log.paths[path]))
    return found


def evaluate(truth: Sequence[Access], log: Bootlog) -> Result:
    """Compare a bootlog with the truth; what happened outside the workload does not count."""
    accessed: dict[str, list[bytes]] = {access.part: [] for access in truth}
    listed: dict[str, list[bytes]] = {part: [] for part in accessed}
    expected: dict[int, list[tuple[str, bytes]]] = {}
    neither = {access.path for access in truth if access.kind == "may"}
    for access in truth:
        if access.kind not in ("never", "may"):
            accessed[access.part].append(access.path)
        if access.kind in ("open", "exec"):
            expected.setdefault(access.pid, []).append((access.kind, access.path))
    for path in log.paths:
        part = part_of(path)
        if part in listed and path not in neither:
            listed[part].append(path)
    calm = [part for part in accessed if part != STORM]
    recorded = sequences(log, {access.path for access in truth if access.kind == "async"})
    return Result(
        parts={part: score(accessed[part], listed[part]) for part in accessed},
        total=score(
            (path for part in calm for path in accessed[part]),
            (path for path in log.paths if part_of(path) in calm and path not in neither),
        ),
        processes=len(expected),
        in_order=sum(recorded.get(pid) == steps for pid, steps in expected.items()),
        storm_opens=len(accessed[STORM]),
        storm_recorded=sum(
            kind == "open" and part_of(path) == STORM
            for steps in recorded.values()
            for kind, path in steps
        ),
        lost=log.lost,
        skipped=int(log.header.get("skipped", "0")),
    )
