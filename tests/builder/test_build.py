import os
from pathlib import Path

import pytest

from bootprof.builder.build import BuildRequest, find_files, warn_if_stale
from bootprof.builder.config import LiveConfig, System
from bootprof.errors import InputError
from bootprof.files import file_digest
from tests.builder import small
from tests.trees import unpacked


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
    with pytest.raises(InputError, match="holds the output folder"):
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


@pytest.mark.vm
@pytest.mark.root
def test_only_what_depends_on_a_change_is_done_again(small_build: Path, tmp_path: Path) -> None:
    cache = small_build / "out/cache"
    first = small.build(small_build)
    (bootstrapped,) = cache.glob("bootstrap-*")
    before = bootstrapped.stat()
    (tmp_path / "files/etc").mkdir(parents=True)
    motd = tmp_path / "files/etc/motd"
    motd.write_text("hello")
    files = ["-D", f"system.files={tmp_path}/files"]
    with_file = small.build(small_build, *files)
    motd.chmod(0o600)
    with_mode = small.build(small_build, *files)
    slow_probes = small.build(small_build, "-D", "media.quick_probes=false")
    (after,) = cache.glob("bootstrap-*")
    assert (after.name, after.stat().st_ino) == (bootstrapped.name, before.st_ino)
    manifests = (first, with_file, with_mode, slow_probes)
    assert len({manifest["root"] for manifest in manifests}) == 4
    titled = small.build(small_build, "-D", "media.title=another")
    assert titled["squashfs"] == first["squashfs"]
    assert titled["image_sha256"] != first["image_sha256"]
    assert small.build(small_build)["image_sha256"] == first["image_sha256"]


@pytest.mark.vm
@pytest.mark.root
def test_files_laid_over_the_links_of_a_debian_root_stay_in_the_image(
    small_build: Path, tmp_path: Path
) -> None:
    zone = Path("/usr/share/zoneinfo/Etc/UTC")
    host = file_digest(zone) if zone.is_file() else None
    locks = sorted(path.name for path in Path("/run/lock").iterdir())
    for name in ("etc/localtime", "var/lock/planted", "var/run/planted", "bin/tool"):
        path = tmp_path / "files" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("from the configuration")
    manifest = small.build(small_build, "-D", f"system.files={tmp_path}/files")
    assert sorted(path.name for path in Path("/run/lock").iterdir()) == locks
    assert (file_digest(zone) if zone.is_file() else None) == host
    assert not Path("/run/planted").exists()
    found = unpacked(small_build / "out" / manifest["squashfs"], tmp_path / "unpacked")
    wanted = found["etc/localtime"]
    # Four files with the same content; where the root has a link to a folder, it is followed.
    for name in ("run/lock/planted", "run/planted", "usr/bin/tool"):
        assert found[name][6:] == wanted[6:], name
    assert found["etc/machine-id"][6] != wanted[6]
