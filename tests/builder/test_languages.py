# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""Languages in package selection, in debconf's answers and in an unpacked tree."""

from pathlib import Path

import pytest

from bootprof.builder import languages
from bootprof.builder.config import System
from bootprof.builder.layers import load_config
from bootprof.builder.roottree import open_tree
from bootprof.errors import InputError

TOP = Path(__file__).parents[2]


def test_packages_follow_languages_and_variables() -> None:
    system = System(
        packages=("task-${DESKTOP}-desktop", "firefox-esr-l10n-{language}", "udev"),
        install_env={"DESKTOP": "xfce"},
        languages=("pt_BR.UTF-8", "de_DE.UTF-8"),
        timezone="Europe/Berlin",
        keyboard="de",
    )
    assert languages.packages(system) == (
        "?exact-name(firefox-esr-l10n-de)",
        "?exact-name(firefox-esr-l10n-de-de)",
        "?exact-name(firefox-esr-l10n-pt)",
        "?exact-name(firefox-esr-l10n-pt-br)",
        *("console-setup", "keyboard-configuration", "locales", "task-xfce-desktop"),
        *("tzdata", "udev"),
    )
    assert languages.packages(System(packages=("x-{language}", "y"))) == ("y",)


def test_a_variable_that_is_not_set_says_how_to_set_it() -> None:
    with pytest.raises(InputError, match=r"\$\{DESKTOP\}: no such variable") as caught:
        languages.packages(System(packages=("task-${DESKTOP}-desktop",)))
    assert caught.value.hint == "set it: --define system.install_env.DESKTOP=VALUE"


@pytest.mark.parametrize(
    ("locale", "line"),
    [
        ("de_DE.UTF-8", "de_DE.UTF-8 UTF-8"),
        ("de_DE", "de_DE.UTF-8 UTF-8"),
        ("sr_RS@latin", "sr_RS.UTF-8@latin UTF-8"),
        ("ja_JP.EUC-JP", "ja_JP.EUC-JP EUC-JP"),
    ],
)
def test_a_locale_has_its_line_in_locale_gen(locale: str, line: str) -> None:
    assert languages.line_of(locale) == line


def test_nothing_is_asked_or_written_unless_it_is_configured(tmp_path: Path) -> None:
    assert languages.preseed(System()) == ()
    with open_tree(tmp_path) as tree:
        languages.configure(System(source="x"), tmp_path, tree, tmp_path / "log")
    assert not list(tmp_path.iterdir())


def test_a_zone_or_a_locale_that_the_tree_cannot_have_is_an_input_error(tmp_path: Path) -> None:
    with open_tree(tmp_path) as tree:
        for system, message in (
            (System(timezone="Europe/Nowhere"), "no such time zone"),
            (System(source="x", languages=("de_DE.UTF-8",)), "no /usr/sbin/locale-gen"),
        ):
            with pytest.raises(InputError, match=message):
                languages.configure(system, tmp_path, tree, tmp_path / "log")


def test_one_configuration_gives_several_desktops() -> None:
    config = TOP / "config/desktops.cfg"
    xfce = load_config(config)
    defines = ["name=kde", "desktop.session=plasma", "system.install_env.DESKTOP=kde"]
    kde = load_config(config, [*defines, "system.install_env.LOGIN=sddm"])
    ours, theirs = languages.packages(xfce.system), languages.packages(kde.system)
    assert set(ours) - set(theirs) == {"task-xfce-desktop", "lightdm"}
    assert set(theirs) - set(ours) == {"task-kde-desktop", "sddm"}
    assert (kde.desktop.autologin, kde.desktop.session) == ("user", "plasma")
