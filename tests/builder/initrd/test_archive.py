# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""Initrd archives: what they hold does not depend on who writes them."""

import os
from pathlib import Path

from bootprof.builder.initrd.archive import add, staged
from bootprof.builder.roottree import open_tree


def written(folder: Path, umask: int) -> bytes:
    """Return an archive and the mode of a new folder of a root tree, written with a umask."""
    before = os.umask(umask)
    try:
        folder.mkdir(mode=0o700)
        script, plain = folder / "script", folder / "plain"
        script.write_text("#!/bin/sh\n")
        script.chmod(0o700)
        plain.write_text("x")
        with staged(folder / "archive", 1_700_000_000) as staging:
            add(script, staging, "usr/lib")
            (staging / "plain").write_text("x")
            (staging / "link").symlink_to("plain")
        (folder / "tree").mkdir()
        with open_tree(folder / "tree") as tree:
            tree.make_folder("etc/made")
        mode = (folder / "tree/etc/made").stat().st_mode
    finally:
        os.umask(before)
    return (folder / "archive").read_bytes() + str(mode).encode()


def test_the_umask_of_a_user_changes_no_byte(tmp_path: Path) -> None:
    assert written(tmp_path / "private", 0o077) == written(tmp_path / "usual", 0o022)
