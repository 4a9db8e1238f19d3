"""Block traces of several builds, side by side: the figures, their ratios, and their JSON."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bootprof.errors import InputError
from optimizer.drives.models import Drive
from optimizer.drives.seek import bound_seconds, figures, modelled_seconds
from optimizer.formats.blocktrace import BlockTrace, read_block_trace

TRACE_NAME = "blocktrace.tsv"


@dataclass(frozen=True)
class Metric:
    """One row of a comparison. Less is better, for every metric.

    Attributes:
        name: In JSON and in ``--fail-above``.
        title: In the table.
        unit: ``reads``, ``bytes`` or ``seconds``.
        is_bound: Whether it is what the trace could cost at best, rather than what it costs.
    """

    name: str
    title: str
    unit: str
    is_bound: bool = False


@dataclass(frozen=True, eq=False)
class Build:
    """One build's block trace.

    Attributes:
        label: What people call the build.
        path: The block trace file.
        trace: What is in it.
    """

    label: str
    path: Path
    trace: BlockTrace


@dataclass(frozen=True, eq=False)
class Comparison:
    """The figures of several builds.

    Attributes:
        builds: The builds; the first one is what the others are compared with.
        drives: Drives that times are modelled for.
        metrics: What is compared.
        values: For each build a value for each metric; None if there is none, because the image
            does not fit on the drive.
    """

    builds: tuple[Build, ...]
    drives: tuple[Drive, ...]
    metrics: tuple[Metric, ...]
    values: tuple[tuple[float | None, ...], ...]

    def value(self, build: int, metric: str) -> float | None:
        """Return the value of a metric, given by its name, for a build, given by its number."""
        names = [known.name for known in self.metrics]
        return self.values[build][names.index(metric)]

    def ratio(self, build: int, metric: str) -> float | None:
        """Return the value of a build divided by the value of the first one.

        It is infinite where the first one is 0, and 1 where both are; None if a value is missing.
        """
        first, other = self.value(0, metric), self.value(build, metric)
        if first is None or other is None:
            return None
        if first == 0:
            return 1.0 if other == 0 else math.inf
        return other / first


def load_build(path: Path, label: str | None = None) -> Build:
    """Read the block trace of a build.

    Args:
        path: A block trace file, or the folder of a profile that has one.
        label: What to call the build; by default the name of the folder or of the file.

    Raises:
        InputError: There is no such file.
        FormatError: It is no block trace.
    """
    file = path / TRACE_NAME if path.is_dir() else path
    if not file.exists():
        if path.is_dir():
            raise InputError(
                f"{path}: holds no {TRACE_NAME}", hint="make a profile with bootprof profile"
            )
        raise InputError(
            f"{path}: no such file or folder", hint="make a profile with bootprof profile"
        )
    with file.open("rb") as stream:
        trace = read_block_trace(stream, str(file))
    if label is None:
        label = file.resolve().parent.name if file.name == TRACE_NAME else file.stem
    return Build(label=printable(label), path=file, trace=trace)


def printable(label: str) -> str:
    """Replace what neither a terminal nor a plot can show."""
    return "".join(character if character.isprintable() else "?" for character in label)


def compare(builds: Sequence[Build], drives: Sequence[Drive]) -> Comparison:
    """Compute the figures of several builds.

    Args:
        builds: At least one build. Where labels are alike, they are told apart by a number.
        drives: Drives that times are modelled for.

    Raises:
        InputError: Two drives have the same name, or a drive has that of another metric.
    """
    metrics = [
        Metric("reads", "reads", "reads"),
        Metric("bytes", "bytes read", "bytes"),
        Metric("unique-bytes", "unique bytes", "bytes"),
        Metric("non-contiguous", "non-contiguous reads", "reads"),
        Metric("seek-distance", "seek distance", "bytes"),
        Metric("boot-time", "time to boot target", "seconds"),
    ]
    for drive in drives:
        metrics.append(Metric(drive.name, f"modelled I/O on {drive.title}", "seconds"))
        metrics.append(Metric(f"{drive.name}-bound", "  at best, one pass", "seconds", True))
    names = [metric.name for metric in metrics]
    for name in names:
        if names.count(name) > 1:
            raise InputError(
                f"two metrics are called {name}", hint="give each drive once, with its own name"
            )
    return Comparison(
        builds=tuple(told_apart(builds)),
        drives=tuple(drives),
        metrics=tuple(metrics),
        values=tuple(tuple(values_of(build.trace, drives)) for build in builds),
    )


def told_apart(builds: Sequence[Build]) -> list[Build]:
    """Number the builds whose labels are alike."""
    labels = [build.label for build in builds]
    return [
        Build(f"{build.label} ({number})", build.path, build.trace)
        if labels.count(build.label) > 1
        else build
        for number, build in enumerate(builds, 1)
    ]


def values_of(trace: BlockTrace, drives: Sequence[Drive]) -> list[float | None]:
    """Return the values of one build in the order of the metrics of :func:`compare`."""
    found = figures(trace.reads)
    values: list[float | None] = [
        found.reads,
        found.bytes,
        found.unique_bytes,
        found.noncontiguous_reads,
        found.seek_distance_bytes,
        trace.target_ns / 1e9,
    ]
    for drive in drives:
        if trace.image_bytes > drive.capacity_bytes:
            values += [None, None]
        else:
            values += [modelled_seconds(trace.reads, drive), bound_seconds(trace.reads, drive)]
    return values
