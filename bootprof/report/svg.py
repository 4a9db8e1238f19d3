"""Plots as inline SVG that keeps its text at one size however wide the page is.

The coordinates of text and lines are percentages of the plotting area, so the figure takes the
width of its column and nothing in it is scaled but the marks, which stand in a nested SVG of
:data:`AREA` by :data:`AREA` units. Colours are CSS variables of the page (``--ink``, ``--build-0``
...), so one rendering serves light and dark.
"""

from __future__ import annotations

import html
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

AREA = 1000
"""Width and height of a plotting area in its own units; y grows downwards."""

DASHES = ("", "7 4", "8 3 2 3", "2 3")
"""Of lines, so that they differ without colour too."""

Tick = tuple[float, str]


@dataclass(frozen=True)
class Axis:
    """One axis of a plot.

    Attributes:
        low: Value at its start; over 0 on a logarithmic axis.
        high: Value at its end.
        title: What it shows, with the unit.
        ticks: Value and label of each tick.
        logarithmic: Whether it is.
    """

    low: float
    high: float
    title: str
    ticks: tuple[Tick, ...]
    logarithmic: bool = False

    def share(self, value: float) -> float:
        """Return where a value stands: 0 at the start of the axis, 1 at its end."""
        low, high = self.low, self.high
        if self.logarithmic:
            low, high, value = (math.log10(each) for each in (low, high, value))
        return (value - low) / (high - low)


def linear_axis(high: float, title: str, *, ticks: int = 6) -> Axis:
    """Return an axis from 0 with ticks on round numbers.

    Args:
        high: Largest value that it has to show; not negative.
        title: What it shows, with the unit.
        ticks: How many there may be after that at 0.
    """
    high = high or 1.0
    power = 10.0 ** math.floor(math.log10(high / ticks))
    step = next(factor * power for factor in (1, 2, 5, 10) if high / (factor * power) <= ticks)
    decimals = max(0, -math.floor(math.log10(step) + 1e-9))
    values = [number * step for number in range(math.floor(high / step + 1e-9) + 1)]
    return Axis(0.0, high, title, tuple((value, f"{value:,.{decimals}f}") for value in values))


def escape(text: str) -> str:
    """Return text that may stand anywhere in the page: in an element or in an attribute."""
    visible = "".join(
        letter if letter.isprintable() or letter == "\n" else "\ufffd" for letter in text
    )
    return html.escape(visible, quote=True)


def number(value: float) -> str:
    """Write a coordinate with as few characters as it needs."""
    text = f"{value:.2f}".rstrip("0").rstrip(".")
    return "0" if text in ("", "-0") else text


def percent(share: float) -> str:
    """Write a share of 1 as a percentage."""
    return f"{number(100 * share)}%"


def text(
    across: float, down: float, words: str, *, kind: str = "", dx: float = 0, dy: float = 0
) -> str:
    """Return a text.

    Args:
        across: Where, as a share of the width.
        down: Where, as a share of the height.
        words: What it says.
        kind: Classes of the style sheet.
        dx: Pixels to the right of there.
        dy: Pixels below.
    """
    classes = f' class="{kind}"' if kind else ""
    return (
        f'<text x="{percent(across)}" y="{percent(down)}" dx="{number(dx)}" dy="{number(dy)}"'
        f"{classes}>{escape(words)}</text>"
    )


def area(body: str) -> str:
    """Return the nested SVG of the marks; what goes over its edge is cut."""
    return (
        f'<svg class="area" width="100%" height="100%" viewBox="0 0 {AREA} {AREA}"'
        f' preserveAspectRatio="none">{body}</svg>'
    )


def line(points: Iterable[tuple[float, float]], *, colour: str, dashes: str = "") -> str:
    """Return a line through points in units of the area."""
    path = "L".join(f"{number(across)} {number(down)}" for across, down in points)
    dashed = f' stroke-dasharray="{dashes}"' if dashes else ""
    return f'<path class="line" d="M{path}" style="stroke:{colour}"{dashed}/>'


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
    says: str,
    height_pixels: int = 260,
    above: str = "",
) -> str:
    """Return a plot with two axes.

    Args:
        across: The horizontal axis.
        up: The vertical axis; its title stands above it.
        marks: What is drawn, in units of the area.
        says: What a person who does not see the plot is told.
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
    labels.append(text(0, 0, up.title, kind="title", dx=-52, dy=-13))
    return figure_svg(
        f'<g class="grid">{"".join(lines)}</g>{area(marks)}{above}{"".join(labels)}',
        says=says,
        height_pixels=height_pixels,
        kind="plot",
    )


def figure_svg(body: str, *, says: str, height_pixels: int, kind: str) -> str:
    """Return an SVG that is a picture for those who see it, and words for those who do not."""
    return (
        f'<svg class="{kind}" role="img" aria-label="{escape(says)}" height="{height_pixels}">'
        f"{body}</svg>"
    )


def legend(entries: Sequence[tuple[str, str]]) -> str:
    """Return a legend.

    Args:
        entries: The SVG of a sign, 26 by 12 pixels, and its words.
    """
    items = "".join(
        f'<li><svg width="26" height="12" aria-hidden="true">{sign}</svg>{escape(words)}</li>'
        for sign, words in entries
    )
    return f'<ul class="legend">{items}</ul>'


def line_sign(colour: str, dashes: str = "") -> str:
    """Return the sign of a line for a legend."""
    dashed = f' stroke-dasharray="{dashes}"' if dashes else ""
    return f'<path class="line" d="M0 6H26" style="stroke:{colour}"{dashed}/>'


def box_sign(colour: str) -> str:
    """Return the sign of an area for a legend."""
    return f'<rect x="6" width="12" height="12" rx="2" style="fill:{colour}"/>'


def dot_sign(colour: str) -> str:
    """Return the sign of a dot for a legend."""
    return f'<circle cx="13" cy="6" r="3" style="fill:{colour}"/>'
