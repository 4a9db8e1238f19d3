# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""The layer of what one root tree changes of another, as overlayfs joins the two."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from bootprof.builder import changes, overlay
from bootprof.builder.roottree import open_tree

EPOCH = 1_600_000_000


def fill(folder: Path, files: dict[str, str]) -> Path:
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
        os.utime(path, (EPOCH, EPOCH))
    return folder


def state(folder: Path) -> dict[str, tuple[object, ...]]:
    found: dict[str, tuple[object, ...]] = {}
    for path in sorted(folder.rglob("*")):
        status = path.lstat()
        content: object = None
        if path.is_symlink():
            content = str(path.readlink())
        elif path.is_file():
            content = path.read_text(), status.st_mtime
        found[str(path.relative_to(folder))] = (status.st_mode, status.st_uid, content)
    return found


@pytest.fixture
def trees(tmp_path: Path) -> tuple[Path, Path]:
    """Two trees that differ in each way in which two can."""
    base = fill(
        tmp_path / "base",
        {
            **{f"same/{number}": "same" for number in range(5)},
            **dict.fromkeys(("content", "mode", "owner", "gone", "dir/gone", "to-link"), "old"),
            **dict.fromkeys(("folder-to-file/a", "link-to/a", "gone-folder/a/b"), "old"),
        },
    )
    (base / "file-to-folder").write_text("x")
    (base / "link-to-folder").symlink_to("link-to")
    os.link(base / "same/0", base / "same/second-name")
    above = tmp_path / "above"
    subprocess.run(["cp", "-a", base, above], check=True)
    (above / "content").write_text("new")
    os.utime(above / "content", (EPOCH, EPOCH))
    (above / "mode").chmod(0o600)
    os.chown(above / "owner", 1, 1)
    for name in ("gone", "dir/gone", "to-link", "link-to-folder", "file-to-folder"):
        (above / name).unlink()
    for name in ("folder-to-file", "gone-folder"):
        shutil.rmtree(above / name)
    (above / "to-link").symlink_to("content")
    (above / "folder-to-file").write_text("x")
    fill(above, {"link-to-folder/a": "old", "file-to-folder/a": "new", "new/deep/file": "new"})
    os.link(above / "new/deep/file", above / "new/other-name")
    (above / "dir").chmod(0o711)
    return base, above


@pytest.mark.root
def test_overlayfs_makes_the_upper_tree_of_the_lower_one_and_its_changes(
    trees: tuple[Path, Path], tmp_path: Path
) -> None:
    base, above = trees
    found = changes.between(base, above, EPOCH)
    assert not any(entry.path.startswith("same") for entry in found.entries)
    layer, merged, result = (tmp_path / name for name in ("layer", "merged", "result"))
    layer.mkdir()
    merged.mkdir()
    with open_tree(layer) as tree:
        overlay.apply(found, tree)
    options = f"lowerdir={layer}:{base}"
    script = 'mount -t overlay -o "$1" overlay "$2" && cp -a "$2" "$3"'
    subprocess.run(
        ["unshare", "--mount", "sh", "-c", script, "sh", options, merged, result], check=True
    )
    assert state(result) == state(above)


@pytest.mark.root
def test_an_unchanged_tree_has_no_changes(trees: tuple[Path, Path], tmp_path: Path) -> None:
    subprocess.run(["cp", "-a", trees[1], tmp_path / "copy"], check=True)
    assert changes.between(trees[1], tmp_path / "copy", EPOCH).entries == ()
