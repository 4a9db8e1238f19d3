# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
import os
from pathlib import Path

import pytest

from bootprof.builder.config import LiveConfig, System
from bootprof.builder.request import BuildRequest
from bootprof.builder.rootimage import warn_if_stale
from bootprof.builder.roots import find_files
from bootprof.errors import InputError


@pytest.fixture
def sort(tmp_path: Path) -> Path:
    """A sort file of 20 files, of which the root has 18, and one under a newer version."""
    (tmp_path / "root/usr/lib").mkdir(parents=True)
    for number in range(18):
        (tmp_path / f"root/usr/lib/{number}").touch()
    (tmp_path / "root/usr/lib/libx.so.2").touch()
    names = [f"usr/lib/{number}" for number in range(18)] + ["usr/lib/libx.so.1", "usr/gone"]
    path = tmp_path / "distrib.sort"
    path.write_text("".join(f"{name} {100 - rank}\n" for rank, name in enumerate(names)))
    return path


def test_a_stale_sort_file_is_warned_of_with_what_to_do(
    sort: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    warn_if_stale(sort, tmp_path / "root", 5.0)
    said = capsys.readouterr().err
    assert "warning: 2 of 20 files" in said
    assert "(1 have moved, 1 are gone)" in said
    assert "bootprof check" in said


def test_below_the_threshold_nothing_is_said(
    sort: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    warn_if_stale(sort, tmp_path / "root", 10.0)
    assert capsys.readouterr().err == ""


def request(folder: Path, system: System) -> BuildRequest:
    return BuildRequest(LiveConfig(name="x", system=system), folder, folder / "out")


def test_files_that_hold_the_output_folder_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="contains the output folder"):
        find_files(request(tmp_path, System(files=".")))
    assert find_files(request(tmp_path, System())) is None


@pytest.mark.root
def test_files_that_belong_to_a_user_are_warned_of(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "files").mkdir()
    (tmp_path / "files/motd").touch()
    os.chown(tmp_path / "files/motd", 1000, 1000)
    assert find_files(request(tmp_path, System(files="files")))
    assert "1 of 1 entries" in (said := capsys.readouterr().err)
    assert 'set system.files_owner to "root"' in said
    find_files(request(tmp_path, System(files="files", files_owner="root")))
    assert capsys.readouterr().err == ""
