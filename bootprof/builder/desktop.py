# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""Automatic logins and proposed users, in the display managers of a root tree.

Nothing is written unless it is configured. Sources: lightdm.conf (lightdm 1.26), daemon.conf of
gdm3 (43), user.c of AccountsService (22.08), sddm.conf(5) and its state file (0.19), as Debian 12
has them.
"""

from __future__ import annotations

import re

from bootprof.builder.config import Desktop
from bootprof.builder.roottree import RootTree
from bootprof.errors import InputError

# The program that shows that a display manager is installed.
LIGHTDM, GDM, SDDM = "usr/sbin/lightdm", "usr/sbin/gdm3", "usr/bin/sddm"
LIGHTDM_SETTINGS = "etc/lightdm/lightdm.conf.d/50-bootprof.conf"
GDM_SETTINGS = "etc/gdm3/daemon.conf"
# One file for each user, in the place where AccountsService keeps what a user chose.
ACCOUNTS = "var/lib/AccountsService/users"
SDDM_SETTINGS = "etc/sddm.conf.d/50-bootprof.conf"
SDDM_STATE = "var/lib/sddm/state.conf"


def configure(desktop: Desktop, tree: RootTree) -> None:
    """Configure the display managers of a root tree.

    Raises:
        InputError: A login is configured, and the tree has no display manager that is known.
    """
    if not (desktop.autologin or desktop.preselect):
        return
    found = False
    for program, write in ((LIGHTDM, for_lightdm), (GDM, for_gdm), (SDDM, for_sddm)):
        if tree.is_file(program):
            write(desktop, tree)
            found = True
    if not found:
        raise InputError(
            "desktop.autologin and desktop.preselect: the image has no display manager",
            hint="add lightdm, gdm3 or sddm to system.packages",
        )


def for_lightdm(desktop: Desktop, tree: RootTree) -> None:
    """Write the settings of LightDM; Debian's hide the list of users."""
    settings = {}
    if desktop.autologin:
        settings = {"autologin-user": desktop.autologin, "autologin-user-timeout": "0"}
        if desktop.session:
            settings["autologin-session"] = desktop.session
    if desktop.preselect:
        settings["greeter-hide-users"] = "false"
    if desktop.session:
        settings["user-session"] = desktop.session
    tree.write_file(LIGHTDM_SETTINGS, section("Seat:*", settings))


def for_gdm(desktop: Desktop, tree: RootTree) -> None:
    """Add to the settings of GDM, which reads one file only; it lists all users by itself.

    Which session a user gets is not among its settings, but known to AccountsService.
    """
    users = {desktop.autologin, desktop.preselect} - {""} if desktop.session else set[str]()
    for user in sorted(users):
        account = {"Session": desktop.session, "SystemAccount": "false"}
        tree.write_file(f"{ACCOUNTS}/{user}", section("User", account))
    if not desktop.autologin:
        return
    text = tree.read_file(GDM_SETTINGS) if tree.is_file(GDM_SETTINGS) else b""
    kept = [
        line
        for line in text.decode(errors="surrogateescape").splitlines()
        if not re.match(r"\s*AutomaticLogin(Enable)?\s*=", line)
    ]
    if "[daemon]" not in kept:
        kept.append("[daemon]")
    place = kept.index("[daemon]") + 1
    kept[place:place] = ["AutomaticLoginEnable=true", f"AutomaticLogin={desktop.autologin}"]
    tree.write_file(GDM_SETTINGS, ("\n".join(kept) + "\n").encode(errors="surrogateescape"))


def for_sddm(desktop: Desktop, tree: RootTree) -> None:
    """Write the settings of SDDM, and its state file with the last user."""
    session = {"Session": desktop.session} if desktop.session else {}
    if desktop.autologin:
        settings = {"User": desktop.autologin, "Relogin": "false", **session}
        tree.write_file(SDDM_SETTINGS, section("Autologin", settings))
    if desktop.preselect:
        tree.write_file(SDDM_STATE, section("Last", {"User": desktop.preselect, **session}))


def section(name: str, settings: dict[str, str]) -> bytes:
    """Return one section of an INI file."""
    lines = [f"[{name}]", *(f"{key}={value}" for key, value in settings.items())]
    return ("\n".join(lines) + "\n").encode()
