# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""Languages, keyboard and time zone of a root tree, and the packages that depend on them.

A bootstrap answers the questions of Debian's packages before they are configured, so that their
own scripts generate the locales. In a tree that was unpacked, the files are written here.
"""

from __future__ import annotations

import re
import shlex
from pathlib import Path

from bootprof.builder import hooks
from bootprof.builder.config import System
from bootprof.builder.roottree import RootTree
from bootprof.errors import InputError
from bootprof.process import run

REFERENCE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
LANGUAGE = "{language}"
DEFAULT_CHARSET = "UTF-8"
LOCALE_GEN, ZONES = "usr/sbin/locale-gen", "usr/share/zoneinfo"


def packages(system: System) -> tuple[str, ...]:
    """Return the packages to install, sorted.

    ``${NAME}`` is replaced by a variable of ``install_env``. A package with ``{language}`` in its
    name is installed for each language that the archive has it in: for ``pt_BR.UTF-8``, ``pt`` and
    ``pt-br``.

    Raises:
        InputError: A variable is not set.
    """
    found = set()
    for given in system.packages:
        name = REFERENCE.sub(lambda match: variable(system, match[1]), given)
        if LANGUAGE not in name:
            found.add(name)
            continue
        for language in system.languages:
            for code in codes(language):
                # As a pattern of apt, which may match nothing.
                found.add(f"?exact-name({name.replace(LANGUAGE, code)})")
    if system.languages:
        found.add("locales")
    if system.keyboard:
        found |= {"console-setup", "keyboard-configuration"}
    if system.timezone:
        found.add("tzdata")
    return tuple(sorted(found))


def variable(system: System, name: str) -> str:
    """Return the value of a variable of ``install_env``."""
    if name not in system.install_env:
        raise InputError(
            f"system.packages: ${{{name}}}: no such variable in system.install_env",
            hint=f"set it: --define system.install_env.{name}=VALUE",
        )
    return system.install_env[name]


def codes(locale: str) -> tuple[str, ...]:
    """Return the language of a locale as packages name it, without and with the country."""
    name = re.split(r"[.@]", locale)[0]
    return (name.partition("_")[0], name.replace("_", "-").lower())


def line_of(locale: str) -> str:
    """Return the line of a locale in /etc/locale.gen: its name and its character set."""
    name, _, modifier = locale.partition("@")
    charset = name.partition(".")[2] or DEFAULT_CHARSET
    name = name if "." in name else f"{name}.{charset}"
    return f"{name}{'@' + modifier if modifier else ''} {charset}"


def answers(system: System) -> tuple[str, ...]:
    """Return the answers to the questions of Debian's packages, for debconf-set-selections(1)."""
    found = []
    if system.languages:
        lines = [line_of(locale) for locale in system.languages]
        default = lines[0].partition(" ")[0]
        found += [
            f"locales locales/locales_to_be_generated multiselect {', '.join(lines)}",
            f"locales locales/default_environment_locale select {default}",
        ]
    if system.keyboard:
        layout, _, variant = system.keyboard.partition(":")
        package = "keyboard-configuration keyboard-configuration"
        found += [
            f"{package}/layoutcode string {layout}",
            f"{package}/variantcode string {variant}",
            f"{package}/xkb-keymap select {layout}{f'({variant})' if variant else ''}",
        ]
    if system.timezone:
        area, _, zone = system.timezone.partition("/")
        found += [f"tzdata tzdata/Areas select {area}", f"tzdata tzdata/Zones/{area} select {zone}"]
    return tuple(found)


def preseed(system: System) -> tuple[str, ...]:
    """Return the options of mmdebstrap that give debconf these answers in time."""
    given = answers(system)
    if not given:
        return ()
    lines = " ".join(shlex.quote(line) for line in given)
    return (f"--essential-hook=printf '%s\\n' {lines} | chroot \"$1\" debconf-set-selections",)


def configure(system: System, root: Path, tree: RootTree, log_file: Path) -> None:
    """Set languages, keyboard and time zone in a root tree.

    Args:
        system: Which.
        root: Path of the tree.
        tree: The tree.
        log_file: Where the output of its locale-gen goes.

    Raises:
        InputError: The tree lacks the time zone, or the program that generates locales.
        ToolError: That program failed.
    """
    if system.timezone:
        if not tree.is_file(f"{ZONES}/{system.timezone}"):
            raise tree.error(f"{ZONES}/{system.timezone}", "no such time zone (system.timezone)")
        tree.make_link("etc/localtime", f"/{ZONES}/{system.timezone}")
        tree.write_file("etc/timezone", f"{system.timezone}\n".encode())
    # The scripts of the packages have done the rest in a bootstrap.
    if not system.source:
        return
    if system.keyboard:
        layout, _, variant = system.keyboard.partition(":")
        lines = ['XKBMODEL="pc105"', f'XKBLAYOUT="{layout}"', f'XKBVARIANT="{variant}"']
        tree.write_file("etc/default/keyboard", ("\n".join(lines) + "\n").encode())
    if system.languages:
        if not tree.is_file(LOCALE_GEN):
            raise InputError(
                f"{root}: system.languages: no /{LOCALE_GEN} in the tree",
                hint="install the package locales in system.source",
            )
        lines = [line_of(locale) for locale in system.languages]
        tree.write_file("etc/locale.gen", ("\n".join(lines) + "\n").encode())
        # Debian 13 has the file and this link; Debian 12 reads the link only.
        tree.write_file("etc/locale.conf", f"LANG={lines[0].partition(' ')[0]}\n".encode())
        tree.make_link("etc/default/locale", "../locale.conf")
        command = hooks.inside(root, root, [f"/{LOCALE_GEN}"], {})
        run(command, log_file=log_file, shown="locale-gen of the root tree")
