# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""Patches against root trees."""

import difflib
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bootprof.builder import patches
from bootprof.builder.roottree import open_tree
from bootprof.errors import InputError
from tests.builder import canary
from tests.builder.cage import caged

LINES = [f"line {number}\n" for number in range(1, 31)]


def diff(before: list[str], after: list[str], name: str = "etc/motd") -> str:
    return "".join(difflib.unified_diff(before, after, f"a/{name}", f"b/{name}"))


def apply(folder: Path, text: str) -> Path:
    """Apply one patch to ``folder/root``."""
    (folder / "patches").mkdir(exist_ok=True)
    (folder / "patches/one.patch").write_text(text)
    with open_tree(folder / "root") as tree:
        patches.apply(patches.scan(folder / "patches"), tree)
    return folder / "root"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "root/etc").mkdir(parents=True)
    (tmp_path / "root/etc/motd").write_text("".join(LINES))
    return tmp_path


def test_several_hunks_change_a_file_and_keep_its_mode(folder: Path) -> None:
    (folder / "root/etc/motd").chmod(0o750)
    wanted = ["first\n", *LINES[:4], *LINES[5:20], "new\n", *LINES[20:]]
    root = apply(folder, "Subject: why\n\n" + diff(LINES, wanted))
    assert (root / "etc/motd").read_text() == "".join(wanted)
    assert (root / "etc/motd").stat().st_mode & 0o7777 == 0o750


def test_a_hunk_whose_lines_have_moved_is_applied_and_said(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = diff(LINES, [*LINES[:9], "changed\n", *LINES[10:]])
    (folder / "root/etc/motd").write_text("above\nabove\n" + "".join(LINES))
    assert "\nchanged\n" in (apply(folder, text) / "etc/motd").read_text()
    assert "hunk 1 applied +2 lines from its place" in capsys.readouterr().err


def test_a_hunk_with_other_context_is_refused_with_patch_file_and_hunk(folder: Path) -> None:
    text = diff(LINES, ["first\n", *LINES[:19], "changed\n", *LINES[20:]])
    (folder / "root/etc/motd").write_text("".join(LINES).replace("line 22\n", "other\n"))
    with pytest.raises(InputError, match=r"one\.patch: line 8: etc/motd: hunk 2 does not match"):
        apply(folder, text)


def test_files_are_created_and_removed(folder: Path) -> None:
    text = (
        "diff --git a/usr/bin/tool b/usr/bin/tool\nnew file mode 100755\n"
        "--- /dev/null\n+++ b/usr/bin/tool\n@@ -0,0 +1 @@\n+#!/bin/sh\n"
        "\\ No newline at end of file\n"
        + diff(LINES, []).replace("+++ b/etc/motd", "+++ /dev/null")
    )
    root = apply(folder, text)
    assert (root / "usr/bin/tool").read_text() == "#!/bin/sh"
    assert (root / "usr/bin/tool").stat().st_mode & 0o777 == 0o755
    assert not (root / "etc/motd").exists()
    with pytest.raises(InputError, match="creates this file, but it exists"):
        apply(folder, text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("nothing here\n", "no unified diff"),
        ("GIT binary patch\n", "not supported"),
        ("rename from a\n", "not supported"),
        ("--- a/x\n+++ b/x\n", "expected a hunk"),
        ("--- a/x\n+++ b/x\n@@ -1,2 +1 @@\n-a\n", "shorter than it says"),
        ("--- a/x\n+++ b/x\n@@ -1 +1,2 @@\n a\n-b\n+c\n", "longer than it says"),
        ("--- x\n+++ x\n@@ -1 +1 @@\n-a\n+b\n", "first folder"),
        ("--- a/../x\n+++ b/../x\n@@ -1 +1 @@\n-a\n+b\n", "first folder"),
        ('--- "a/x\\n"\n+++ "b/x\\n"\n@@ -1 +1 @@\n-a\n+b\n', "quoted"),
        ("--- a/gone\n+++ b/gone\n@@ -1 +1 @@\n-a\n+b\n", "no such file in the root tree"),
    ],
)
def test_a_patch_that_cannot_be_applied_is_one_clear_line(
    text: str, message: str, folder: Path
) -> None:
    with pytest.raises(InputError, match=message) as caught:
        apply(folder, text)
    assert "one.patch" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_no_link_of_the_tree_leads_a_patch_out_of_it(tmp_path: Path) -> None:
    def body(folder: Path) -> None:
        outside = canary.plant(folder / "outside")
        before = canary.state(outside)
        (folder / "root/usr").mkdir(parents=True)
        (folder / "root/etc").symlink_to(outside / "etc")
        (folder / "root/file").symlink_to(outside / "etc/hostname")
        new = "--- /dev/null\n+++ b/etc/planted\n@@ -0,0 +1 @@\n+x\n"
        changed = (
            "--- a/file\n+++ b/file\n@@ -1 +1 @@\n-only the host may read this\n\\ No newline\n+x\n"
        )
        for text in (new, changed):
            try:
                apply(folder, text)
            except (InputError, OSError):
                continue
        assert canary.state(outside) == before

    caged(tmp_path, body)


TEXTS = st.lists(st.sampled_from(["a\n", "b\n", "c\n", "d\n"]), max_size=14)


@settings(max_examples=40)
@given(TEXTS, TEXTS, st.booleans(), st.booleans())
def test_what_diff_writes_gives_the_changed_file(
    tmp_path_factory: pytest.TempPathFactory,
    before: list[str],
    after: list[str],
    cut_before: bool,
    cut_after: bool,
) -> None:
    folder = tmp_path_factory.mktemp("patch")
    old, new = "".join(before), "".join(after)
    old, new = old[:-1] if cut_before else old, new[:-1] if cut_after else new
    for side, content in (("a", old), ("b", new)):
        (folder / side).mkdir()
        (folder / side / "f").write_text(content)
    made = subprocess.run(
        ["diff", "-U1", "a/f", "b/f"], cwd=folder, capture_output=True, check=False
    ).stdout.decode()
    if not made:
        return
    (folder / "root").mkdir()
    (folder / "root/f").write_text(old)
    assert (apply(folder, made) / "f").read_text() == new
