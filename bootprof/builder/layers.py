# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""Reading a configuration: three layers, each checked separately; later ones take precedence.

The layers are ``live.cfg``, ``settings.cfg`` beside it if it exists, and ``--define KEY=VALUE``
on the command line. An error names the layer, the line and the key.
"""

from __future__ import annotations

import contextlib
import difflib
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, fields, is_dataclass
from itertools import chain
from pathlib import Path
from typing import Any, get_origin, get_type_hints

from bootprof.builder.config import LiveConfig
from bootprof.builder.values import convert, toml, type_name
from bootprof.errors import InputError
from optimizer.formats.text import printable

MOST_BYTES = 1 << 20
# How often a file is parsed in parts to find a key's line; beyond that an error names no line.
MOST_PARSES = 200
MOST_PARTS = 1000
ERRORS = (ValueError, RecursionError, OverflowError)


@dataclass(frozen=True)
class Key:
    """A key of the configuration.

    Attributes:
        name: As ``system.suite``.
        type: Type of its value.
        default: Its default; None if it is required.
        meaning: What it does.
        check: Raises a ValueError for a value that cannot work, or None.
    """

    name: str
    type: Any
    default: Any
    meaning: str
    check: Any


@dataclass(frozen=True)
class Layer:
    """A source of values.

    Attributes:
        name: The file, or ``--define …``.
        values: The values that it sets, as nested dictionaries.
        text: Its text, to find lines in; empty for a definition.
    """

    name: str
    values: Mapping[str, Any]
    text: str = ""

    def place(self, path: Sequence[str]) -> str:
        """Return where a key is set: the layer's name, and the line if known."""
        line = line_of(self.text, path) if self.text else None
        return f"{self.name}: line {line}" if line else self.name


@dataclass(frozen=True)
class Loaded:
    """A configuration, and the origin of its values.

    Attributes:
        config: The configuration.
        origins: Name of each key that is set, and the layer that set it last.
    """

    config: LiveConfig
    origins: Mapping[str, Layer]

    def place(self, name: str) -> str:
        """Return where a key was set last."""
        layer = self.origins.get(name)
        return "default" if layer is None else layer.place(name.split("."))


def keys() -> dict[str, Key]:
    """Return every key of the configuration by its name."""
    found = {}
    for outer in fields(LiveConfig):
        hint = get_type_hints(LiveConfig)[outer.name]
        if is_dataclass(hint):
            types = get_type_hints(hint)
            for inner in fields(hint):
                default = inner.default if inner.default is not MISSING else {}
                name = f"{outer.name}.{inner.name}"
                found[name] = Key(name, types[inner.name], default, **inner.metadata)
        else:
            found[outer.name] = Key(outer.name, hint, None, **outer.metadata)
    return found


def as_toml(config: LiveConfig) -> str:
    """Return a configuration as the text of a file, every key in it."""
    lines, section = [], ""
    for name in keys():
        before, _, last = name.rpartition(".")
        value: Any = config
        for part in name.split("."):
            value = getattr(value, part)
        if before != section:
            section = before
            lines += ["", f"[{section}]"]
        lines.append(f"{last} = {toml(value)}")
    return "\n".join([*lines, ""])


def load_config(path: Path, defines: Sequence[str] = ()) -> LiveConfig:
    """Read a configuration with its settings file and command-line overrides.

    Args:
        path: ``live.cfg``; ``settings.cfg`` is expected in the same folder.
        defines: ``section.key=value``, the value in TOML or else a plain string.

    Raises:
        InputError: A file is missing or not TOML, a key is unknown, or a value cannot be used.
    """
    return load(path, defines).config


def load(path: Path, defines: Sequence[str] = ()) -> Loaded:
    """Read a configuration like :func:`load_config`, with the origin of each value."""
    layers = [read_layer(path)]
    settings = path.parent / "settings.cfg"
    if settings.exists():
        layers.append(read_layer(settings))
    layers += [parse_define(definition) for definition in defines]
    values: dict[str, Any] = {}
    origins: dict[str, Layer] = {}
    known = keys()
    for layer in layers:
        for name, value in checked(layer, known).items():
            if isinstance(value, dict):
                value = {**values.get(name, {}), **value}
            values[name] = value
            origins[name] = layer
    if "name" not in values:
        raise InputError(f"{path}: name is missing", hint='give the image a name: name = "demo"')
    sections: dict[str, dict[str, Any]] = {}
    for name, value in values.items():
        section, dot, inner = name.partition(".")
        if dot:
            sections.setdefault(section, {})[inner] = value
    hints = get_type_hints(LiveConfig)
    made = {section: hints[section](**inner) for section, inner in sections.items()}
    loaded = Loaded(LiveConfig(name=values["name"], **made), origins)
    check_together(loaded)
    return loaded


