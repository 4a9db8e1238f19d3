# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""A root tree bootstrapped from Debian packages by mmdebstrap."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from bootprof.builder import languages
from bootprof.builder.config import System
from bootprof.builder.roottree import RootTree, open_tree
from bootprof.errors import InputError, ToolError
from bootprof.process import ISOLATED, last_line, program, run, tail

# A line of sources.list(5): type, options, and the rest.
DEB_LINE = re.compile(r"(deb(?:-src)?)\s+(\[[^\]]*\])?\s*(.+)")

# Of the log, where the cause of a failure is looked for: behind it, only mmdebstrap ends.
LOG_BYTES = 65536


def command(
    suite: str,
    architecture: str,
    packages: Sequence[str],
    components: Sequence[str] = (),
    options: Sequence[str] = (),
) -> list[str]:
    """Return the command that bootstraps a system, but for the folder and the mirrors.

    Args:
        suite: Debian suite.
        architecture: Debian architecture.
        packages: Packages on top of the minimal base system.
        components: Archive components; mmdebstrap's default if empty.
        options: Further options of mmdebstrap.
    """
    patterns = [name for name in packages if name.startswith(("?", "~"))]
    names = [name for name in packages if name not in patterns]
    return [
        *(*ISOLATED, program("mmdebstrap"), "--variant=minbase", f"--architectures={architecture}"),
        *([f"--components={','.join(components)}"] if components else []),
        *([f"--include={','.join(names)}"] if names else []),
        # mmdebstrap takes commas in an option that begins like a pattern for a part of it.
        *(f"--include={pattern}" for pattern in patterns),
        *options,
        # The archive's copy of a moving suite can be older than its Release file allows.
        *(['--aptopt=Acquire::Check-Valid-Until "false"'] if suite == "sid" else []),
        suite,
    ]


def command_of(system: System, options: Sequence[str] = ()) -> list[str]:
    """Return the command that bootstraps the system of an image, with further options."""
    packages, preseed = languages.packages(system), languages.preseed(system)
    return command(system.suite, system.arch, packages, system.components, [*preseed, *options])


def signed(system: System, keyring: Path) -> tuple[str, ...]:
    """Return the mirrors of a system as lines of sources.list that name the keys to check with.

    mmdebstrap's own option adds keys to those of the build host, where these shall be the only
    ones.

    Raises:
        InputError: The path cannot be in such a line, or a mirror is no line and no address.
    """
    if re.search(r"[\s\[\]\"]", str(keyring)):
        raise InputError(f"{keyring}: a space, quote or bracket in the path of system.keyring")
    option = f"[signed-by={keyring}]"
    lines = []
    for mirror in system.mirrors:
        if "signed-by=" in mirror:
            lines.append(mirror)
        elif found := DEB_LINE.fullmatch(mirror):
            others = found[2] or "[]"
            lines.append(f"{found[1]} {option[:-1]} {others[1:-1]}".rstrip() + f"] {found[3]}")
        elif re.match(r"[a-z+]+:", mirror):
            components = " ".join(system.components)
            lines.append(f"deb {option} {mirror} {system.suite} {components}")
        else:
            raise InputError(
                f"system.mirrors: {mirror!r:.80}: neither an address nor a line that begins with "
                "deb, so system.keyring cannot be used for it"
            )
    return tuple(lines)


def forget_keyring(tree: RootTree, keyring: Path) -> None:
    """Remove the path of the build host's keyring from the sources.list of a root tree."""
    for pattern in ("etc/apt/sources.list", "etc/apt/sources.list.d/*.list"):
        for path in tree.glob(pattern):
            content = tree.read_file(path)
            option = f"signed-by={keyring}".encode()
            if option in content:
                kept = content.replace(b"[" + option + b"] ", b"").replace(option, b"")
                tree.rewrite_file(path, kept)


def cause_of_failure(printed: bytes) -> str:
    """Return the first error in the output of mmdebstrap, printable, or nothing.

    Its last line says no more than that it failed.
    """
    found = re.search(rb"^E: (?!mmdebstrap failed).*", printed, re.MULTILINE)
    if found is None:
        return ""
    cause = last_line(found[0])
    if "Mirror sync in progress" in cause:
        cause += "; try again later, or name another archive with system.mirrors"
    return cause


def bootstrap(
    words: Sequence[str],
    target: Path,
    mirrors: Sequence[str],
    *,
    log_file: Path,
    progress: Callable[[str], None],
    env: Mapping[str, str] | None = None,
    keyring: Path | None = None,
) -> None:
    """Bootstrap a root tree.

    Args:
        words: From :func:`command`.
        target: Folder to make; it is whole only when this function has returned.
        mirrors: Archive addresses for mmdebstrap; if empty, mmdebstrap chooses them.
        log_file: Where the output of mmdebstrap goes.
        progress: Called with the last line of that output.
        env: Variables that package scripts see.
        keyring: File that the mirrors name, of which the root tree shall not know.

    Raises:
        ToolError: mmdebstrap failed; the hint is the cause that apt gave, if it gave one.
    """
    log_file.unlink(missing_ok=True)
    try:
        run([*words, target, *mirrors], env=env, log_file=log_file, progress=progress)
    except ToolError as error:
        cause = cause_of_failure(tail(log_file, LOG_BYTES))
        hint = f"{cause}; all it printed is in {log_file}" if cause else error.hint
        raise ToolError(str(error), hint=hint) from None
    if keyring is not None:
        times = target.stat()
        with open_tree(target) as tree:
            forget_keyring(tree, keyring)
        os.utime(target, ns=(times.st_atime_ns, times.st_mtime_ns))
