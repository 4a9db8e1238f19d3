# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""What an update did to the files of a profile: which stay, which moved, which are gone.

If a path does not exist in the new root, :data:`RULES` propose candidates, in their order; the
first one that exists there counts as the same file. If no rule finds one, two rules are combined
(for example for a kernel module of another version that is now compressed).
"""

from __future__ import annotations

import errno
import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from optimizer.kernel import MISSING
from optimizer.order import Resolver

COMPRESSIONS = (b".zst", b".xz", b".gz", b".bz2")
MODULE_FOLDERS = (b"/usr/lib/modules", b"/lib/modules")
PYTHON_FOLDERS = (b"/usr/lib", b"/usr/local/lib")

KERNEL_MODULE = re.compile(rb"(?:/usr)?/lib/modules/[^/]+(/.+)", re.DOTALL)
KERNEL_FILE = re.compile(
    rb"(/boot/(?:vmlinuz|vmlinux|initrd\.img|initramfs|System\.map|config)-)[^/]+", re.DOTALL
)
PYTHON = re.compile(rb"(python|cpython-)(\d)(\.?)(\d+)")
PYTHON_FOLDER = re.compile(rb"python(\d)\.(\d+)")
BYTE_CODE = re.compile(rb"(.*/)__pycache__/([^/]+)\.cpython-\d+(?:\.opt-\d)?\.pyc", re.DOTALL)
# libz.so.1.2.13, and libsystemd-shared-252.so or libproc-2.0.17.so.1.
SONAME = re.compile(rb"(.+?\.so)\.\d[0-9A-Za-z_.+~-]*", re.DOTALL)
NUMBERED_LIBRARY = re.compile(rb"(.+?)-\d+(?:\.\d+)*(\.so)(?:\.\d[0-9.]*)?", re.DOTALL)
VERSION = re.compile(rb"\d+(?:\.\d+)*")
# 32 digits of MD5 or a UUID, the byte order with the word size and alignment of the machine (le64,
# le32d4), the version of the format: FcCacheBasenameMD5() of fontconfig's fccache.c.
FONT_CACHE = re.compile(
    rb"([0-9a-f]{32}|[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})(-[a-z0-9]+)?\.cache-[a-z0-9.-]+"
)
LOCALE = re.compile(rb"((?:/usr)?/lib/locale)/([^/]+)(/.+)?", re.DOTALL)


class Root:
    """The root directory of an image, with what is looked up in it remembered."""

    def __init__(self, root: Path) -> None:
        """Take a directory for the root of an image.

        Raises:
            InputError: It is not a directory.
        """
        self._resolver = Resolver(root)
        self._root = os.fsencode(root.resolve()).rstrip(b"/")
        self._names: dict[bytes, list[bytes]] = {}

    def has(self, path: bytes) -> bool:
        """Return whether something is there, following symbolic links inside the root.

        What lies in a directory that may not be entered is taken to be there.
        """
        try:
            self._resolver.resolve(path)
        except OSError as error:
            if error.errno in MISSING:
                return False
            if error.errno not in (errno.EACCES, errno.EPERM):
                raise
        return True

    def names(self, folder: bytes) -> list[bytes]:
        """Return the names in a directory, the newest version first; none if it is not there."""
        known = self._names.get(folder)
        if known is None:
            try:
                place = self._root + self._resolver.resolve(folder or b"/")[0]
                known = os.listdir(place)  # noqa: PTH208 - pathlib has no bytes
            except OSError:
                known = []
            known.sort(key=version_key, reverse=True)
            self._names[folder] = known
        return known


def version_key(name: bytes) -> list[tuple[int, int, bytes]]:
    """Return a key that sorts 6.1.0-9 before 6.1.0-10."""
    return [
        (1, int(part), b"") if part.isdigit() else (0, 0, part)
        for part in re.split(rb"(\d+)", name)
    ]


@dataclass(frozen=True)
class Rule:
    """A rule: how files move when a system is updated.

    Attributes:
        name: One word for reports.
        meaning: Description, on one line.
        propose: Yields where a path may be now, the best guess first.
    """

    name: str
    meaning: str
    propose: Callable[[bytes, Root], Iterator[bytes]]


def kernel_version(path: bytes, root: Root) -> Iterator[bytes]:
    """Propose the same file of the other kernels in the root, the newest first."""
    module, other = KERNEL_MODULE.fullmatch(path), KERNEL_FILE.fullmatch(path)
    for folder in MODULE_FOLDERS:
        for version in root.names(folder):
            if module is not None:
                yield folder + b"/" + version + module[1]
            elif other is not None:
                yield other[1] + version


def python_version(path: bytes, root: Root) -> Iterator[bytes]:
    """Propose the same file of the other Python versions in the root, the newest first."""
    if PYTHON.search(path) is None:
        return
    for folder in PYTHON_FOLDERS:
        for name in root.names(folder):
            found = PYTHON_FOLDER.fullmatch(name)
            if found is not None:
                yield PYTHON.sub(rb"\g<1>" + found[1] + rb"\g<3>" + found[2], path)


def byte_code(path: bytes, root: Root) -> Iterator[bytes]:
    """Propose the source of a Python module instead of its byte code."""
    found = BYTE_CODE.fullmatch(path)
    if found is not None:
        yield found[1] + found[2] + b".py"


def soname(path: bytes, root: Root) -> Iterator[bytes]:
    """Propose other versions of a shared library, the closest name first."""
    folder, _, name = path.rpartition(b"/")
    for pattern in (SONAME, NUMBERED_LIBRARY):
        found = pattern.fullmatch(name)
        if found is None:
            continue
        others = [
            other
            for other in root.names(folder)
            if (same := pattern.fullmatch(other)) is not None and same.groups() == found.groups()
        ]
        # libz.so.1.3 rather than libz.so.2 for libz.so.1.2; the newest among equals.
        others.sort(key=lambda other: -common_bytes(other, name))
        for other in others:
            yield folder + b"/" + other


def common_bytes(one: bytes, other: bytes) -> int:
    """Return how many bytes two names have in common at their start."""
    pairs = zip(one, other, strict=False)
    return next((place for place, (a, b) in enumerate(pairs) if a != b), min(len(one), len(other)))


def merged_usr(path: bytes, root: Root) -> Iterator[bytes]:
    """Propose /usr/lib for /lib, /usr/bin for /bin and for /usr/sbin, and the reverse."""
    first, _, rest = path[1:].partition(b"/")
    if first in (b"bin", b"sbin") or first.startswith(b"lib"):
        yield b"/usr" + path
    if first == b"usr":
        yield b"/" + rest
    for here, there in ((b"sbin", b"bin"), (b"bin", b"sbin")):
        for prefix in (b"/usr/", b"/"):
            if path.startswith(prefix + here + b"/"):
                yield prefix + there + path[len(prefix + here) :]


def compression(path: bytes, root: Root) -> Iterator[bytes]:
    """Propose the file under another compression, or without one."""
    bare = next((path.removesuffix(end) for end in COMPRESSIONS if path.endswith(end)), path)
    if bare != path:
        yield bare
    for end in COMPRESSIONS:
        yield bare + end


def versioned_folder(path: bytes, root: Root) -> Iterator[bytes]:
    """Propose directories whose name is another version number (perl/5.36, gcc/12)."""
    parts = path.split(b"/")
    for place in range(len(parts) - 2, 0, -1):
        if VERSION.fullmatch(parts[place]) is None:
            continue
        folder = b"/".join(parts[:place])
        for name in root.names(folder):
            if VERSION.fullmatch(name) is not None:
                yield b"/".join([folder, name, *parts[place + 1 :]])


def locale(path: bytes, root: Root) -> Iterator[bytes]:
    """Propose the same locale under another spelling of its name, or in the archive of all."""
    found = LOCALE.fullmatch(path)
    if found is None:
        return
    folder, name, file = found.groups()
    if name == b"locale-archive":
        # What was in the archive is now in folders: the names of the locales decide below.
        for other in root.names(folder):
            yield folder + b"/" + other + b"/LC_CTYPE"
        return
    for other in root.names(folder):
        if file is not None and other != name and same_locale(other, name):
            yield folder + b"/" + other + file
    yield folder + b"/locale-archive"


def same_locale(one: bytes, other: bytes) -> bool:
    """Return whether two names mean one locale, as C.UTF-8 and C.utf8 do for glibc."""
    return _normal_locale(one) == _normal_locale(other)


def _normal_locale(name: bytes) -> tuple[bytes, bytes, bytes]:
    bare, _, modifier = name.partition(b"@")
    language, _, codeset = bare.partition(b".")
    return language, re.sub(rb"[^a-z0-9]", b"", codeset.lower()), modifier


def font_cache(path: bytes, root: Root) -> Iterator[bytes]:
    """Propose the font cache of the same folder of fonts in another version, then any other one."""
    folder, _, name = path.rpartition(b"/")
    found = FONT_CACHE.fullmatch(name)
    if found is None:
        return
    others = [
        (same[1] != found[1], same[2] != found[2], other)
        for other in root.names(folder)
        if (same := FONT_CACHE.fullmatch(other)) is not None
    ]
    # Names that are random (UUIDs) or of another digest do not identify a folder. But a program
    # that looks for a font reads all caches, so any other cache is a correct replacement.
    start = int(found[1][:8], 16) % len(others) if others else 0
    for _, _, other in sorted(others[start:] + others[:start], key=lambda item: item[:2]):
        yield folder + b"/" + other


RULES = (
    Rule(
        "kernel-version",
        "/lib/modules/VERSION and /boot/vmlinuz-VERSION: the newest kernel of the new root",
        kernel_version,
    ),
    Rule(
        "python-version",
        "python3.X folders and cpython-3X names: the newest Python of the new root",
        python_version,
    ),
    Rule(
        "soname",
        "libX.so.VERSION and libX-VERSION.so: the closest version in the same folder",
        soname,
    ),
    Rule(
        "merged-usr", "/lib, /bin and /sbin below /usr or not; /usr/sbin and /usr/bin", merged_usr
    ),
    Rule("compression", "the same name with or without .zst, .xz, .gz, .bz2", compression),
    Rule(
        "versioned-folder",
        "a folder whose name is a version number, in another version: /usr/share/perl/5.36",
        versioned_folder,
    ),
    Rule(
        "locale",
        "/usr/lib/locale/C.utf8 and C.UTF-8; a locale that is in locale-archive, and the reverse",
        locale,
    ),
    Rule(
        "font-cache",
        "/var/cache/fontconfig/DIGEST-le64.cache-N: the cache of the same fonts in another version",
        font_cache,
    ),
    Rule("byte-code", "__pycache__/X.cpython-NN.pyc that is no longer there: X.py", byte_code),
)
"""The rules, in the order in which they are tried."""


@dataclass(frozen=True)
class Move:
    """A file that was found in another place.

    Attributes:
        old: Path in the profile.
        new: Path in the new root.
        rule: Name of the rule, or of both, with a plus sign between them.
    """

    old: bytes
    new: bytes
    rule: str


@dataclass(frozen=True)
class Staleness:
    """What an update did to a profile.

    Attributes:
        paths: The updated profile: kept and moved paths in their order, each one once.
        kept: Number of paths that are where they were.
        moved: Those that were found elsewhere.
        gone: Those that were not found.
        never: Number of paths that the old root did not have either; they are in none of the
            others.
    """

    paths: list[bytes]
    kept: int
    moved: tuple[Move, ...]
    gone: tuple[bytes, ...]
    never: int

    @property
    def gone_percent(self) -> float:
        """Share of the files that were not found, in percent of all but ``never``."""
        files = self.kept + len(self.moved) + len(self.gone)
        return 100 * len(self.gone) / files if files else 0.0

    def moved_by_rule(self) -> Counter[str]:
        """Return how many files each rule found."""
        return Counter(move.rule for move in self.moved)


def check(paths: Iterable[bytes], new: Root, old: Root | None = None) -> Staleness:
    """Look for the files of a profile in a new root.

    Args:
        paths: Absolute paths in the order of first access.
        new: The root after the update.
        old: The root that the profile was made of. If given, what is not there (files that were
            made during the boot) is passed over.
    """
    now: dict[bytes, None] = {}
    moved: list[Move] = []
    gone: list[bytes] = []
    kept = never = 0
    for path in dict.fromkeys(paths):
        if new.has(path):
            kept += 1
            now[path] = None
        elif old is not None and not old.has(path):
            never += 1
        elif (move := find(path, new)) is not None:
            moved.append(move)
            now[move.new] = None
        else:
            gone.append(path)
    return Staleness(list(now), kept, tuple(moved), tuple(gone), never)


def find(path: bytes, new: Root) -> Move | None:
    """Look for a path that the new root does not have; None if no rule finds it."""
    proposed: list[tuple[str, bytes]] = []
    for rule in RULES:
        for candidate in rule.propose(path, new):
            if new.has(candidate):
                return Move(path, candidate, rule.name)
            proposed.append((rule.name, candidate))
    for first, between in proposed:
        for rule in RULES:
            if rule.name == first:
                continue
            for candidate in rule.propose(between, new):
                if new.has(candidate):
                    return Move(path, candidate, f"{first}+{rule.name}")
    return None
