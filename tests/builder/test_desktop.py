# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
from configparser import ConfigParser
from pathlib import Path

import pytest

from bootprof.builder import desktop
from bootprof.builder.config import Desktop
from bootprof.builder.roottree import open_tree
from bootprof.errors import InputError

BOTH = Desktop(autologin="guest", preselect="anna", session="xfce")


def configured(wanted: Desktop, root: Path, *programs: str) -> Path:
    for program in programs:
        (root / program).parent.mkdir(parents=True, exist_ok=True)
        (root / program).touch()
    with open_tree(root) as tree:
        desktop.configure(wanted, tree)
    return root


def settings(path: Path) -> dict[str, dict[str, str]]:
    parser = ConfigParser(interpolation=None)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read(path)
    return {name: dict(parser[name]) for name in parser.sections()}


def test_lightdm_logs_in_and_shows_its_users(tmp_path: Path) -> None:
    root = configured(BOTH, tmp_path, desktop.LIGHTDM)
    assert settings(root / desktop.LIGHTDM_SETTINGS) == {
        "Seat:*": {
            "autologin-user": "guest",
            "autologin-user-timeout": "0",
            "autologin-session": "xfce",
            "greeter-hide-users": "false",
            "user-session": "xfce",
        }
    }


def test_gdm_keeps_its_other_settings(tmp_path: Path) -> None:
    path = tmp_path / desktop.GDM_SETTINGS
    path.parent.mkdir(parents=True)
    path.write_text("# GDM\n[daemon]\nWaylandEnable=false\nAutomaticLogin=old\n\n[security]\nx=1\n")
    configured(BOTH, tmp_path, desktop.GDM)
    assert settings(path) == {
        "daemon": {
            "AutomaticLoginEnable": "true",
            "AutomaticLogin": "guest",
            "WaylandEnable": "false",
        },
        "security": {"x": "1"},
    }
    assert path.read_text().startswith("# GDM\n")
    for user in ("guest", "anna"):
        account = {"User": {"Session": "xfce", "SystemAccount": "false"}}
        assert settings(tmp_path / desktop.ACCOUNTS / user) == account


def test_sddm_logs_in_and_remembers_a_user(tmp_path: Path) -> None:
    root = configured(BOTH, tmp_path, desktop.SDDM)
    assert settings(root / desktop.SDDM_SETTINGS) == {
        "Autologin": {"User": "guest", "Relogin": "false", "Session": "xfce"}
    }
    assert settings(root / desktop.SDDM_STATE) == {"Last": {"User": "anna", "Session": "xfce"}}


def test_nothing_is_written_unless_it_is_configured(tmp_path: Path) -> None:
    programs = (desktop.LIGHTDM, desktop.GDM, desktop.SDDM)
    configured(Desktop(session="xfce"), tmp_path, *programs)
    files = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}
    assert files == set(programs)


def test_a_login_without_a_display_manager_is_an_input_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"desktop\.autologin .*no display manager"):
        configured(BOTH, tmp_path)