def check_together(loaded: Loaded) -> None:
    """Reject values that exclude each other."""
    config = loaded.config
    if config.initrd.compressor == "keep" and config.initrd.leave_out:
        raise InputError(
            f'{loaded.place("initrd.leave_out")}: initrd.leave_out needs initrd.compressor = "zstd"'
        )
    if config.system.source and config.system.packages:
        raise InputError(
            f"{loaded.place('system.packages')}: system.packages cannot be added to system.source"
        )
    if config.squashfs.reorder and config.squashfs.separate_fragments:
        raise InputError(
            f"{loaded.place('squashfs.separate_fragments')}: squashfs.separate_fragments has no "
            "use with squashfs.reorder, which does that itself"
        )
    if config.erofs.reorder and "all-fragments" in config.erofs.features:
        raise InputError(
            f"{loaded.place('erofs.reorder')}: erofs.reorder gains nothing with all-fragments, "
            "whose clusters have the boot's files and others",
            hint="remove one of them",
        )
    if config.root.format == "erofs" and config.readahead.what == "tables":
        raise InputError(
            f"{loaded.place('readahead.what')}: an EROFS has no tables in one place to read ahead",
            hint='set readahead.bootlog, and readahead.what to "all"',
        )
    if config.root.format == "erofs" and config.network.root.endswith(".squashfs"):
        raise InputError(
            f"{loaded.place('network.root')}: network.root names a squashfs, and root.format is "
            '"erofs"',
            hint="serve the ISO image: http://ADDRESS/FILE.iso",
        )
    if config.root.format == "ext4" and (
        config.readahead.bootlog or config.readahead.what == "tables"
    ):
        raise InputError(
            f'{loaded.place("root.format")}: root.format = "{config.root.format}" has no readahead',
            hint="remove [readahead]",
        )
    if config.system.keyring and not config.system.mirrors:
        raise InputError(
            f"{loaded.place('system.keyring')}: system.keyring needs system.mirrors, the archives "
            "that it is for"
        )
    if config.media.outer_edge and not config.media.reading_order:
        raise InputError(
            f"{loaded.place('media.outer_edge')}: media.outer_edge needs media.reading_order = true"
        )


def checked(layer: Layer, known: Mapping[str, Key]) -> dict[str, Any]:
    """Return the values of a layer by the names of their keys, converted and checked."""
    found = {}
    sections = {name.partition(".")[0] for name in known if "." in name}
    for outer, value in layer.values.items():
        if outer in sections and not isinstance(value, dict):
            raise InputError(
                f"{layer.place([outer])}: {outer}: expected a table, found {type_name(value)}",
                hint=f"write [{outer}] on a line of its own, and its keys below",
            )
        inner = value if outer in sections else {None: value}
        for last, one in inner.items():
            path = [outer] if last is None else [outer, last]
            key = known.get(".".join(path))
            # A quoted key can hold a dot.
            if key is None or key.name.split(".") != path:
                raise unknown_key(layer, path, known)
            try:
                converted = convert(one, key.type)
                if key.check is not None:
                    key.check(converted)
            except ValueError as error:
                raise InputError(
                    f"{layer.place(path)}: {key.name}: {error}", hint=key.meaning
                ) from None
            found[key.name] = converted
    return found


def unknown_key(layer: Layer, path: Sequence[str], known: Mapping[str, Key]) -> InputError:
    """Return the error for a key that does not exist, with the one that was probably meant."""
    name = printable(".".join(path), 80)
    by_last = {known_name.rpartition(".")[2]: known_name for known_name in known}
    tables = {known_name.partition(".")[0] for known_name in known if "." in known_name}
    near = difflib.get_close_matches(name, known, 1, 0.7)
    if not near and path[0] not in tables:
        near = difflib.get_close_matches(path[0][:80], tables, 1, 0.7)
    near = near or [by_last[n] for n in difflib.get_close_matches(path[-1][:80], by_last, 1, 0.7)]
    return InputError(
        f"{layer.place(path)}: {name}: no such key",
        hint=f"did you mean {near[0]}?" if near else "bootprof config --keys lists the keys",
    )


