# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""Values of the configuration: from TOML to the type of their key, and what types are called."""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Mapping
from typing import Any, Literal, get_args, get_origin


def convert(value: object, wanted: Any) -> Any:
    """Return a value of TOML as a key's type.

    Raises:
        ValueError: It has another type; the text says which was expected.
    """
    if get_origin(wanted) is Literal:
        choices = get_args(wanted)
        if not isinstance(value, str) or value not in choices:
            listed = ", ".join(f'"{choice}"' for choice in choices)
            raise ValueError(f"expected one of {listed}, found {shown(value)}")
        return value
    if wanted is str:
        return convert_text(value)
    if wanted is bool and isinstance(value, bool):
        return value
    if wanted is int and isinstance(value, int) and not isinstance(value, bool):
        return value
    if wanted is float and isinstance(value, int | float) and not isinstance(value, bool):
        with contextlib.suppress(OverflowError):
            if math.isfinite(number := float(value)):
                return number
    if get_origin(wanted) is tuple and isinstance(value, list):
        return tuple(convert_text(item) for item in value)
    if get_origin(wanted) is Mapping and isinstance(value, dict):
        return {convert_text(name): convert_text(text) for name, text in value.items()}
    raise ValueError(f"expected {wanted_name(wanted)}, found {shown(value)}")


def convert_text(value: object) -> str:
    """Return a text that can be an argument, a file name or an environment variable."""
    if not isinstance(value, str):
        raise ValueError(f"expected a string, found {shown(value)}")
    if "\0" in value:
        raise ValueError("a string cannot hold a NUL character")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise ValueError("expected UTF-8") from None
    return value


def wanted_name(wanted: Any) -> str:
    """Return the name of a type for errors and documentation."""
    if get_origin(wanted) is Literal:
        return " or ".join(f'"{choice}"' for choice in get_args(wanted))
    if get_origin(wanted) is tuple:
        return "a list of strings"
    if get_origin(wanted) is Mapping:
        return "a table of strings"
    names = {str: "a string", bool: "true or false", int: "an integer", float: "a number"}
    return names[wanted]


def type_name(value: object) -> str:
    """Return the name of the type of a TOML value."""
    for type_, name in (
        (str, "a string"), (bool, "true or false"), (int, "an integer"), (float, "a number"),
        (list, "a list"), (dict, "a table"),
    ):  # fmt: skip
        if isinstance(value, type_):
            return name
    return "a date or time"


def shown(value: object) -> str:
    """Return a value for an error, on one line and short."""
    if isinstance(value, str):
        return repr(value[:40]) + ("…" if len(value) > 40 else "")
    if isinstance(value, bool | float) or (isinstance(value, int) and value.bit_length() < 100):
        return str(value).lower()
    return type_name(value)


def toml(value: Any) -> str:
    """Write the value of a key as TOML."""
    if isinstance(value, str):
        # JSON and TOML strings are the same except for this character.
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, tuple):
        return f"[{', '.join(map(toml, value))}]"
    if isinstance(value, dict):
        inner = ", ".join(f"{toml(name)} = {toml(text)}" for name, text in value.items())
        return f"{{ {inner} }}" if inner else "{}"
    return str(value).lower()
