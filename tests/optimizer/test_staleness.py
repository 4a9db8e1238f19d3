# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""What an update moves is found again, and nothing is made up."""

from __future__ import annotations

from pathlib import Path

import pytest

from optimizer.errors import InputError
from optimizer.staleness import RULES, Root, Staleness, check, version_key

# In the profile, in the new root, by which rule.
MOVES = [
    (
        b"/usr/lib/modules/6.1.0-9-amd64/kernel/fs/squashfs.ko",
        b"/usr/lib/modules/6.1.0-10-amd64/kernel/fs/squashfs.ko",
        "kernel-version",
    ),
    (b"/boot/vmlinuz-6.1.0-9-amd64", b"/boot/vmlinuz-6.1.0-10-amd64", "kernel-version"),
    (b"/usr/lib/python3.11/os.py", b"/usr/lib/python3.13/os.py", "python-version"),
    (
        b"/usr/lib/python3/dist-packages/__pycache__/apt.cpython-311.pyc",
        b"/usr/lib/python3/dist-packages/__pycache__/apt.cpython-313.pyc",
        "python-version",
    ),
    (b"/usr/bin/python3.11", b"/usr/bin/python3.13", "python-version"),
    (
        b"/usr/lib/python3/dist-packages/__pycache__/dbus.cpython-311.pyc",
        b"/usr/lib/python3/dist-packages/dbus.py",
        "byte-code",
    ),
    (
        b"/usr/lib/x86_64-linux-gnu/libz.so.1.2.13",
        b"/usr/lib/x86_64-linux-gnu/libz.so.1.3.1",
        "soname",
    ),
    (
        b"/usr/lib/x86_64-linux-gnu/libssl.so.1.1",
        b"/usr/lib/x86_64-linux-gnu/libssl.so.3",
        "soname",
    ),
    (
        b"/usr/lib/systemd/libsystemd-shared-252.so",
        b"/usr/lib/systemd/libsystemd-shared-257.so",
        "soname",
    ),
    (b"/sbin/init", b"/usr/sbin/init", "merged-usr"),
    (b"/usr/sbin/agetty", b"/usr/bin/agetty", "merged-usr"),
    (b"/usr/share/keymaps/de.map", b"/usr/share/keymaps/de.map.gz", "compression"),
    (b"/usr/share/perl/5.36.0/strict.pm", b"/usr/share/perl/5.38.2/strict.pm", "versioned-folder"),
    (b"/usr/lib/locale/C.UTF-8/LC_CTYPE", b"/usr/lib/locale/C.utf8/LC_CTYPE", "locale"),
    (
        b"/usr/lib/locale/C.UTF-8/LC_MESSAGES/SYS_LC_MESSAGES",
        b"/usr/lib/locale/C.utf8/LC_MESSAGES/SYS_LC_MESSAGES",
        "locale",
    ),
    (b"/usr/lib/locale/de_DE.utf8/LC_TIME", b"/usr/lib/locale/locale-archive", "locale"),
    (
        b"/var/cache/fontconfig/3830d5c3ddfd5cd38a049b759396e72e-le64.cache-7",
        b"/var/cache/fontconfig/3830d5c3ddfd5cd38a049b759396e72e-le64.cache-8",
        "font-cache",
    ),
    (
        b"/var/cache/fonts/0b1bcc92-5d25-4b91-a2a7-2e13e7c1d2f3-le64.cache-7",
        b"/var/cache/fonts/7ef2298fde41cc6eeb7af42e48b7d293-le64.cache-9",
        "font-cache",
    ),
    (
        b"/lib/modules/6.1.0-9-amd64/kernel/fs/ext4.ko.xz",
        b"/usr/lib/modules/6.1.0-10-amd64/kernel/fs/ext4.ko.zst",
        "kernel-version+compression",
    ),
]
NOT_MOVES = [
    b"/var/cache/gone/3830d5c3ddfd5cd38a049b759396e72e-le64.cache-7",
    b"/opt/lib/locale/C.UTF-8/LC_CTYPE",
    b"/usr/lib/modules/6.1.0-9-amd64/kernel/fs/reiserfs.ko",
    b"/usr/lib/x86_64-linux-gnu/libgone.so.1",
    b"/usr/lib/x86_64-linux-gnu/libssl-extra.so.1",
    b"/etc/removed",
    b"/usr/lib/python3.11/imp.py",
]


