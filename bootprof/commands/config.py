# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""``bootprof config``."""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING, Any

from bootprof.commands.inputs import add_config

if TYPE_CHECKING:
    from bootprof.builder.layers import Key, Loaded
    from bootprof.commands.inputs import Parsers

EPILOG = """\
The output is a complete configuration in TOML, merged from live.cfg, settings.cfg next to it,
--define and the defaults. A comment behind each value names its origin.

examples:
  bootprof config                         the merged configuration of config/live.cfg
  bootprof config -D system.suite=trixie  the same, with one setting overridden
  bootprof config --keys                  every key with its type, default and meaning
"""


def add_parser(subparsers: Parsers) -> None:
    """Declare the options of ``bootprof config``."""
    parser = subparsers.add_parser(
        "config",
        help="print the merged configuration of an image",
        description="Check a configuration; print it merged, with the origin of each value.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_config(parser)
    form = parser.add_mutually_exclusive_group()
    form.add_argument(
        "-j", "--json", action="store_true", help="print JSON: value and origin of each key"
    )
    form.add_argument(
        "-k", "--keys", action="store_true", help="print a Markdown table of all keys"
    )
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Print the configuration, or the keys."""
    from bootprof.builder.layers import keys, load

    if options.keys:
        print("\n".join(table(keys().values())))
        return 0
    loaded = load(options.config, options.define)
    if options.json:
        found = {name: {"value": v, "origin": o} for name, v, o in settings(loaded)}
        print(json.dumps(found, indent=2, ensure_ascii=False))
    else:
        print("\n".join(merged(loaded)))
    return 0


def settings(loaded: Loaded) -> list[tuple[str, Any, str]]:
    """Return name, value and origin of each key."""
    from bootprof.builder.layers import keys

    found = []
    for name in keys():
        value: Any = loaded.config
        for part in name.split("."):
            value = getattr(value, part)
        found.append((name, value, loaded.place(name)))
    return found


def merged(loaded: Loaded) -> list[str]:
    """Return the lines of the merged configuration."""
    from bootprof.builder.values import toml
    from optimizer.formats.text import printable

    lines: list[str] = []
    section = ""
    for name, value, origin in settings(loaded):
        before, _, last = name.rpartition(".")
        if before != section:
            section = before
            lines += ["", f"[{section}]"]
        lines.append(f"{last} = {toml(value)}  # {printable(origin)}")
    return lines


def table(keys: Any) -> list[str]:
    """Return the lines of a Markdown table of keys."""
    return [
        "| key | type | default | meaning |",
        "| --- | --- | --- | --- |",
        *(f"| `{key.name}` | {kind(key)} | {default(key)} | {key.meaning} |" for key in keys),
    ]


def kind(key: Key) -> str:
    """Return the type of a key for the table."""
    from bootprof.builder.values import wanted_name

    name = wanted_name(key.type).replace('"', "`")
    return name.removeprefix("a ").removeprefix("an ").replace("true or false", "`true` or `false`")


def default(key: Key) -> str:
    """Return the default of a key for the table."""
    from bootprof.builder.values import toml

    if key.default is None:
        return "required"
    empty = key.default in ("", (), {})
    return "none" if empty else f"`{toml(key.default)}`"
