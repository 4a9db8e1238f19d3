# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""Bootlogs from recordings of other tools: one module for each tool, and their common protocol.

An import is a module of this package whose ``IMPORT`` states what it reads, how to distinguish it
from others, and how to turn it into a :class:`~optimizer.formats.events.Bootlog`. Every module
directly in this package is an import; shared code is in :mod:`bootprof.imports.common`.

To add an import: write ``bootprof/imports/NAME.py`` with an ``IMPORT``, a test with samples of the
tool, and a row in the table of docs/commands/convert.md.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from bootprof.errors import FormatError, InputError
from bootprof.imports.common.source import Source

if TYPE_CHECKING:
    from bootprof.backends.block_files import Located
    from optimizer.formats.events import Bootlog

__all__ = ["Import", "Source", "load", "names", "recognise"]


@dataclass(frozen=True)
class Import:
    """What one tool wrote, as a bootlog.

    Exactly one of ``read`` and ``locate`` is given. Both raise FormatError where the file is
    damaged or not of this tool, and InputError where something is missing.

    Attributes:
        name: Its name on the command line; its module has the same.
        summary: What it reads, on one line.
        gives: Operations of its events.
        record: How to record such a file, on one line.
        looks_like: Returns from the sample of a file whether the tool wrote it.
        read: Reads files that name files.
        locate: Finds the files of a log of block reads on the image that was booted.
        takes_several: One recording may consist of several files.
        is_fallback: Its look fits files of other tools too, so it is asked after all others.
    """

    name: str
    summary: str
    gives: str
    record: str
    looks_like: Callable[[Source], bool]
    read: Callable[[Sequence[Source]], Bootlog] | None = None
    locate: Callable[[Source, Path | None], Located] | None = None
    takes_several: bool = False
    is_fallback: bool = False

    @property
    def needs_image(self) -> bool:
        """Whether files can only be found with the image that was booted."""
        return self.locate is not None

    def bootlog(self, sources: Sequence[Source], image: Path | None = None) -> Bootlog:
        """Read a recording.

        Args:
            sources: Its files.
            image: The image that was booted, if available.

        Raises:
            InputError: There are several files and the tool writes one, or the image is missing or
                of another boot.
            FormatError: A file is damaged, or not of this tool.
        """
        if self.read is not None:
            return self.read(self._checked(sources))
        return self.located(sources, image).bootlog()

    def located(self, sources: Sequence[Source], image: Path | None) -> Located:
        """Find the files of a log of block reads, with any confidence; errors as above."""
        if self.locate is None:
            raise InputError(
                f"{self.name} records names of files, which have no confidence",
                hint="--threshold and --confidence apply to logs of block reads only",
            )
        return self.locate(self._checked(sources)[0], image)

    def _checked(self, sources: Sequence[Source]) -> Sequence[Source]:
        if not sources or (len(sources) > 1 and not self.takes_several):
            several = [item.name for item in map(load, names()) if item.takes_several]
            raise InputError(
                f"{self.name}: give one file, not {len(sources)}",
                hint=f"only recordings of {', '.join(several)} may consist of several files; "
                "convert the others one by one and use bootprof merge",
            )
        return sources


@cache
def names() -> tuple[str, ...]:
    """Return the names of all imports."""
    return tuple(item.name for item in pkgutil.iter_modules(__path__) if not item.ispkg)


@cache
def load(name: str) -> Import:
    """Return an import by its name.

    Raises:
        InputError: There is none of this name.
    """
    if name not in names():
        raise InputError(f"unknown format {name!r}", hint="known: " + ", ".join(names()))
    found: Import = importlib.import_module(f"{__name__}.{name}").IMPORT
    return found


def candidates(source: Source) -> list[Import]:
    """Return the imports whose tool may have written a file."""
    fits = [item for item in map(load, names()) if item.looks_like(source)]
    return [item for item in fits if not item.is_fallback] or fits


def recognise(sources: Sequence[Source]) -> Import:
    """Find out which tool wrote the files of a recording.

    Raises:
        InputError: It is a bootlog already, or several tools may have written it.
        FormatError: No tool that is known wrote it.
    """
    from bootprof.imports.common.others import describe

    found: list[Import] = []
    for source in sources:
        found = candidates(source)
        if found:
            break
    if len(found) == 1:
        return found[0]
    source = sources[0]
    if found:
        raise InputError(
            f"{source.name}: could be a file of {' or '.join(item.name for item in found)}",
            hint="choose one with --from",
        )
    what, hint = describe(source)
    raise FormatError(f"{source.name}: {what}", hint=hint)
