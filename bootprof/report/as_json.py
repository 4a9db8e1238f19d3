# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""The comparison as JSON: every value of the table and of the report.

docs/commands/compare.md describes the keys.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from bootprof.report.comparison import Comparison
from bootprof.report.conditions import Conditions
from bootprof.report.details import Details
from bootprof.report.imagemap import ImageMap
from bootprof.report.seeks import seek_histogram
from bootprof.report.timeline import Row, Timeline
from optimizer.analysis import Analysis, cause_rows

SCHEMA_VERSION = 1

Json = dict[str, object]


def as_json(
    comparison: Comparison, details: Sequence[Details], files: Sequence[Path], report: Path | None
) -> Json:
    """Return the comparison as JSON has it.

    Args:
        comparison: The builds and their metrics.
        details: What else is known of each build, in their order.
        files: Files of plots that were written.
        report: File of the report, if one was written.
    """
    histogram = seek_histogram(comparison.builds)
    builds: list[Json] = []
    for place, (build, known) in enumerate(zip(comparison.builds, details, strict=True)):
        trace = build.trace
        builds.append(
            {
                "label": build.label,
                "path": str(build.path),
                "image": trace.image,
                "image_bytes": trace.image_bytes,
                "image_sha256": trace.image_sha256 or None,
                "conditions": conditions_json(build.conditions),
                "metrics": metrics_of(comparison, place),
                "seeks_by_length": {
                    "contiguous_reads": int(histogram.contiguous[place]),
                    "seeks": histogram.counts[place].tolist(),
                    "distance_bytes": histogram.distances_bytes[place].tolist(),
                },
                "image_map": map_of(known.image_map) if known.image_map else None,
                "causes": causes_of(known.causes) if known.causes else None,
                "timeline": timeline_of(known.timeline) if known.timeline else None,
                "absent": dict(known.absent),
            }
        )
    return {
        "schema": SCHEMA_VERSION,
        "builds": builds,
        "seek_length_edges_bytes": histogram.edges_bytes.tolist(),
        "drives": [asdict(drive) for drive in comparison.drives],
        "plots": [str(plot) for plot in files],
        "report": str(report) if report else None,
    }


def metrics_of(comparison: Comparison, place: int) -> dict[str, Json]:
    """Return the metrics of a build, given by its number."""
    metrics: dict[str, Json] = {}
    for metric in comparison.metrics:
        ratio = comparison.ratio(place, metric.name)
        reason = comparison.why_not_comparable(place, metric.name)
        metrics[metric.name] = {
            "unit": metric.unit,
            "value": comparison.value(place, metric.name),
            # JSON has no infinity.
            "ratio": None if ratio is None or math.isinf(ratio) or reason else ratio,
        }
        if reason:
            metrics[metric.name]["not_comparable"] = reason
    return metrics


def conditions_json(conditions: Conditions) -> Json:
    """Return how a build was recorded; null where that is not recorded."""
    return {name: value or None for name, value in asdict(conditions).items()}


def map_of(found: ImageMap) -> list[Json]:
    """Return what lies on an image and how much of it was read, by kind."""
    return [
        {
            "kind": lane.title,
            "bytes": round(lane.held_bytes.sum()),
            "read_bytes": round(lane.read_bytes.sum()),
            "needed_bytes": round(lane.needed_bytes.sum()) if found.knows_need else None,
        }
        for lane in found.lanes
    ]


def causes_of(causes: Analysis) -> Json:
    """Return the attribution of a build."""
    return {
        "drive": causes.drive.name,
        "modelled_seconds": causes.modelled_seconds,
        "limit_seconds": causes.limit_seconds,
        "read_limit_seconds": causes.read_limit_seconds,
        "files": causes.files,
        "missing": len(causes.missing),
        "causes": [asdict(row) for row in cause_rows(causes.found)],
    }


def timeline_of(timeline: Timeline) -> Json:
    """Return the timeline: accesses by process and folder."""

    def rows(found: Sequence[Row]) -> list[Json]:
        return [
            {
                "title": row.title,
                "first_ns": row.first_ns,
                "last_ns": row.last_ns,
                "events": int(row.events.sum()),
                "files": row.files,
                "first_touched_files": row.new_files,
                "first_touched_bytes": row.new_bytes,
                "examples": list(row.examples),
            }
            for row in found
        ]

    return {
        "events": timeline.events,
        "lost": timeline.lost,
        "processes": rows(timeline.processes),
        "folders": rows(timeline.folders),
    }
