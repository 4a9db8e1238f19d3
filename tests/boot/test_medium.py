# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
import os
from pathlib import Path

import pytest

from bootprof.boot.medium import examine, require_unchanged
from bootprof.errors import BootprofError, InputError


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "image"
    path.write_bytes(b"a" * 4096)
    return path


def test_an_image_that_stays_the_same_is_accepted(image: Path) -> None:
    medium = examine(image)
    require_unchanged(medium, content=True)
    assert medium.size_bytes == 4096
    assert len(medium.sha256) == 64


def cut(image: Path) -> None:
    os.truncate(image, 512)


def replace(image: Path) -> None:
    other = image.with_name("other")
    other.write_bytes(image.read_bytes())
    other.replace(image)


def rewrite(image: Path) -> None:
    image.write_bytes(b"b" * 4096)


def delete(image: Path) -> None:
    image.unlink()


@pytest.mark.parametrize("change", [cut, replace, rewrite, delete], ids=lambda f: f.__name__)
def test_an_image_that_changes_during_a_boot_is_an_error(image: Path, change: object) -> None:
    medium = examine(image)
    assert callable(change)
    change(image)
    with pytest.raises(BootprofError, match="during the boot"):
        require_unchanged(medium, content=False)


def test_a_change_that_hides_its_time_is_found_by_the_digest(image: Path) -> None:
    status = image.stat()
    medium = examine(image)
    rewrite(image)
    os.utime(image, ns=(status.st_atime_ns, status.st_mtime_ns))
    require_unchanged(medium, content=False)
    with pytest.raises(BootprofError, match="changed during the boot"):
        require_unchanged(medium, content=True)


def test_an_image_that_is_not_there_is_an_input_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such image"):
        examine(tmp_path / "nothing.iso")
