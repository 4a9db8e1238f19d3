# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""Block traces of several builds, side by side: metrics, ratios, and what may be compared."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import BinaryIO, Literal

from bootprof.errors import BootprofError, InputError
from bootprof.files import STANDARD_STREAM
from bootprof.report.conditions import (
    Conditions,
    accelerators_of,
    conditions_of,
    read_description,
    why_boot_times_differ,
    why_guest_times_differ,
)
from bootprof.units import NOTABLE, change, quantity
from optimizer.drives.models import Drive
from optimizer.drives.seek import bound_seconds, modelled_seconds, totals_of
from optimizer.formats import TRACE_NAME
from optimizer.formats.blocktrace import BlockTrace, read_block_trace
from optimizer.formats.text import printable

BOOT_TIME, GUEST_TIME = "boot-time", "guest-time"


@dataclass(frozen=True)
class Metric:
    """One row of a comparison. Less is better, for every metric.

    Attributes:
        name: In JSON and in ``--fail-above``.
        title: In the table.
        unit: ``reads``, ``bytes`` or ``seconds``.
        is_bound: Whether it is the cost of one ascending pass, rather than that of the trace.
    """

    name: str
    title: str
    unit: str
    is_bound: bool = False


@dataclass(frozen=True, eq=False)
class Build:
    """One build's block trace.

    Attributes:
        label: The name of the build.
        path: The block trace file, or ``-`` for standard input.
        trace: Its content.
        conditions: How it was recorded, as far as known.
    """

    label: str
    path: Path
    trace: BlockTrace
    conditions: Conditions = field(default_factory=Conditions)


@dataclass(frozen=True)
class Change:
    """How a metric of a build differs from that of the first one.

    Attributes:
        text: Text to show.
        direction: ``less`` is better; empty if the change is small or meaningless.
    """

    text: str
    direction: Literal["less", "more", ""] = ""


