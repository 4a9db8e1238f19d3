# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""Modules of a root tree get into an initrd archive with what they need, in the order to load."""

from __future__ import annotations

from pathlib import Path

import pytest

from bootprof.builder.initrd.modules import FOLDER, add_modules
from bootprof.builder.roottree import open_tree
from bootprof.errors import InputError

RELEASE = "6.1"
DEPENDENCIES = """\
kernel/fs/erofs/erofs.ko.xz: kernel/lib/libcrc32c.ko.xz kernel/lib/deeper.ko.xz
kernel/lib/libcrc32c.ko.xz: kernel/lib/deeper.ko.xz
kernel/lib/deeper.ko.xz:
kernel/crypto/crc32c-generic.ko.xz:
kernel/lib/other.ko.xz:
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "root/usr/lib/modules" / RELEASE
    folder.mkdir(parents=True)
    (tmp_path / "root/lib").symlink_to("usr/lib")
    (folder / "modules.dep").write_text(DEPENDENCIES)
    (folder / "modules.builtin").write_text("kernel/lib/lz4/lz4_decompress.ko\n")
    for line in DEPENDENCIES.splitlines():
        module = folder / line.partition(":")[0]
        module.parent.mkdir(parents=True, exist_ok=True)
        module.write_bytes(b"module " + module.name.encode())
    return tmp_path / "root"


def test_modules_are_copied_behind_those_that_they_need(root: Path, tmp_path: Path) -> None:
    names = ["crc32c_generic", "erofs", "lz4_decompress"]
    with open_tree(root) as tree:
        copied = add_modules(tree, RELEASE, names, tmp_path / "staging")
    assert copied == [
        "00-crc32c-generic.ko.xz",
        "01-deeper.ko.xz",
        "02-libcrc32c.ko.xz",
        "03-erofs.ko.xz",
    ]
    found = {path.name: path.read_bytes() for path in (tmp_path / "staging" / FOLDER).iterdir()}
    assert found == {name: b"module " + name[3:].encode() for name in copied}


@pytest.mark.parametrize("release", [RELEASE, "7.0"])
def test_a_module_that_the_kernel_does_not_have_is_named(
    release: str, root: Path, tmp_path: Path
) -> None:
    with open_tree(root) as tree, pytest.raises(InputError, match=f"{release} has no module none"):
        add_modules(tree, release, ["none"], tmp_path / "staging")


def test_without_names_nothing_is_added(root: Path, tmp_path: Path) -> None:
    with open_tree(root) as tree:
        assert add_modules(tree, RELEASE, [], tmp_path / "staging") == []
    assert not (tmp_path / "staging").exists()
