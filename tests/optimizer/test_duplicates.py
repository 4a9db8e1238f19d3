# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
import os
from pathlib import Path

from optimizer.duplicates import find_duplicates


def write(root: Path, **contents: str) -> None:
    for name, content in contents.items():
        path = root / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)


def test_files_of_the_same_content_are_duplicates(tmp_path: Path) -> None:
    write(tmp_path, etc__hot="same", usr__share__cold="same", usr__cold="same", etc__other="else")
    assert find_duplicates(tmp_path, [b"etc/hot"]) == {b"etc/hot": [b"usr/cold", b"usr/share/cold"]}


def test_a_file_of_the_same_size_is_no_duplicate(tmp_path: Path) -> None:
    write(tmp_path, hot="same", cold="emas")
    assert find_duplicates(tmp_path, [b"hot"]) == {}


def test_a_wanted_file_is_no_duplicate_of_another(tmp_path: Path) -> None:
    write(tmp_path, one="same", two="same")
    assert find_duplicates(tmp_path, [b"one", b"two"]) == {}


def test_hard_links_empty_files_and_what_is_no_file_are_passed_over(tmp_path: Path) -> None:
    write(tmp_path, hot="same", empty="", other="")
    (tmp_path / "hard").hardlink_to(tmp_path / "hot")
    (tmp_path / "soft").symlink_to("hot")
    os.mkfifo(tmp_path / "pipe")
    wanted = [b"hot", b"empty", b"soft", b"pipe", b"missing"]
    assert find_duplicates(tmp_path, wanted) == {}


def test_a_name_may_hold_any_byte(tmp_path: Path) -> None:
    name = b"\xff new\nline \\x2d"
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + name)).write_text("same")
    write(tmp_path, hot="same")
    assert find_duplicates(tmp_path, [b"hot"]) == {b"hot": [name]}
