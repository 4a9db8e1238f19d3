# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""Boot menus of any image, as text: GRUB, syslinux and systemd-boot.

Each reader takes a menu and a way to read the files that it includes, and returns the entries that
start a Linux kernel. GRUB's menus are programs: here the assignments, menus and sources of both
branches of a condition count, and nothing else is executed.

Sources: the manuals of GNU GRUB 2.12 (chapters 6 and 16) and SYSLINUX 6.04 (doc/syslinux.txt,
doc/menu.txt), the Boot Loader Specification of the UAPI group.

Menus are foreign: depth, number of entries and length of every text are limited.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Final

MOST_ENTRIES: Final = 200
MOST_FILES: Final = 100
MOST_WORDS: Final = 100_000
DEEPEST: Final = 20
MOST_INITRDS: Final = 20
LONGEST_TEXT: Final = 4096
"""Of a kernel's command line (COMMAND_LINE_SIZE of x86 is 2048), of a path and a title."""

Reader = Callable[[str], "str | None"]
"""Returns the text of a file of the medium by its absolute path; None if there is none."""


@dataclass(frozen=True)
class MenuEntry:
    """What a menu says of an entry.

    Attributes:
        title: As the menu shows it.
        kernel: Absolute path on the medium.
        initrds: Absolute paths, in the order in which the boot loader joins them.
        options: Command line of the kernel.
        menu: Path of the menu.
        preferred: Whether the menu starts it by itself.
    """

    title: str
    kernel: str
    initrds: tuple[str, ...]
    options: str
    menu: str
    preferred: bool = False


# A word before its variables are replaced.
_LONGEST_WORD: Final = 4 * LONGEST_TEXT

# Of a GRUB script: quoted strings, comments, separators, everything else. Names are short, so that
# a thousand of them without an end do not each search the rest of the menu for it; possessive
# repetition ("++") keeps no state for each character.
_GRUB_TOKEN = re.compile(
    r"""(?P<space>[ \t\r]+|\\\n)|(?P<comment>\#[^\n]*)|(?P<end>[\n;])|(?P<brace>[{}])(?=\s|;|\Z)
    |(?P<word>(?:'[^']*+'|"(?:\\.|[^"\\])*+"|\$\{[^}\s]{,64}\}|\\.|[^\s;'"\\])++)|(?P<stray>.)""",
    re.VERBOSE | re.DOTALL,
)
_GRUB_PIECE = re.compile(
    r"""'([^']*)'|"((?:\\.|[^"\\])*)"|\\(.)|(\$\{?\w+\}?)|([^'"\\$]+|\$)""", re.DOTALL
)
_GRUB_VARIABLE = re.compile(r"\$\{(\w+)\}|\$(\w+)")
_GRUB_DEVICE = re.compile(r"\A\([^)]*\)")
_LINUX = ("linux", "linux16", "linuxefi")
_INITRD = ("initrd", "initrd16", "initrdefi")
_SOURCES = ("source", "configfile", ".")
# Options of menuentry and submenu whose value is the next word.
_WITH_VALUE = ("--class", "--users", "--hotkey", "--id", "--source")
# Not known before a boot, and of no use to an entry that is started without its boot loader.
_EMPTY_VALUE = re.compile(r"\A[\w.\-/]+=\Z")


@dataclass
class _Grub:
    """State of a GRUB menu that is read."""

    read: Reader
    menu: str
    variables: dict[str, str] = field(default_factory=dict)
    entries: list[MenuEntry] = field(default_factory=list)
    places: list[tuple[int, ...]] = field(default_factory=list)
    visited: set[str] = field(default_factory=set)
    words: int = 0

    def expand(self, word: str) -> tuple[str, bool]:
        """Return a word without quotes and with its variables, and whether one was not set."""
        parts: list[str] = []
        length = 0
        unset = False

        def value(name: str) -> str:
            nonlocal unset
            unset = unset or name not in self.variables
            return self.variables.get(name, "")

        for found in _GRUB_PIECE.finditer(word[:_LONGEST_WORD]):
            single, double, escaped, variable, plain = found.groups("")
            if double:
                text = _GRUB_VARIABLE.sub(lambda found: value(found[1] or found[2]), double)
                parts.append(re.sub(r"\\([\\\"$])", r"\1", text))
            elif variable:
                parts.append(value(variable.strip("${}")))
            else:
                parts.append(single or escaped or plain)
            length += len(parts[-1])
            if length > LONGEST_TEXT:
                break
        return "".join(parts)[:LONGEST_TEXT], unset


def read_grub(read: Reader, menu: str) -> list[MenuEntry]:
    """Return the entries of a GRUB menu.

    Args:
        read: Reads the menu and what it includes.
        menu: Path of ``grub.cfg`` or ``loopback.cfg``.
    """
    state = _Grub(read, menu)
    state.variables.update(prefix=posixpath.dirname(menu), root="")
    _source(state, menu, 0)
    chosen = _grub_default(state)
    return [
        entry if index != chosen else MenuEntry(**{**vars(entry), "preferred": True})
        for index, entry in enumerate(state.entries)
    ]


