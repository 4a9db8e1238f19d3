# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""The folder of a profile never takes the place of what is the user's."""

import json
from pathlib import Path

import pytest

from bootprof.boot.folder import FAILURE, PROFILE, profile_folder
from bootprof.errors import BootprofError, InputError


def make(folder: Path, content: str = "{}") -> None:
    with profile_folder(folder) as temporary:
        (temporary / "guest").mkdir()
        (temporary / "guest/agent.log").write_text("kmod\tstarted\t\n")
        (temporary / PROFILE).write_text(content)


def fail(folder: Path) -> BootprofError:
    with (
        pytest.raises(BootprofError, match="no boot target") as raised,
        profile_folder(folder) as temporary,
    ):
        (temporary / "console.log").write_text("evidence")
        raise BootprofError("no boot target", hint="wait")
    return raised.value


def test_a_profile_replaces_an_earlier_one(tmp_path: Path) -> None:
    make(tmp_path / "p", "1")
    make(tmp_path / "p", "2")
    assert (tmp_path / "p" / PROFILE).read_text() == "2"
    assert [path.name for path in tmp_path.iterdir()] == ["p"]


def test_a_profile_of_an_earlier_version_is_replaced_too(tmp_path: Path) -> None:
    folder = tmp_path / "p"
    folder.mkdir()
    for name in ("bootlog.list", "bootlog.events", "blocktrace.tsv", "console.log", "nbdkit.log",
                 "profile.json", "agent.log", "processor", "stats", "tracepoints.log"):  # fmt: skip
        (folder / name).touch()
    make(folder, "2")
    assert (folder / PROFILE).read_text() == "2"


@pytest.mark.parametrize("name", ["notes.txt", "guest/notes.txt", "compare.html"])
def test_a_profile_with_a_file_of_the_users_in_it_is_not_replaced(
    tmp_path: Path, name: str
) -> None:
    make(tmp_path / "p")
    (tmp_path / "p" / name).write_text("mine")
    with pytest.raises(InputError, match=f"it contains {name}"):
        make(tmp_path / "p")
    assert (tmp_path / "p" / name).read_text() == "mine"


def test_a_file_that_the_user_adds_during_the_boot_is_kept(tmp_path: Path) -> None:
    make(tmp_path / "p", "1")
    with (
        pytest.raises(InputError, match=r"it contains notes.txt"),
        profile_folder(tmp_path / "p") as temporary,
    ):
        (temporary / PROFILE).write_text("2")
        (tmp_path / "p/notes.txt").write_text("mine")
    assert (tmp_path / "p/notes.txt").read_text() == "mine"
    assert (tmp_path / "p" / PROFILE).read_text() == "1"


@pytest.mark.parametrize("what", ["folder", "file"])
def test_what_is_no_profile_is_not_replaced(tmp_path: Path, what: str) -> None:
    path = tmp_path / "p"
    if what == "folder":
        path.mkdir()
    else:
        path.touch()
    with pytest.raises(InputError, match="is not a profile"):
        make(path)


def test_a_failed_boot_keeps_what_it_recorded_and_the_earlier_profile(tmp_path: Path) -> None:
    folder = tmp_path / "p"
    make(folder, "1")
    error = fail(folder)
    failed = tmp_path / "p.failed"
    assert error.hint == f"wait; what was recorded of the boot is in {failed}"
    assert (failed / "console.log").read_text() == "evidence"
    assert json.loads((failed / FAILURE).read_text())["error"] == "no boot target"
    assert (folder / PROFILE).read_text() == "1"


def test_an_error_names_a_file_where_it_is_kept(tmp_path: Path) -> None:
    with pytest.raises(BootprofError) as raised, profile_folder(tmp_path / "p") as temporary:
        (temporary / "console.log").touch()
        raise BootprofError(f"{temporary / 'console.log'}: damaged")
    assert raised.value.message == f"{tmp_path / 'p.failed/console.log'}: damaged"


def test_the_next_failure_replaces_what_was_kept_and_a_success_removes_it(tmp_path: Path) -> None:
    fail(tmp_path / "p")
    fail(tmp_path / "p")
    assert [path.name for path in tmp_path.iterdir()] == ["p.failed"]
    make(tmp_path / "p")
    assert [path.name for path in tmp_path.iterdir()] == ["p"]


def test_a_folder_of_the_users_named_failed_is_never_touched(tmp_path: Path) -> None:
    mine = tmp_path / "p.failed"
    mine.mkdir()
    (mine / "thesis.tex").write_text("mine")
    fail(tmp_path / "p")
    assert (tmp_path / "p.failed-1" / FAILURE).exists()
    make(tmp_path / "p")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["p", "p.failed"]
    assert (mine / "thesis.tex").read_text() == "mine"


def test_a_failed_profile_to_which_the_user_added_a_file_is_kept(tmp_path: Path) -> None:
    fail(tmp_path / "p")
    (tmp_path / "p.failed/notes.txt").write_text("mine")
    make(tmp_path / "p")
    assert (tmp_path / "p.failed/notes.txt").read_text() == "mine"


def test_a_symbolic_link_to_a_profile_stays_and_its_folder_is_replaced(tmp_path: Path) -> None:
    make(tmp_path / "p", "1")
    (tmp_path / "link").symlink_to("p")
    make(tmp_path / "link", "2")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "p" / PROFILE).read_text() == "2"