def read_layer(path: Path) -> Layer:
    """Read one TOML file."""
    try:
        with path.open("rb") as stream:
            content = stream.read(MOST_BYTES + 1)
    except FileNotFoundError:
        raise InputError(
            f"{path}: no such configuration", hint="name one with --config FILE"
        ) from None
    if len(content) > MOST_BYTES:
        raise InputError(f"{path}: more than {MOST_BYTES} bytes, too large for a configuration")
    try:
        # Line ends as tomllib counts them.
        text = content.decode().replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise InputError(f"{path}: line {line}: not UTF-8") from None
    for number, part in enumerate(text.split("\n"), 1):
        # The time that tomllib takes grows with the square of their number.
        if part.partition("=")[0].count(".") > MOST_PARTS:
            raise InputError(f"{path}: line {number}: a key of more than {MOST_PARTS} parts")
    try:
        return Layer(str(path), tomllib.loads(text), text)
    except tomllib.TOMLDecodeError as error:
        said = str(error)
        found = re.fullmatch(r"(.*) \(at line (\d+), column (\d+)\)", said, re.S)
        where = f"{path}: line {found[2]}, column {found[3]}" if found else str(path)
        reason = found[1] if found else said
        raise InputError(f"{where}: not TOML: {printable(reason)}") from None
    except RecursionError:
        raise InputError(f"{path}: nested too deeply") from None
    except ERRORS as error:
        raise InputError(f"{path}: not TOML: {str(error).partition(';')[0]}") from None


def parse_define(definition: str) -> Layer:
    """Turn ``a.b=value`` into a layer."""
    name, equals, text = definition.partition("=")
    words = [word.strip() for word in name.split(".")]
    label = f"--define {printable(name, 80)}"
    if not equals or not all(words):
        raise InputError(
            f"--define {printable(definition, 80)}: not of the form KEY=VALUE",
            hint="for example --define system.arch=i386",
        )
    known = keys()
    key = known.get(".".join(words[:2]))
    value: Any = parse_value(text)
    takes_text = key is not None and (
        (key.type is str and len(words) < 3)
        or (get_origin(key.type) is Mapping and len(words) == 3)
    )
    if takes_text and not isinstance(value, str):
        value = text
    if len(words) > 3 or (len(words) == 3 and (key is None or get_origin(key.type) is not Mapping)):
        raise unknown_key(Layer(label, {}), words[:4], known)
    for word in reversed(words):
        value = {word: value}
    return Layer(label, value)


def parse_value(text: str) -> Any:
    """Return a value in TOML, or the text itself if it is none."""
    try:
        values = tomllib.loads(f"value = {text}")
    except ERRORS:
        return text
    return values["value"] if values.keys() == {"value"} else text


def line_of(text: str, path: Sequence[str]) -> int | None:
    """Return the line on which a key of a TOML text begins, or None if it is hard to find.

    The text up to any line parses or does not; of those parts that parse, the shortest that has
    the key ends where the key does.
    """
    lines = text.split("\n")
    parses = 0

    def nearest(without: int, having: int) -> tuple[int, dict[str, Any]] | None:
        """Return the part nearest to the middle of two that parses, and what it gives."""
        nonlocal parses
        middle = (without + having) // 2
        for count in chain(range(middle, having), range(middle - 1, without, -1)):
            if count > without and parses < MOST_PARSES:
                parses += 1
                with contextlib.suppress(*ERRORS):
                    return count, tomllib.loads("\n".join(lines[:count]))
        return None

    without, having = 0, len(lines)
    while (part := nearest(without, having)) is not None:
        if has_key(part[1], path):
            having = part[0]
        else:
            without = part[0]
    if parses == MOST_PARSES:
        return None
    for number in range(without, having):
        line = lines[number].strip()
        if line and not line.startswith("#"):
            return number + 1
    return None


def has_key(values: Mapping[str, Any], path: Sequence[str]) -> bool:
    """Return whether nested dictionaries have a key."""
    found: object = values
    for part in path:
        if not isinstance(found, dict) or part not in found:
            return False
        found = found[part]
    return True
