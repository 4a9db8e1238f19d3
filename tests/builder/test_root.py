# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
import ast
import inspect
import subprocess
from pathlib import Path

import pytest

from bootprof.builder import desktop, identity, languages, overlay, patches, root
from bootprof.builder.config import LiveConfig, System
from bootprof.builder.root import Additions
from bootprof.builder.roottree import open_tree
from bootprof.errors import InputError
from tests.builder import canary


def fill(folder: Path, names: tuple[str, ...]) -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("host")


def test_the_newest_kernel_with_an_initrd_is_found(tmp_path: Path) -> None:
    boot = tmp_path / "boot"
    boot.mkdir()
    for release in ("6.1.0-9-amd64", "6.1.0-10-amd64", "6.12.1-amd64"):
        (boot / f"vmlinuz-{release}").touch()
    for release in ("6.1.0-9-amd64", "6.1.0-10-amd64"):
        (boot / f"initrd.img-{release}").touch()
    (boot / "config-6.1.0-10-amd64").write_text("CONFIG_RD_ZSTD=y\n")
    kernel = root.find_kernel(tmp_path)
    assert kernel.release == "6.1.0-10-amd64"
    assert kernel.options == "CONFIG_RD_ZSTD=y\n"


def test_a_kernel_that_links_out_of_the_root_is_not_taken_from_the_host(tmp_path: Path) -> None:
    outside = canary.plant(tmp_path / "outside")
    (tmp_path / "root").mkdir()
    (tmp_path / "root/boot").symlink_to(outside / "boot")
    with pytest.raises(InputError, match="no kernel with an initrd"):
        root.find_kernel(tmp_path / "root")
    # The same links mean a place in the tree, if there is something at it.
    inside = tmp_path / "root" / str(outside)[1:] / "boot"
    inside.mkdir(parents=True)
    (inside / "vmlinuz-1").touch()
    (inside / "initrd.img-1").touch()
    assert root.find_kernel(tmp_path / "root").image == inside / "vmlinuz-1"


def test_a_root_without_kernel_says_which_packages_to_add(tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        root.find_kernel(tmp_path)
    assert "linux-image" in caught.value.hint


def test_a_root_whose_links_lead_out_is_finished_without_touching_the_host(tmp_path: Path) -> None:
    """The whole second stage, over links as Debian has them and as an attacker would make them."""
    outside = canary.plant(tmp_path / "outside")
    raw = tmp_path / "raw"
    for folder in ("etc", "usr/lib/udev", "var/lib", "root"):
        (raw / folder).mkdir(parents=True)
    for name, target in (
        ("var/log", outside / "log"),
        ("var/lock", outside / "lock"),
        ("var/lib/apt", "../../../outside/log"),
        ("etc/hostname", outside / "etc/hostname"),
        ("etc/hosts", "../../outside/etc/hostname"),
        ("etc/machine-id", outside / "etc/passwd"),
        ("etc/localtime", "/usr/share/zoneinfo/Etc/UTC"),
        ("etc/resolv.conf", outside / "etc/passwd"),
        ("usr/lib/udev/rules.d", outside / "etc"),
        ("srv", outside),
    ):
        (raw / name).symlink_to(target)
    (raw / "etc/shadow").write_text("daemon:*:1:0:99999:7:::\nroot:*:1:0:99999:7:::\n")
    (raw / "etc/shadow").chmod(0o640)
    files = tmp_path / "files"
    fill(files, ("etc/localtime", "var/lock/planted", "srv/etc/passwd", "var/log/new.log"))
    rules = tmp_path / "60-live.rules"
    rules.write_text("rule")
    before, raw_before = canary.state(outside), canary.state(raw)
    root.finish(
        LiveConfig(system=System(hostname="here", root_password="pw")),
        raw,
        tmp_path / "root",
        Additions(files=overlay.scan(files), udev_rules=rules),
        tmp_path / "log",
    )
    assert canary.state(outside) == before
    assert canary.state(raw) == raw_before
    made = tmp_path / "root"
    assert (made / "etc/hostname").read_text() == "here\n"
    assert (made / "etc/machine-id").read_bytes() == b""
    assert not (made / "etc/resolv.conf").is_symlink()
    for name in ("etc/localtime", "var/lock/planted", "srv/etc/passwd", "var/log/new.log"):
        with open_tree(made) as tree:
            assert tree.read_file(name) == b"host", name
    assert made.stat().st_mtime_ns == raw.stat().st_mtime_ns


def test_the_password_of_root_is_one_that_crypt_takes(tmp_path: Path) -> None:
    fill(tmp_path, ("etc/shadow",))
    (tmp_path / "etc/shadow").write_text("root:*:1:0:99999:7:::\nuser:x:1:0:99999:7:::\n")
    (tmp_path / "etc/shadow").chmod(0o640)
    with open_tree(tmp_path) as tree:
        root.set_root_password(tree, "päss:word", 86400 * 20000)
    first, second, end = (tmp_path / "etc/shadow").read_text().split("\n")
    name, hashed, changed, _ = first.split(":", 3)
    assert (name, changed, second, end) == ("root", "20000", "user:x:1:0:99999:7:::", "")
    assert (tmp_path / "etc/shadow").stat().st_mode & 0o777 == 0o640
    salt = hashed.split("$")[2]
    told = subprocess.run(
        ["openssl", "passwd", "-6", "-salt", salt, "-stdin"],
        input="päss:word\n".encode(),
        capture_output=True,
        check=True,
    )
    assert told.stdout.decode().strip() == hashed


def test_a_root_without_an_entry_for_root_is_an_input_error(tmp_path: Path) -> None:
    with open_tree(tmp_path) as tree, pytest.raises(InputError, match=r"system\.root_password"):
        root.set_root_password(tree, "pw", 0)


@pytest.mark.parametrize("value", ["²", "-1", "1e9", "9" * 5000, "now"])
def test_an_epoch_that_is_no_number_is_an_input_error(
    value: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", value)
    with pytest.raises(InputError, match="SOURCE_DATE_EPOCH"):
        root.source_date_epoch(tmp_path)


def test_the_packages_of_a_root_are_listed_with_their_versions(tmp_path: Path) -> None:
    fill(tmp_path, (root.DPKG_STATUS,))
    (tmp_path / root.DPKG_STATUS).write_text(
        "Package: libc6\nStatus: install ok installed\nArchitecture: amd64\nVersion: 2.36-9\n"
        "Description: x\n Version: no field\n\n"
        "Package: gone\nStatus: deinstall ok config-files\nArchitecture: all\nVersion: 1\n\n"
    )
    assert root.packages(tmp_path) == {"libc6:amd64": "2.36-9"}


def test_modules_that_work_on_a_root_tree_leave_paths_to_the_one_that_guards_them() -> None:
    calls = {
        node.func.attr
        for module in (root, overlay, identity, desktop, languages, patches)
        for node in ast.walk(ast.parse(inspect.getsource(module)))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)
    }
    writing = {"write_text", "write_bytes", "mkdir", "symlink_to", "hardlink_to", "touch", "rename"}
    assert not calls & (writing | {"unlink", "rmdir", "rmtree", "chmod", "rglob", "copytree"})
