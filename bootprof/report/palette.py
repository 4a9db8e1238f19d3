"""Colours of the plots and of the report.

They are those of M. Okabe and K. Ito (Color Universal Design, 2002), which people with any kind of
colour vision can tell apart; lines differ in their dashes too.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Theme:
    """Colours of a plot.

    Attributes:
        suffix: What is put behind the prefix of the file name.
        paper: Background.
        ink: Text and the line of the boot target.
        faint: Secondary text.
        grid: Grid lines.
        builds: Colours of the builds, in their order; used again when they run out.
    """

    suffix: str
    paper: str
    ink: str
    faint: str
    grid: str
    builds: tuple[str, ...]


VERMILLION, BLUE, GREEN, ORANGE = "#D55E00", "#0072B2", "#009E73", "#E69F00"
PURPLE, SKY = "#CC79A7", "#56B4E9"
THEMES = {
    "light": Theme(
        suffix="",
        paper="#ffffff",
        ink="#1f2328",
        faint="#59636e",
        grid="#dfe3e8",
        builds=(VERMILLION, BLUE, GREEN, PURPLE, ORANGE, SKY),
    ),
    "dark": Theme(
        suffix="-dark",
        paper="#0d1117",
        ink="#f0f6fc",
        faint="#9198a1",
        grid="#2a313c",
        # Blue is too dark on this paper; sky blue stands in for it.
        builds=(VERMILLION, SKY, GREEN, PURPLE, ORANGE, BLUE),
    ),
}
