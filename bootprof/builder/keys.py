# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""How a key of the configuration is described, and the checks that keys share."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Mapping
from dataclasses import field
from typing import Any, TypeVar
from urllib.parse import urlsplit

T = TypeVar("T")
Check = Callable[[Any], None]

SUITE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._~/-]*")
# Extended options of mkfs.erofs, as fragments, ^inline_data, fragments=65536.
EROFS_FEATURE = re.compile(r"\^?[a-z0-9][a-z0-9_-]*(=[a-z0-9_-]+)?")
COMPONENT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/-]*")
_LABEL = "[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?"
HOST_NAME = re.compile(rf"{_LABEL}(\.{_LABEL})*")
USER = re.compile(r"[a-z_][a-z0-9_-]{0,31}")
SESSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]*")
LOCALE = re.compile(r"[a-z]{2,3}(_[A-Z]{2,3})?(\.[A-Za-z0-9-]+)?(@[a-z]+)?")
KEYBOARD = re.compile(r"[a-z]{2,12}(:[a-z0-9_-]{1,40})?")
TIMEZONE = re.compile(r"[A-Za-z0-9_+-]+(/[A-Za-z0-9_+-]+)*")
VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def key(default: T, meaning: str, check: Check | None = None) -> T:
    """Describe a key.

    Args:
        default: Its default.
        meaning: Description for the documentation.
        check: Raises a ValueError that describes the allowed values, for any other value.
    """
    metadata = {"meaning": meaning, "check": check}
    # A dictionary cannot be a default itself, because all objects would share it.
    made: Any = (
        field(default_factory=default.copy, metadata=metadata)
        if isinstance(default, dict)
        else field(default=default, metadata=metadata)
    )
    given: T = made
    return given


def matches(pattern: re.Pattern[str], what: str, most: int = 255) -> Check:
    """Return a check that a text, or each text of a list, matches a pattern."""

    def check(value: str | tuple[str, ...]) -> None:
        for text in (value,) if isinstance(value, str) else value:
            if not pattern.fullmatch(text) or len(text) > most:
                raise ValueError(f"expected {what}, found {text!r:.60}")

    return check


def within(least: float, most: float) -> Check:
    """Return a check that a number lies between two others."""

    def check(value: float) -> None:
        if not least <= value <= most:
            raise ValueError(f"expected a number from {least:g} to {most:g}, found {value!r:.40}")

    return check


def check_block_size(value: int) -> None:
    """Check the block size of a squashfs, or the cluster size of an EROFS."""
    if not 4096 <= value <= 1 << 20 or value & (value - 1):
        raise ValueError(f"expected a power of two from 4096 to 1048576, found {value!r:.40}")


def check_name(value: str) -> None:
    """Check the base name of an image, which must leave room for ``.iso`` and a prefix."""
    if value in ("", ".", "..") or "/" in value or not value.isprintable():
        raise ValueError(f"expected a file name without folders, found {value!r:.60}")
    if len(value.encode()) > 200:
        raise ValueError("expected at most 200 bytes")


def check_arguments(value: tuple[str, ...]) -> None:
    """Check arguments of a program that must not be mistaken for options."""
    for text in value:
        if not text.strip() or text.startswith("-") or not text.isprintable():
            raise ValueError(f"expected text that does not begin with '-', found {text!r:.60}")


def check_packages(value: tuple[str, ...]) -> None:
    """Check names of packages, which are joined by commas."""
    check_arguments(value)
    for text in value:
        if not text.startswith(("?", "~")) and re.search(r"[\s,]", text):
            raise ValueError(f"expected one package an entry, found {text!r:.60}")


def check_program(value: str) -> None:
    """Check the name or path of a program."""
    if not value or value.startswith("-") or not value.isprintable():
        raise ValueError(f"expected the name or path of a program, found {value!r:.60}")


def check_password(value: str) -> None:
    """Check a password: it must be one line of printable text."""
    if not value.isprintable():
        raise ValueError("expected printable characters")


def check_user(value: str) -> None:
    """Check the name of a user, or an empty one."""
    if value and not USER.fullmatch(value):
        raise ValueError(f"expected the name of a user, found {value!r:.60}")


def check_keyboard(value: str) -> None:
    """Check a keyboard layout with or without variant, or an empty one."""
    if value and not KEYBOARD.fullmatch(value):
        raise ValueError(f"expected a layout like de or de:nodeadkeys, found {value!r:.60}")


def check_timezone(value: str) -> None:
    """Check the name of a time zone, or an empty one."""
    if value and not TIMEZONE.fullmatch(value):
        raise ValueError(f"expected a time zone like Europe/Berlin, found {value!r:.60}")


def check_session(value: str) -> None:
    """Check the name of a session, or an empty one."""
    if value and not SESSION.fullmatch(value):
        raise ValueError(f"expected the name of a session, found {value!r:.60}")


def check_variables(value: Mapping[str, str]) -> None:
    """Check names of environment variables."""
    for name in value:
        if not VARIABLE.fullmatch(name):
            raise ValueError(f"expected the name of a variable, found {name!r:.60}")


def check_network_root(value: str) -> None:
    """Check the address of a network root, or an empty one.

    Raises:
        ValueError: It is none that an initrd can reach.
    """
    if not value:
        return
    wanted = "expected nfs://ADDRESS/PATH, nfs4://ADDRESS[:PORT]/PATH or http://ADDRESS/FILE"
    if not value.isascii() or not value.isprintable() or re.search(r"[\s'\"\\,]", value):
        raise ValueError(f"{wanted}, without spaces, quotes and commas")
    try:
        address = urlsplit(value)
        port = address.port
    except ValueError:
        raise ValueError(wanted) from None
    if address.scheme not in ("nfs", "nfs4", "http") or not address.hostname or not address.path:
        raise ValueError(wanted)
    if address.query or address.fragment or address.username or address.password:
        raise ValueError(wanted)
    if address.scheme == "http":
        if not address.path.endswith((".squashfs", ".iso")):
            raise ValueError("expected the address of a .squashfs or .iso file")
        return
    if port and address.scheme == "nfs":
        raise ValueError("NFS 3 asks the server for its ports; only nfs4:// has one")
    try:
        ipaddress.ip_address(address.hostname)
    except ValueError:
        raise ValueError("expected the number of the server: an initrd looks no names up") from None


def check_ip(value: str) -> None:
    """Check network settings for the kernel: ``dhcp``, or fields between colons."""
    if not re.fullmatch(r"[A-Za-z0-9.:_-]+", value):
        raise ValueError(f"expected dhcp or address::gateway:netmask, found {value!r:.60}")
