# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""Programs of the configuration (``system.hooks``) that a build runs at named steps.

A hook is an executable file in a folder that has the name of a step; the hooks of a step run in
the order of their names. A name that ends in ``.chroot`` runs inside the root tree, as in
live-build and mkosi; any other hook runs on the build host, with the path of the root tree as its
argument.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from bootprof import progress
from bootprof.builder.config import LiveConfig
from bootprof.builder.roottree import open_tree
from bootprof.errors import InputError
from bootprof.process import ISOLATED, run

STEPS = {
    "bootstrapped": "packages are installed, and nothing is cleaned yet",
    "configured": "the tree is cleaned and configured; your patches and files are in it",
    "finished": "the image is written",
}
# Files for the hooks, in a folder beside those of the steps.
DATA = "data"
# The step at which there is no root tree to change any more.
LAST = "finished"
CHROOT = ".chroot"
INSIDE = "/run/bootprof"
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
# In a mount namespace of its own: root, hooks, program. Devices are those that no disk is behind.
ENTER = """\
root=$1 hooks=$2
shift 2
mount -t proc proc "$root/proc"
mount -t tmpfs -o mode=0755 tmpfs "$root/dev"
for name in full null random tty urandom zero; do
  : > "$root/dev/$name"
  mount --bind "/dev/$name" "$root/dev/$name"
done
ln -s /proc/self/fd "$root/dev/fd"
ln -s fd/0 "$root/dev/stdin"
ln -s fd/1 "$root/dev/stdout"
ln -s fd/2 "$root/dev/stderr"
mkdir "$root/dev/shm" "$root/dev/pts"
mount -t tmpfs -o mode=0755 tmpfs "$root/run"
mkdir -m 1777 "$root/run/lock"
mkdir "$root/run/bootprof"
mount --bind "$hooks" "$root/run/bootprof"
mount -t tmpfs -o mode=1777 tmpfs "$root/tmp"
exec "$@"
"""


@dataclass(frozen=True)
class Hook:
    """One hook.

    Attributes:
        step: When it runs.
        name: Its file name.
    """

    step: str
    name: str

    @property
    def inside(self) -> bool:
        """Whether it runs inside the root tree."""
        return self.name.endswith(CHROOT)


@dataclass(frozen=True)
class Hooks:
    """The hooks of a configuration.

    Attributes:
        folder: Their folder.
        hooks: Each of them, in the order in which they run.
    """

    folder: Path
    hooks: tuple[Hook, ...]

    def only(self, *steps: str) -> Hooks | None:
        """Return the hooks of some steps, or None if there are none."""
        found = tuple(hook for hook in self.hooks if hook.step in steps)
        return Hooks(self.folder, found) if found else None

    def digest(self) -> str:
        """Return a digest of all that the hooks can do: names, modes and contents."""
        state = hashlib.sha256()
        places = {DATA, *(hook.step for hook in self.hooks)}
        for path in sorted(self.folder.rglob("*")):
            relative = path.relative_to(self.folder)
            if relative.parts[0] not in places:
                continue
            status = path.lstat()
            content = b""
            if stat.S_ISLNK(status.st_mode):
                content = os.fsencode(path.readlink())
            elif stat.S_ISREG(status.st_mode):
                content = path.read_bytes()
            state.update(repr((str(relative), status.st_mode, content)).encode())
        return state.hexdigest()


def scan(folder: Path) -> Hooks:
    """Look through the folder of hooks.

    Raises:
        InputError: It does not exist, or holds something that would not run.
    """
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder", hint="check system.hooks")
    for path in sorted(folder.iterdir()):
        if path.name not in (*STEPS, DATA):
            raise InputError(
                f"{path}: neither a step ({', '.join(STEPS)}) nor {DATA}",
                hint=f"files that hooks need belong into {folder / DATA}",
            )
    found = [examine(step, path) for step in STEPS for path in sorted((folder / step).glob("*"))]
    return Hooks(folder, tuple(found))


