from pathlib import Path

import pytest

from bootprof.builder import root
from bootprof.errors import InputError


def test_the_newest_kernel_with_an_initrd_is_found(tmp_path: Path) -> None:
    boot = tmp_path / "boot"
    boot.mkdir()
    for release in ("6.1.0-9-amd64", "6.1.0-10-amd64", "6.12.1-amd64"):
        (boot / f"vmlinuz-{release}").touch()
    for release in ("6.1.0-9-amd64", "6.1.0-10-amd64"):
        (boot / f"initrd.img-{release}").touch()
    assert root.find_kernel(tmp_path).release == "6.1.0-10-amd64"


def test_a_root_without_kernel_says_which_packages_to_add(tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        root.find_kernel(tmp_path)
    assert "linux-image" in caught.value.hint


def test_cleaning_removes_what_belongs_to_the_build_host(tmp_path: Path) -> None:
    names = ("etc/fstab", "etc/resolv.conf", "var/lib/apt/lists/deb_x", "var/log/dpkg.log")
    for name in (*names, "etc/machine-id", "etc/hosts"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("host")
    root.clean(tmp_path)
    assert not any((tmp_path / name).exists() for name in names)
    assert (tmp_path / "etc/machine-id").read_bytes() == b""
    assert (tmp_path / "etc/hosts").read_text() == "host"
