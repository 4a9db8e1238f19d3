# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""Plots as inline SVG, with text of the same size for any width of the page.

The coordinates of text and lines are percentages of the plotting area, so the figure fills the
width of its column. Only the marks are scaled, in a nested SVG of :data:`AREA` by :data:`AREA`
units. Colours are CSS variables of the page (``--ink``, ``--build-0`` ...), so one rendering serves
light and dark.
"""

from __future__ import annotations

import html
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from optimizer.formats.text import printable

AREA = 1000
"""Width and height of a plotting area in its own units; y grows downwards."""

Tick = tuple[float, str]


@dataclass(frozen=True)
class Axis:
    """One axis of a plot.

    Attributes:
        low: Value at its start; over 0 on a logarithmic axis.
        high: Value at its end.
        title: Quantity, with the unit.
        ticks: Value and label of each tick.
        logarithmic: Whether it is.
    """

    low: float
    high: float
    title: str
    ticks: tuple[Tick, ...]
    logarithmic: bool = False

    def share(self, value: float) -> float:
        """Return the position of a value: 0 at the start of the axis, 1 at its end."""
        low, high = self.low, self.high
        if self.logarithmic:
            low, high, value = (math.log10(each) for each in (low, high, value))
        return (value - low) / (high - low)


def linear_axis(high: float, title: str, *, ticks: int = 6, margin: float = 0.0) -> Axis:
    """Return an axis from 0 with ticks on round numbers.

    Args:
        high: Largest value that it has to show; not negative.
        title: Quantity, with the unit.
        ticks: How many there may be after that at 0.
        margin: Room before 0 and after ``high``, as a share of ``high``.
    """
    high = high or 1.0
    power = 10.0 ** math.floor(math.log10(high / ticks))
    step = next(factor * power for factor in (1, 2, 5, 10) if high / (factor * power) <= ticks)
    decimals = max(0, -math.floor(math.log10(step) + 1e-9))
    values = [number * step for number in range(math.floor(high / step + 1e-9) + 1)]
    labelled = tuple((value, f"{value:,.{decimals}f}") for value in values)
    return Axis(-margin * high, (1 + margin) * high, title, labelled)


def escape(text: str) -> str:
    """Return text that is valid anywhere in the page: in an element or in an attribute."""
    visible = (printable(line, limit=None) for line in text.split("\n"))
    return html.escape("\n".join(visible), quote=True)


def number(value: float) -> str:
    """Write a coordinate with as few characters as it needs."""
    text = f"{value:.2f}".rstrip("0").rstrip(".")
    return "0" if text in ("", "-0") else text


def percent(share: float) -> str:
    """Write a share of 1 as a percentage."""
    return f"{number(100 * share)}%"


def text(
    across: float, down: float, content: str, *, kind: str = "", dx: float = 0, dy: float = 0
) -> str:
    """Return a text.

    Args:
        across: Where, as a share of the width.
        down: Where, as a share of the height.
        content: The text.
        kind: Classes of the style sheet.
        dx: Pixels to the right of there.
        dy: Pixels below.
    """
    classes = f' class="{kind}"' if kind else ""
    return (
        f'<text x="{percent(across)}" y="{percent(down)}" dx="{number(dx)}" dy="{number(dy)}"'
        f"{classes}>{escape(content)}</text>"
    )


def area(body: str) -> str:
    """Return the nested SVG of the marks; what goes over its edge is cut."""
    return (
        f'<svg class="area" width="100%" height="100%" viewBox="0 0 {AREA} {AREA}"'
        f' preserveAspectRatio="none">{body}</svg>'
    )


def dash_array(dashes: Sequence[int]) -> str:
    """Return the attribute for dashes and gaps of these lengths in pixels; none for no dashes."""
    return f' stroke-dasharray="{" ".join(map(str, dashes))}"' if dashes else ""


def line(points: Iterable[tuple[float, float]], *, colour: str, dashes: Sequence[int] = ()) -> str:
    """Return a line through points in units of the area."""
    path = "L".join(f"{number(across)} {number(down)}" for across, down in points)
    return f'<path class="line" d="M{path}" style="stroke:{colour}"{dash_array(dashes)}/>'


def boxes(places: Iterable[tuple[float, float, float, float]]) -> str:
    """Return the path data of boxes: left, top, width and height in units of the area."""
    return "".join(
        f"M{number(left)} {number(top)}h{number(width)}v{number(height)}h-{number(width)}z"
        for left, top, width, height in places
    )


def inked(png: str, name: str, colour: str) -> str:
    """Return a picture that is used as a mask for a colour.

    Args:
        png: The picture as a data URI; white lets all of the colour through, black nothing.
        name: Of the mask; there may be one of this name on the page.
        colour: The colour.
    """
    size = f'width="{AREA}" height="{AREA}"'
    return (
        f'<mask id="{name}" maskUnits="userSpaceOnUse" x="0" y="0" {size}>'
        f'<image {size} preserveAspectRatio="none" href="{png}"/></mask>'
        f'<rect {size} mask="url(#{name})" style="fill:{colour}"/>'
    )


def plot(
    across: Axis,
    up: Axis,
    marks: str,
    *,
    description: str,
    height_pixels: int = 260,
    above: str = "",
) -> str:
    """Return a plot with two axes.

    Args:
        across: The horizontal axis.
        up: The vertical axis; its title is above it.
        marks: What is drawn, in units of the area.
        description: What it shows, for screen readers.
        height_pixels: Height of the plotting area.
        above: What is drawn over the marks, in percentages.
    """
    lines, labels = [], []
    for place, (value, label) in enumerate(across.ticks):
        share = across.share(value)
        lines.append(f'<line x1="{percent(share)}" x2="{percent(share)}" y1="0" y2="100%"/>')
        # Narrow pages show every second one only.
        kind = "tick middle" + (" second" if place % 2 else "")
        labels.append(text(share, 1, label, kind=kind, dy=17))
    for value, label in up.ticks:
        down = 1 - up.share(value)
        lines.append(f'<line x1="0" x2="100%" y1="{percent(down)}" y2="{percent(down)}"/>')
        labels.append(text(0, down, label, kind="tick end", dx=-7, dy=4))
    labels.append(text(1, 1, across.title, kind="title end", dy=36))
    labels.append(text(0, 0, up.title, kind="title", dx=-52, dy=-24))
    return figure_svg(
        f'<g class="grid">{"".join(lines)}</g>{area(marks)}{above}{"".join(labels)}',
        description=description,
        height_pixels=height_pixels,
        kind="plot",
    )


def figure_svg(body: str, *, description: str, height_pixels: int, kind: str) -> str:
    """Return an SVG with a description for screen readers."""
    return (
        f'<svg class="{kind}" role="img" aria-label="{escape(description)}"'
        f' height="{height_pixels}">{body}</svg>'
    )


def legend(entries: Sequence[tuple[str, str]]) -> str:
    """Return a legend.

    Args:
        entries: The SVG of a sign, 26 by 12 pixels, and its text.
    """
    items = "".join(
        f'<li><svg width="26" height="12" aria-hidden="true">{sign}</svg>{escape(label)}</li>'
        for sign, label in entries
    )
    return f'<ul class="legend">{items}</ul>'


def line_sign(colour: str, dashes: Sequence[int] = ()) -> str:
    """Return the sign of a line for a legend."""
    return f'<path class="line" d="M0 6H26" style="stroke:{colour}"{dash_array(dashes)}/>'


def box_sign(colour: str) -> str:
    """Return the sign of an area for a legend."""
    return f'<rect x="6" width="12" height="12" rx="2" style="fill:{colour}"/>'


def dot_sign(colour: str) -> str:
    """Return the sign of a dot for a legend."""
    return f'<circle cx="13" cy="6" r="3" style="fill:{colour}"/>'