def _grub_default(state: _Grub) -> int | None:
    """Return the index of the entry that the variable ``default`` names, by number or title."""
    default = state.variables.get("default", "0").strip()
    if re.fullmatch(r"\d{1,4}(>\d{1,4})*", default):
        place = tuple(int(number) for number in default.split(">"))
        return state.places.index(place) if place in state.places else None
    titles = [entry.title for entry in state.entries]
    return titles.index(default) if default in titles else None


def _source(state: _Grub, path: str, depth: int) -> None:
    if path in state.visited or len(state.visited) >= MOST_FILES or depth > DEEPEST:
        return
    state.visited.add(path)
    text = state.read(path)
    if text is not None:
        _block(state, _statements(state, text), (), depth, "", None)


def _statements(state: _Grub, text: str) -> Iterator[list[str]]:
    """Yield the statements of a script as lists of raw words; braces are statements."""
    words: list[str] = []
    for found in _GRUB_TOKEN.finditer(text):
        state.words += 1
        if state.words > MOST_WORDS:
            break
        if found["word"]:
            words.append(found["word"])
        elif found["brace"] == "{":
            yield [*words, "{"]
            words = []
        elif found["brace"] == "}":
            if words:
                yield words
            yield ["}"]
            words = []
        elif found["end"] and words:
            yield words
            words = []
    if words:
        yield words


@dataclass
class _Open:
    """An entry whose commands are being read."""

    title: str
    kernel: str = ""
    options: str = ""
    initrds: tuple[str, ...] = ()


def _block(
    state: _Grub,
    statements: Iterator[list[str]],
    place: tuple[int, ...],
    depth: int,
    title: str,
    entry: _Open | None,
) -> None:
    """Execute statements up to the closing brace."""
    number = 0
    branches: list[bool] = []
    for words in statements:
        name = words[0]
        if name == "}":
            return
        if name == "if":
            branches.append(False)
        elif name == "fi":
            del branches[-1:]
        elif name in ("else", "elif") and branches:
            branches[-1] = True
        # What follows a condition's own words on their line is a command.
        if name in ("then", "else", "do"):
            words = words[1:]
        if not words or words[0] in ("if", "elif", "fi"):
            continue
        name = words[0]
        if words[-1] == "{":
            if depth >= DEEPEST:
                return
            shown = _title(state, words[1:-1])
            if name == "menuentry":
                _entry(state, statements, (*place, number), depth, shown)
                number += 1
            elif name == "submenu":
                _block(state, statements, (*place, number), depth + 1, shown, None)
                number += 1
            else:
                _block(state, statements, place, depth + 1, title, entry)
        else:
            _command(state, words, depth, entry, branch=any(branches))


def _title(state: _Grub, words: list[str]) -> str:
    """Return the title among the arguments of a menu entry."""
    known = iter(words)
    for word in known:
        if word in _WITH_VALUE:
            next(known, None)
        elif not word.startswith("--"):
            return state.expand(word)[0]
    return ""


def _entry(
    state: _Grub,
    statements: Iterator[list[str]],
    place: tuple[int, ...],
    depth: int,
    title: str,
) -> None:
    entry = _Open(title)
    _block(state, statements, place, depth + 1, title, entry)
    if entry.kernel and len(state.entries) < MOST_ENTRIES:
        state.places.append(place)
        state.entries.append(
            MenuEntry(entry.title, entry.kernel, entry.initrds, entry.options, state.menu)
        )


def _command(
    state: _Grub, words: list[str], depth: int, entry: _Open | None, *, branch: bool
) -> None:
    name = words[0]
    if name in ("set", "export") or re.match(r"\w+=", name):
        for word in words[1:] if name in ("set", "export") else words:
            variable, equals, value = word.partition("=")
            # The first branch of a condition counts.
            if equals and not (branch and variable in state.variables):
                state.variables[variable] = state.expand(value)[0]
        return
    if name in _SOURCES and len(words) > 1 and entry is None:
        _source(state, grub_path(state.expand(words[1])[0], state.menu), depth + 1)
    elif entry is not None and name in _LINUX and len(words) > 1:
        entry.kernel = grub_path(state.expand(words[1])[0], state.menu)
        options: list[str] = []
        room = LONGEST_TEXT
        for word in words[2:]:
            text, unset = state.expand(word)
            if room <= 0:
                break
            if text and not (unset and _EMPTY_VALUE.match(text)):
                options.append(text)
                room -= len(text)
        entry.options = " ".join(" ".join(options).split())[:LONGEST_TEXT]
    elif entry is not None and name in _INITRD:
        found = [state.expand(word)[0] for word in words[1 : MOST_INITRDS + 1]]
        # With "newc:NAME:PATH" GRUB makes an archive of a file.
        entry.initrds = tuple(
            grub_path(path, state.menu)
            for path in found
            if path and not path.startswith(("newc:", "--"))
        )


