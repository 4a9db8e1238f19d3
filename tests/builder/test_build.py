from pathlib import Path

import pytest

from bootprof.builder.build import warn_if_stale


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
