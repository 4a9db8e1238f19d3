# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""Hooks: which run, where, with what environment, and what a failure says."""

import os
import shutil
from pathlib import Path

import pytest

from bootprof.builder import hooks, root
from bootprof.builder.config import LiveConfig, System
from bootprof.builder.root import Additions
from bootprof.errors import InputError, ToolError

CONFIG = LiveConfig(
    name="demo",
    system=System(languages=("de_DE.UTF-8", "fr_FR.UTF-8"), install_env={"DESKTOP": "xfce"}),
)


def write(path: Path, text: str, mode: int = 0o755) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(mode)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A root tree that runs shell scripts."""
    made = tmp_path / "tree"
    for name in ("bin", "dev", "etc", "proc", "run", "tmp", "var/log"):
        (made / name).mkdir(parents=True)
    busybox = shutil.which("busybox")
    assert busybox is not None
    for name in ("busybox", "sh"):
        shutil.copy(busybox, made / "bin" / name)
    (made / "etc/fstab").touch()
    return made


def finished(tree: Path, folder: Path) -> Path:
    """Make a root tree with the hooks of a folder."""
    made = tree.parent / "made"
    added = Additions(hooks=hooks.scan(folder))
    root.finish(CONFIG, tree, made, added, tree.parent / "log")
    return made


@pytest.mark.root
def test_hooks_run_at_their_steps_in_order_inside_and_outside(tree: Path, tmp_path: Path) -> None:
    folder = tmp_path / "hooks"
    note = "#!/bin/sh\necho $BOOTPROF_STEP {} >> {}/log\n"
    write(folder / "bootstrapped/1", note.format("host $(ls $1/etc)", "$BOOTPROF_ROOT"))
    write(folder / "configured/2.chroot", note.format("$(busybox ls /etc)", ""))
    write(folder / "configured/1", note.format("first", "$1"))
    assert (finished(tree, folder) / "log").read_text().splitlines() == [
        "bootstrapped host fstab",
        "configured first",
        # Cleaned and configured before.
        "configured hostname hosts machine-id",
    ]


@pytest.mark.root
def test_a_hook_inside_sees_the_documented_environment_and_nothing_else(
    tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECRET_OF_THE_HOST", "x")
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    folder = tmp_path / "hooks"
    write(folder / "data/text", "given", 0o644)
    script = "#!/bin/sh\nbusybox env > /env\nbusybox cp $BOOTPROF_HOOKS/data/text /text\n"
    script += "busybox ls /dev /run /tmp > /places\n: > /tmp/left\n: > /run/left\n"
    write(folder / "configured/1.chroot", script)
    made = finished(tree, folder)
    lines = dict(line.split("=", 1) for line in (made / "env").read_text().splitlines())
    for name in ("PWD", "SHLVL", "OLDPWD"):
        lines.pop(name, None)
    assert lines == {
        "BOOTPROF_ARCH": "amd64",
        "BOOTPROF_HOOKS": "/run/bootprof",
        "BOOTPROF_LANGUAGES": "de_DE.UTF-8 fr_FR.UTF-8",
        "BOOTPROF_NAME": "demo",
        "BOOTPROF_ROOT": "/",
        "BOOTPROF_STEP": "configured",
        "BOOTPROF_SUITE": "bookworm",
        "DEBIAN_FRONTEND": "noninteractive",
        "DESKTOP": "xfce",
        "HOME": "/root",
        "LC_ALL": "C.UTF-8",
        "PATH": hooks.PATH,
        "SOURCE_DATE_EPOCH": "1700000000",
    }
    assert (made / "text").read_text() == "given"
    # No disk of the build host, and nothing that a hook leaves behind in these places.
    devices = (made / "places").read_text().split("\n\n")[0].split()[1:]
    assert (
        {"null", "zero", "urandom"}
        <= set(devices)
        <= {
            *("fd", "full", "null", "pts", "random", "shm", "stderr", "stdin", "stdout", "tty"),
            *("urandom", "zero"),
        }
    )
    assert not any(list((made / name).iterdir()) for name in ("dev", "proc", "run", "tmp"))


@pytest.mark.root
@pytest.mark.parametrize("name", ["7-fail.chroot", "7-fail"])
def test_a_failed_hook_is_named_with_its_step_status_and_last_line(
    name: str, tree: Path, tmp_path: Path
) -> None:
    write(tmp_path / "hooks/configured" / name, "#!/bin/sh\necho first\necho why >&2\nexit 3\n")
    with pytest.raises(ToolError) as caught:
        finished(tree, tmp_path / "hooks")
    said = f"hook {tmp_path}/hooks/configured/{name}: failed with status 3"
    assert str(caught.value) == said
    assert caught.value.hint == f"why; all it printed is in {tmp_path}/log"


@pytest.mark.root
def test_a_tree_whose_mount_points_are_links_runs_nothing(tree: Path, tmp_path: Path) -> None:
    (tree / "run").rmdir()
    (tree / "run").symlink_to(tmp_path)
    write(tmp_path / "hooks/bootstrapped/1.chroot", "#!/bin/sh\n: > /ran\n")
    with pytest.raises(InputError, match="run: not a folder"):
        finished(tree, tmp_path / "hooks")
    assert not (tmp_path / "made/ran").exists()


@pytest.mark.parametrize(
    ("name", "mode", "message"),
    [
        ("configurd/1", 0o755, "configurd: neither a step"),
        ("configured/1", 0o644, "configured/1: not executable"),
        ("finished/1.chroot", 0o755, "cannot run inside the root tree"),
    ],
)
def test_what_would_not_run_is_refused_before_anything_is_built(
    name: str, mode: int, message: str, tmp_path: Path
) -> None:
    write(tmp_path / name, "#!/bin/sh\n", mode)
    with pytest.raises(InputError, match=message):
        hooks.scan(tmp_path)


def test_the_digest_covers_all_that_can_change_the_root(tmp_path: Path) -> None:
    write(tmp_path / "configured/1", "#!/bin/sh\n")
    write(tmp_path / "data/x", "x", 0o644)

    def digest() -> str:
        found = hooks.scan(tmp_path).only("bootstrapped", "configured")
        assert found is not None
        return found.digest()

    seen = [digest()]
    (tmp_path / "data/x").write_text("y")
    seen.append(digest())
    (tmp_path / "configured/1").rename(tmp_path / "configured/2")
    seen.append(digest())
    (tmp_path / "configured/2").chmod(0o700)
    seen.append(digest())
    assert len(set(seen)) == 4
    os.utime(tmp_path / "data/x", (1, 1))
    write(tmp_path / "finished/1", "#!/bin/sh\n")
    assert digest() == seen[-1]