def grub_path(path: str, menu: str) -> str:
    """Return a path of GRUB's without its device; a relative one counts from the menu."""
    return _absolute(_GRUB_DEVICE.sub("", path), posixpath.dirname(menu))


def _absolute(path: str, folder: str) -> str:
    joined = path if path.startswith("/") else f"{folder}/{path}"
    return posixpath.normpath("/" + joined.lstrip("/"))


@dataclass
class _Label:
    name: str
    title: str = ""
    kernel: str = ""
    append: str | None = None
    initrds: str = ""
    preferred: bool = False


def read_syslinux(read: Reader, menu: str) -> list[MenuEntry]:
    """Return the entries of a menu of syslinux, isolinux, extlinux or pxelinux.

    Args:
        read: Reads the menu and what it includes.
        menu: Path of the configuration.
    """
    labels: list[_Label] = []
    default, append = "", ""
    for words, value in _syslinux_lines(read, menu, set(), 0):
        keyword = words[0].lower()
        label = labels[-1] if labels else None
        if keyword == "label":
            if len(labels) >= MOST_ENTRIES:
                break
            labels.append(_Label(value))
        elif keyword == "default":
            default = value
        elif keyword == "append" and label is None:
            append = value
        elif label is None:
            continue
        elif keyword in ("kernel", "linux"):
            label.kernel = value
        elif keyword == "append":
            label.append = value
        elif keyword == "initrd":
            label.initrds = value
        elif keyword == "menu" and len(words) > 1 and words[1].lower() == "default":
            label.preferred = True
        elif keyword == "menu" and len(words) > 2 and words[1].lower() == "label":
            label.title = " ".join(words[2:]).replace("^", "")
    chosen = any(label.preferred for label in labels)
    return [
        _syslinux_entry(
            label, append, menu, label.preferred or (not chosen and label.name == default)
        )
        for label in labels
        if label.kernel and not label.kernel.lower().endswith((".c32", ".bin", ".0", "memdisk"))
    ]


def _syslinux_entry(label: _Label, append: str, menu: str, preferred: bool) -> MenuEntry:
    options = append if label.append is None else label.append
    words = [] if options.strip() == "-" else options.split()
    kernel, _, more = label.kernel.partition(" ")
    words = [*more.split(), *words]
    initrds = label.initrds
    kept = []
    for word in words:
        if word.startswith("initrd="):
            initrds = word.removeprefix("initrd=")
        else:
            kept.append(word)
    folder = posixpath.dirname(menu)
    return MenuEntry(
        (label.title or label.name)[:LONGEST_TEXT],
        _absolute(kernel, folder),
        tuple(_absolute(path, folder) for path in initrds.split(",")[:MOST_INITRDS] if path),
        " ".join(kept)[:LONGEST_TEXT],
        menu,
        preferred,
    )


def _syslinux_lines(
    read: Reader, path: str, visited: set[str], depth: int
) -> Iterator[tuple[list[str], str]]:
    """Yield the lines of a menu and of those that it includes: words, and all after the first."""
    if path in visited or len(visited) >= MOST_FILES or depth > DEEPEST:
        return
    visited.add(path)
    text = read(path)
    for line in (text or "").splitlines()[:MOST_WORDS]:
        words = line[:LONGEST_TEXT].split()
        if not words or words[0].startswith("#"):
            continue
        lowered = [word.lower() for word in words[:2]]
        included = None
        if lowered[0] in ("include", "config") and len(words) > 1:
            included = words[1]
        elif lowered == ["menu", "include"] and len(words) > 2:
            included = words[2]
        if included is not None:
            folder = posixpath.dirname(path)
            yield from _syslinux_lines(read, _absolute(included, folder), visited, depth + 1)
        else:
            yield words, " ".join(words[1:])


def read_loader_entry(read: Reader, path: str) -> MenuEntry | None:
    """Return the entry of systemd-boot (or of GRUB's ``blscfg``) in a file; None if it has none.

    Args:
        read: Reads it.
        path: Of the file in ``loader/entries``.
    """
    title, kernel = "", ""
    initrds: list[str] = []
    options: list[str] = []
    for line in (read(path) or "").splitlines()[:MOST_WORDS]:
        key, _, value = line.strip()[:LONGEST_TEXT].replace("\t", " ").partition(" ")
        value = value.strip()
        if key == "title":
            title = value
        elif key == "linux":
            kernel = _absolute(value, "/")
        elif key == "initrd" and len(initrds) < MOST_INITRDS:
            initrds.append(_absolute(value, "/"))
        elif key == "options":
            options.append(value)
    if not kernel:
        return None
    text = " ".join(options)[:LONGEST_TEXT]
    return MenuEntry(title or posixpath.basename(path), kernel, tuple(initrds), text, path)
