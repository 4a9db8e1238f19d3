# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""The colours: enough contrast, told apart with any colour vision, and owned by the palette."""

import itertools
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bootprof.report import palette
from bootprof.report.comparison import compare
from bootprof.report.details import gather
from bootprof.report.page import report
from bootprof.report.palette import THEMES, Theme, build_colour
from tests.report.test_page import SORTED, UNSORTED

REPORT = Path(palette.__file__).parent
Vector = np.ndarray[tuple[int], np.dtype[np.float64]]

# From linear RGB to what a person without one kind of cones sees: G. M. Machado, M. M. Oliveira and
# L. A. F. Fernandes, A Physiologically-based Model for Simulation of Color Vision Deficiency, IEEE
# TVCG 15 (6), 2009, severity 1.0.
VISIONS = {
    "normal": np.eye(3),
    "protanopia": np.array(
        [
            [0.152286, 1.052583, -0.204868],
            [0.114503, 0.786281, 0.099216],
            [-0.003882, -0.048116, 1.051998],
        ]
    ),
    "deuteranopia": np.array(
        [
            [0.367322, 0.860646, -0.227968],
            [0.280085, 0.672501, 0.047413],
            [-0.011820, 0.042940, 0.968881],
        ]
    ),
    "tritanopia": np.array(
        [
            [1.255528, -0.076749, -0.178779],
            [-0.078411, 0.930809, 0.147602],
            [0.004733, 0.691367, 0.303900],
        ]
    ),
}
# IEC 61966-2-1, and the white point D65.
TO_XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])


def linear(colour: str) -> Vector:
    values = np.array([int(colour[at : at + 2], 16) for at in (1, 3, 5)]) / 255
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def contrast(one: str, other: str) -> float:
    """The contrast ratio of WCAG 2.1."""
    dark, light = sorted(float(TO_XYZ[1] @ linear(colour)) for colour in (one, other))
    return (light + 0.05) / (dark + 0.05)


def lab(colour: str, vision: str) -> Vector:
    """CIELAB of what a person with a kind of colour vision sees."""
    seen = TO_XYZ @ np.clip(VISIONS[vision] @ linear(colour), 0, 1)
    x, y, z = np.cbrt(np.maximum(seen / TO_XYZ.sum(axis=1), 0.008856))
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


@pytest.fixture(params=list(THEMES))
def theme(request: pytest.FixtureRequest) -> Theme:
    return THEMES[str(request.param)]


def test_the_simulation_knows_what_red_green_blindness_is() -> None:
    distances = {
        vision: float(np.linalg.norm(lab("#c00000", vision) - lab("#507800", vision)))
        for vision in VISIONS
    }
    assert distances["deuteranopia"] < distances["normal"] / 2


def test_all_marks_stand_out_from_what_they_lie_on(theme: Theme) -> None:
    for mark in (*theme.builds, theme.life, theme.ink):
        assert contrast(mark, theme.paper) >= 3, mark
    for mark in (theme.hot, theme.read, theme.cold):
        assert contrast(mark, theme.empty) >= 3, mark
        assert contrast(mark, theme.paper) >= 3, mark


def test_all_text_can_be_read(theme: Theme) -> None:
    for text in (theme.ink, theme.faint, theme.less, theme.more):
        assert contrast(text, theme.paper) >= 4.5, text


@pytest.mark.parametrize("vision", list(VISIONS))
def test_colours_of_one_figure_differ_with_any_colour_vision(vision: str, theme: Theme) -> None:
    # A difference of 2.3 is the least that is noticed, side by side; legends are further away.
    for colours in (theme.builds, (theme.hot, theme.read, theme.cold), (theme.less, theme.more)):
        for one, other in itertools.combinations(colours, 2):
            assert np.linalg.norm(lab(one, vision) - lab(other, vision)) >= 15, (one, other)


def test_all_themes_have_a_colour_for_the_same_builds() -> None:
    assert len({len(theme.builds) for theme in THEMES.values()}) == 1


@pytest.mark.parametrize("count", [3, 8])
def test_a_palette_of_any_size_has_every_colour_that_the_report_uses(
    count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    colours = tuple(f"#0000{place:02x}" for place in range(count))
    for name, theme in THEMES.items():
        monkeypatch.setitem(THEMES, name, replace(theme, builds=colours))
    comparison = compare([UNSORTED, SORTED] * 5, [])
    page = report(comparison, [gather(build, []) for build in comparison.builds])
    used = set(re.findall(r"var\((--[a-z0-9-]+)\)", page))
    defined = set(re.findall(r"[{;](--[a-z0-9-]+):", page))
    assert used <= defined
    assert {f"--build-{place}" for place in range(count)} <= used
    assert [build_colour(THEMES["dark"], build) for build in (0, count - 1, count)] == [
        *(colours[0], colours[-1], colours[0]),
    ]


def test_no_other_module_names_a_colour() -> None:
    for file in REPORT.glob("*.py"):
        found = re.findall(r"#[0-9a-fA-F]{6}\b|#[0-9a-fA-F]{3}\b", file.read_text())
        assert not found or file.name == "palette.py", (file.name, found)