@pytest.fixture
def new(tmp_path: Path) -> Path:
    root = tmp_path / "new"
    for _, path, _ in MOVES:
        file = root / path.decode()[1:]
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("here")
    # Distractors: an older kernel that lacks the files, and a library that is farther away.
    (root / "usr/lib/modules/6.1.0-2-amd64").mkdir()
    (root / "usr/lib/x86_64-linux-gnu/libz.so.2.0").write_text("another ABI")
    (root / "etc").mkdir()
    (root / "etc/fstab").write_text("as ever")
    return root


@pytest.mark.parametrize(("old", "expected", "rule"), MOVES)
def test_what_moved_is_found(new: Path, old: bytes, expected: bytes, rule: str) -> None:
    found = check([old], Root(new))
    assert [(move.old, move.new) for move in found.moved] == [(old, expected)]
    assert found.moved[0].rule == rule
    assert found.paths == [expected]


@pytest.mark.parametrize("path", NOT_MOVES)
def test_what_is_gone_is_gone(new: Path, path: bytes) -> None:
    found = check([path], Root(new))
    assert (found.gone, found.paths, found.moved) == ((path,), [], ())
    assert found.gone_percent == 100


def test_every_rule_is_used_by_a_case_above() -> None:
    assert {rule.name for rule in RULES} == {name.split("+")[0] for _, _, name in MOVES}


def test_the_order_stays_and_each_path_is_there_once(new: Path) -> None:
    paths = [b"/etc/fstab", *(old for old, _, _ in MOVES), *NOT_MOVES, *(at for _, at, _ in MOVES)]
    found = check(paths, Root(new))
    assert found.paths == [b"/etc/fstab", *(at for _, at, _ in MOVES)]
    assert (found.kept, len(found.moved)) == (1 + len(MOVES), len(MOVES))
    assert found.gone == tuple(NOT_MOVES)
    assert found.moved_by_rule()["soname"] == 3
    # The result is of the new root: checked again, all of it is kept.
    again = check(found.paths, Root(new))
    assert again == Staleness(found.paths, len(found.paths), (), (), 0)


def test_links_of_the_new_root_are_followed_inside_of_it(new: Path) -> None:
    (new / "sbin").symlink_to("/usr/sbin")
    (new / "out").symlink_to("/../../../../../../etc")
    found = check([b"/sbin/init", b"/out/fstab", b"/out/passwd"], Root(new))
    assert (found.kept, found.gone) == (2, (b"/out/passwd",))


def test_files_that_the_old_root_did_not_have_do_not_count(new: Path, tmp_path: Path) -> None:
    old = tmp_path / "old"
    (old / "etc").mkdir(parents=True)
    (old / "etc/removed").write_text("was here")
    paths = [b"/etc/fstab", b"/etc/removed", b"/var/lib/made-at-boot"]
    found = check(paths, Root(new), Root(old))
    assert (found.kept, found.gone, found.never) == (1, (b"/etc/removed",), 1)
    assert found.gone_percent == 50
    assert check([], Root(new)).gone_percent == 0


def test_versions_are_compared_as_numbers() -> None:
    names = [b"6.1.0-9-amd64", b"6.1.0-10-amd64", b"6.12.1"]
    assert sorted(names, key=version_key) == names
    assert sorted([b"python3.9", b"python3.13", b"x"], key=version_key)[:2] == [
        b"python3.9",
        b"python3.13",
    ]


def test_a_root_has_to_be_a_directory(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="not a directory"):
        Root(tmp_path / "no")
