# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""Bootstraps: how packages and keys are given to mmdebstrap."""

import shutil
from pathlib import Path

import pytest

from bootprof.builder.config import System
from bootprof.builder.roottree import open_tree
from bootprof.builder.sources import debian
from bootprof.errors import InputError, ToolError

KEYS = Path("/keys/mine.gpg")


def test_a_pattern_of_apt_is_an_option_of_its_own() -> None:
    words = debian.command("bookworm", "amd64", ["?exact-name(a)", "b", "c"])
    assert [word for word in words if word.startswith("--include")] == [
        "--include=b,c",
        "--include=?exact-name(a)",
    ]
    assert not [word for word in debian.command("sid", "amd64", []) if "--include" in word]


@pytest.mark.parametrize(
    ("mirror", "line"),
    [
        ("http://x/y", "deb [signed-by=/keys/mine.gpg] http://x/y bookworm main contrib"),
        ("deb http://x/y a b", "deb [signed-by=/keys/mine.gpg] http://x/y a b"),
        ("deb [arch=i386] http://x a b", "deb [signed-by=/keys/mine.gpg arch=i386] http://x a b"),
        ("deb [signed-by=/other.gpg] http://x a b", "deb [signed-by=/other.gpg] http://x a b"),
    ],
)
def test_each_mirror_names_the_keyring(mirror: str, line: str) -> None:
    system = System(mirrors=(mirror,), components=("main", "contrib"))
    assert debian.signed(system, KEYS) == (line,)


def test_what_cannot_be_checked_with_the_keyring_is_refused() -> None:
    with pytest.raises(InputError, match="neither an address nor a line"):
        debian.signed(System(mirrors=("sources.list",)), KEYS)
    with pytest.raises(InputError, match="a space"):
        debian.signed(System(mirrors=("http://x",)), Path("/my keys/mine.gpg"))


def test_the_root_does_not_know_the_build_hosts_keyring(tmp_path: Path) -> None:
    (tmp_path / "etc/apt/sources.list.d").mkdir(parents=True)
    lines = "deb [signed-by=/keys/mine.gpg] http://x a b\ndeb [signed-by=/o.gpg] http://y a b\n"
    for name in ("sources.list", "sources.list.d/0001.list"):
        (tmp_path / "etc/apt" / name).write_text(lines)
    with open_tree(tmp_path) as tree:
        debian.forget_keyring(tree, KEYS)
    for name in ("sources.list", "sources.list.d/0001.list"):
        wanted = "deb http://x a b\ndeb [signed-by=/o.gpg] http://y a b\n"
        assert (tmp_path / "etc/apt" / name).read_text() == wanted


def test_a_failure_is_told_by_its_cause(tmp_path: Path) -> None:
    printed = """\
E: Failed to fetch http://x/Packages.xz  File has unexpected size (1 != 2). Mirror sync in progress?
E: Some index files failed to download.
E: mmdebstrap failed to run
"""
    # What stands for mmdebstrap gets the folder as the last of its arguments.
    words = ["sh", "-c", f"printf %s '{printed}'; exit 1"]
    log = tmp_path / "log"
    with pytest.raises(ToolError) as caught:
        debian.bootstrap(words, tmp_path / "root", (), log_file=log, progress=lambda _: None)
    assert caught.value.hint.startswith("E: Failed to fetch http://x/Packages.xz")
    assert "system.mirrors" in caught.value.hint
    assert str(log) in caught.value.hint


@pytest.mark.vm
@pytest.mark.root
def test_an_archive_that_other_keys_have_signed_is_refused(tmp_path: Path) -> None:
    """Debian's archive, with a keyring of its old keys that have signed nothing of it."""
    keyring = tmp_path / "keys.gpg"
    shutil.copy("/usr/share/keyrings/debian-archive-removed-keys.gpg", keyring)
    system = System(mirrors=("http://deb.debian.org/debian",))
    with pytest.raises(ToolError) as caught:
        debian.bootstrap(
            debian.command_of(system),
            tmp_path / "root",
            debian.signed(system, keyring),
            log_file=tmp_path / "log",
            progress=lambda _: None,
            keyring=keyring,
        )
    assert "NO_PUBKEY" in (tmp_path / "log").read_text()
    assert "is not signed" in caught.value.hint