@dataclass(frozen=True, eq=False)
class Comparison:
    """The metrics of several builds.

    Attributes:
        builds: The builds; all others are compared with the first.
        drives: Drives that times are modelled for.
        metrics: The metrics that are compared.
        values: For each build a value for each metric; None if there is none: the image does not
            fit on the drive, or the guest's clock was not recorded.
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

    def why_not_comparable(self, build: int, metric: str) -> str:
        """Return why the ratio of a metric means nothing; empty if it means something.

        Args:
            build: Number of the build that is compared with the first one.
            metric: Name of the metric.
        """
        if build == 0 or metric not in (BOOT_TIME, GUEST_TIME):
            return ""
        first, other = self.builds[0].conditions, self.builds[build].conditions
        reason_of = why_boot_times_differ if metric == BOOT_TIME else why_guest_times_differ
        return reason_of(first, other)

    def value_text(self, build: int, metric: Metric) -> str:
        """Return a value as text."""
        value = self.value(build, metric.name)
        if value is None:
            return "not recorded" if metric.name == GUEST_TIME else "does not fit"
        return quantity(value, metric.unit)

    def change(self, build: int, metric: Metric) -> Change:
        """Return how a metric of a build differs from that of the first build."""
        ratio = self.ratio(build, metric.name)
        if ratio is None:
            return Change("")
        if self.why_not_comparable(build, metric.name):
            return Change("not comparable")
        if ratio < 1 - NOTABLE:
            return Change(change(ratio), "less")
        return Change(change(ratio), "more" if ratio > 1 + NOTABLE else "")

    def remarks(self) -> list[str]:
        """Return a sentence for each reason why times to the boot target are not comparable."""
        reasons: dict[tuple[str, str], list[str]] = {}
        for metric in self.metrics:
            for place, build in enumerate(self.builds):
                reason = self.why_not_comparable(place, metric.name)
                if reason and self.ratio(place, metric.name) is not None:
                    reasons.setdefault((metric.title, reason), []).append(build.label)
        first = self.builds[0].label
        return [
            f"{title}: {' and '.join(labels)} cannot be compared with {first}: {reason}."
            for (title, reason), labels in reasons.items()
        ]


def read_build(stream: BinaryIO, file: Path, label: str | None = None) -> Build:
    """Read the block trace of a build, and how it was recorded.

    Args:
        stream: The block trace.
        file: Its file, or ``-`` for standard input; the other files of the profile are next to it.
        label: The name of the build; by default that of the folder or of the file.

    Raises:
        FormatError: It is no block trace.
    """
    is_profile = file.name == TRACE_NAME
    if label is None:
        label = file.resolve().parent.name if is_profile else file.stem
        label = "standard input" if file == STANDARD_STREAM else label
    conditions = Conditions()
    # A description next to a block trace of another name may be of another boot.
    if is_profile:
        # Its errors are shown in the details of the build; the metrics do not need it.
        with contextlib.suppress(BootprofError, OSError):
            conditions = conditions_of(read_description(file.parent))
    return Build(printable(label), file, read_block_trace(stream, str(file)), conditions)


def compare(builds: Sequence[Build], drives: Sequence[Drive]) -> Comparison:
    """Compute the metrics of several builds.

    Args:
        builds: At least one build. Equal labels get a number.
        drives: Drives that times are modelled for.

    Raises:
        InputError: Two drives have the same name, or a drive has that of another metric.
    """
    conditions = [build.conditions for build in builds]
    metrics = [
        Metric("reads", "reads", "reads"),
        Metric("bytes", "bytes read", "bytes"),
        Metric("unique-bytes", "unique bytes", "bytes"),
        Metric("non-contiguous", "non-contiguous reads", "reads"),
        Metric("seek-distance", "seek distance", "bytes"),
        Metric(BOOT_TIME, boot_time_title("host's clock", conditions), "seconds"),
    ]
    counted = [each for each in conditions if each.guest_seconds]
    if counted:
        metrics.append(Metric(GUEST_TIME, boot_time_title("guest's clock", counted), "seconds"))
    for drive in drives:
        title = f"modelled I/O on {printable(drive.title)}"
        metrics.append(Metric(drive.name, title, "seconds"))
        metrics.append(
            Metric(f"{drive.name}-bound", "  bound (one ascending pass)", "seconds", True)
        )
    names = [metric.name for metric in metrics]
    for name in names:
        if names.count(name) > 1:
            raise InputError(
                f"two metrics are called {name}", hint="give each drive once, with its own name"
            )
    return Comparison(
        builds=tuple(numbered(builds)),
        drives=tuple(drives),
        metrics=tuple(metrics),
        values=tuple(tuple(values_of(build, drives, guest=bool(counted))) for build in builds),
    )


def boot_time_title(clock: str, conditions: Sequence[Conditions]) -> str:
    """Return the title of a time to the boot target, which holds for the booted machine only."""
    where = ", ".join(part for part in (clock, accelerators_of(conditions)) if part)
    return f"time to boot target ({where})"


def numbered(builds: Sequence[Build]) -> list[Build]:
    """Add a number to labels that are equal."""
    labels = [build.label for build in builds]
    return [
        replace(build, label=f"{build.label} ({number})")
        if labels.count(build.label) > 1
        else build
        for number, build in enumerate(builds, 1)
    ]


def values_of(build: Build, drives: Sequence[Drive], *, guest: bool) -> list[float | None]:
    """Return the values of one build in the order of the metrics of :func:`compare`.

    Args:
        build: The build.
        drives: Drives that times are modelled for.
        guest: Whether the time by the guest's clock is among the metrics.
    """
    trace = build.trace
    found = totals_of(trace.reads)
    values: list[float | None] = [
        found.reads,
        found.bytes,
        found.unique_bytes,
        found.noncontiguous_reads,
        found.seek_distance_bytes,
        trace.target_ns / 1e9,
    ]
    if guest:
        values.append(build.conditions.guest_seconds or None)
    for drive in drives:
        if trace.image_bytes > drive.capacity_bytes:
            values += [None, None]
        else:
            values += [modelled_seconds(trace.reads, drive), bound_seconds(trace.reads, drive)]
    return values
