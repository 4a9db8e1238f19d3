# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""Every colour of the plots and of the report; nothing else names one.

The colours of the builds begin with those of M. Okabe and K. Ito (Color Universal Design, 2002).
Their orange and sky blue have a contrast of 2.3:1 on white, so brown and violet replace them there.
Every mark has a contrast of at least 3:1 to its background (WCAG 2.1, 1.4.11), text 4.5:1 (1.4.3).
Any two colours of a figure can be distinguished with any kind of colour vision; a test simulates
that. Lines also differ in their dashes, changes in a sign.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Theme:
    """Colours of the plots and of the report.

    Attributes:
        suffix: What follows the prefix in a file name.
        paper: Background.
        ink: Text and the line of the boot target.
        faint: Secondary text.
        grid: Grid lines.
        builds: Colours of the builds, in their order; they repeat when there are more builds.
            All themes have the same number.
        hot: Read and needed, on the map of an image.
        read: Read, but unneeded.
        cold: Not read.
        empty: The background of a lane of that map.
        life: The line from the first to the last access of a process.
        less: Text of a change for the better.
        more: Text of a change for the worse.
    """

    suffix: str
    paper: str
    ink: str
    faint: str
    grid: str
    builds: tuple[str, ...]
    hot: str
    read: str
    cold: str
    empty: str
    life: str
    less: str
    more: str


VERMILLION, BLUE, GREEN, ORANGE = "#d55e00", "#0072b2", "#009e73", "#e69f00"
PURPLE, SKY = "#cc79a7", "#56b4e9"
THEMES = {
    "light": Theme(
        suffix="",
        paper="#ffffff",
        ink="#1f2328",
        faint="#59636e",
        grid="#dfe3e8",
        builds=(VERMILLION, BLUE, GREEN, PURPLE, "#5c4300", "#4b2a7b"),
        hot=VERMILLION,
        read=BLUE,
        cold="#7f8a97",
        empty="#f3f5f7",
        life="#7f8a97",
        less="#00704f",
        more="#b04a00",
    ),
    "dark": Theme(
        suffix="-dark",
        paper="#0d1117",
        ink="#f0f6fc",
        faint="#9198a1",
        grid="#2a313c",
        # Blue is too dark on this background; sky blue replaces it.
        builds=(VERMILLION, SKY, GREEN, PURPLE, ORANGE, BLUE),
        hot=VERMILLION,
        read=SKY,
        cold="#6e7987",
        empty="#1a212b",
        life="#6e7987",
        less=GREEN,
        more=ORANGE,
    ),
}


def build_place(build: int) -> int:
    """Return the place of a build's colour in :attr:`Theme.builds`, by the number of the build."""
    return build % min(len(theme.builds) for theme in THEMES.values())


def build_colour(theme: Theme, build: int) -> str:
    """Return the colour of a build in a theme, by the number of the build."""
    return theme.builds[build_place(build)]


def build_variable(build: int) -> str:
    """Return the colour of a build as the CSS variable that :func:`variables` defines."""
    return f"var(--build-{build_place(build)})"


def variables(theme: Theme) -> str:
    """Return the colours of a theme as CSS variables: ``--ink``, ``--build-0`` and so on."""
    colours = {
        "paper": theme.paper,
        "ink": theme.ink,
        "faint": theme.faint,
        "grid": theme.grid,
        **{f"build-{place}": colour for place, colour in enumerate(theme.builds)},
        "hot": theme.hot,
        "read": theme.read,
        "cold": theme.cold,
        "empty": theme.empty,
        "life": theme.life,
        "less": theme.less,
        "more": theme.more,
    }
    return ";".join(f"--{key}:{colour}" for key, colour in colours.items())