def examine(step: str, path: Path) -> Hook:
    """Return a hook of a step."""
    if not path.is_file():
        raise InputError(f"{path}: a hook must be a file")
    if not os.access(path, os.X_OK):
        raise InputError(f"{path}: not executable", hint=f"chmod +x {path}")
    hook = Hook(step, path.name)
    if hook.inside and step == LAST:
        raise InputError(
            f"{path}: cannot run inside the root tree, which is packed at this step",
            hint=f"move it to {path.parent.parent / 'configured'}, or remove {CHROOT}",
        )
    return hook


def environment(config: LiveConfig, epoch: int) -> dict[str, str]:
    """Return the variables that every hook of a build sees.

    Args:
        config: The configuration.
        epoch: Seconds since 1970 that no time in the image exceeds.
    """
    system = config.system
    return {
        **system.install_env,
        "BOOTPROF_NAME": config.name,
        "BOOTPROF_ARCH": system.arch,
        "BOOTPROF_SUITE": system.suite,
        "BOOTPROF_LANGUAGES": " ".join(system.languages),
        "SOURCE_DATE_EPOCH": str(epoch),
    }


def run_step(
    hooks: Hooks, step: str, root: Path, variables: Mapping[str, str], log_file: Path
) -> None:
    """Run the hooks of a step.

    Args:
        hooks: Those of the configuration.
        step: One of :data:`STEPS`.
        root: Root tree.
        variables: From :func:`environment`, and what is known at this step only.
        log_file: Where their output goes.

    Raises:
        ToolError: A hook failed.
        InputError: The tree lacks what a hook needs to run inside it.
    """
    for hook in hooks.hooks:
        if hook.step != step:
            continue
        with progress.step(f"hook {step}/{hook.name}") as update:
            folder = hooks.folder.resolve()
            told = {**variables, "BOOTPROF_STEP": step}
            if hook.inside:
                told |= {"BOOTPROF_ROOT": "/", "BOOTPROF_HOOKS": INSIDE}
                program: list[str | Path] = [f"{INSIDE}/{step}/{hook.name}"]
                command = inside(root, folder, program, told)
            else:
                told |= {"BOOTPROF_ROOT": str(root), "BOOTPROF_HOOKS": str(folder)}
                # env reports what the kernel cannot execute, with a status as a shell's.
                settings = [f"{name}={value}" for name, value in told.items()]
                command = ["env", *settings, folder / step / hook.name, root]
            run(
                command,
                log_file=log_file,
                progress=update,
                shown=f"hook {hooks.folder}/{step}/{hook.name}",
            )
            update("done")


def inside(
    root: Path, folder: Path, program: list[str | Path], variables: Mapping[str, str]
) -> list[str | Path]:
    """Return the command that runs a program inside a root tree.

    It gets /proc, the devices without a disk behind them, an empty /run and an empty /tmp. Mounts
    and processes are gone when it has ended.

    Args:
        root: Root tree.
        folder: Folder that the program sees as ``/run/bootprof``.
        program: Its path in the tree, and its arguments.
        variables: Its whole environment, with PATH, HOME and LC_ALL.

    Raises:
        InputError: A mount point is a link, which could lead out of the tree.
    """
    with open_tree(root) as tree:
        for name in ("proc", "dev", "run", "tmp"):
            found = tree.status(name)
            if found is None or not stat.S_ISDIR(found.st_mode):
                raise tree.error(name, "not a folder, so nothing can run inside the tree")
    settings = {
        "PATH": PATH,
        "HOME": "/root",
        "LC_ALL": "C.UTF-8",
        "DEBIAN_FRONTEND": "noninteractive",
        **variables,
    }
    return [
        *(*ISOLATED, "sh", "-euc", ENTER, "sh", root, folder),
        *("env", "--ignore-environment", *(f"{name}={value}" for name, value in settings.items())),
        *("chroot", root, *program),
    ]
