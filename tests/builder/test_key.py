# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""What a key carries, and what cannot have a key."""

from __future__ import annotations

import hashlib
import os
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from bootprof.builder import bootmenu, features, kernelmodule, key, pool, prepared, store
from bootprof.builder.config import Key, LiveConfig, Media, Readahead, Squashfs, System
from bootprof.builder.initrd import additions, archive
from bootprof.builder.layers import as_toml, load_config
from bootprof.builder.media import contents
from bootprof.builder.media.contents import Contents, KeyParts, RootImage
from bootprof.builder.request import BuildRequest
from bootprof.builder.roottree import open_tree
from bootprof.errors import InputError

KEY = LiveConfig(name="key", key=Key(enabled=True))


def package(folder: Path, name: str, version: str) -> Path:
    """Write a package without content."""
    tree = folder / f"tree-{name}"
    (tree / "DEBIAN").mkdir(parents=True)
    (tree / "DEBIAN/control").write_text(
        f"Package: {name}\nVersion: {version}\nArchitecture: all\nMaintainer: nobody\n"
        "Description: empty\n of a test\n"
    )
    target = folder / f"{name}_{version}_all.deb"
    command: list[str | Path] = ["dpkg-deb", "--build", "--root-owner-group", tree, target]
    subprocess.run(command, check=True, capture_output=True)
    return target


def test_a_pool_is_an_archive_that_apt_installs_from(tmp_path: Path) -> None:
    archives = tmp_path / "root" / pool.ARCHIVES
    archives.mkdir(parents=True)
    for name in ("one", "two"):
        package(tmp_path, name, "1.0").rename(archives / f"{name}_1.0_all.deb")
    found = pool.obtain_pool(tmp_path / "cache", tmp_path / "root", "bookworm", 1_700_000_000)
    state = tmp_path / "apt"
    for name in ("lists/partial", "archives/partial", "dpkg"):
        (state / name).mkdir(parents=True)
    (state / "dpkg/status").touch()
    (state / "sources.list").write_text(f"deb [trusted=yes] copy:{found} ./\n")
    options = {
        "Dir::Etc::SourceList": state / "sources.list",
        "Dir::Etc::SourceParts": "/dev/null",
        "Dir::State::Lists": state / "lists",
        "Dir::State::Status": state / "dpkg/status",
        "Dir::Cache": state,
        "APT::Sandbox::User": "root",
        "Debug::NoLocking": "1",
    }
    words = ["apt-get", *(f"-o{name}={value}" for name, value in options.items())]
    subprocess.run([*words, "update"], check=True, capture_output=True)
    # As mmdebstrap chooses essential packages.
    wanted = "?narrow(?codename(^bookworm$),?name(^two$))"
    done = subprocess.run(
        [*words, "--yes", "--download-only", "install", wanted], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert (state / "archives/two_1.0_all.deb").is_file()


def test_the_index_has_the_priorities_of_the_archive(tmp_path: Path) -> None:
    one, two = (package(tmp_path, name, "1:1.0") for name in ("one", "two"))
    digest = hashlib.sha256(one.read_bytes()).hexdigest()
    lists = tmp_path / "example.org_Packages"
    lists.write_text(
        "Package: other\nSHA256: " + 64 * "0" + "\nFilename: pool/o.deb\n\n"
        f"Package: one\nPriority: required\nFilename: pool/o/one_1.deb\nSHA256: {digest}\n"
    )
    first, second = pool.index_of([one, two], [lists]).decode().split("\n\n")
    assert first.splitlines() == [
        "Package: one",
        "Priority: required",
        f"Filename: ./{one.name}",
        f"SHA256: {digest}",
    ]
    assert second.startswith("Package: two\n")
    assert f"Filename: ./{two.name}\n" in second


def test_an_empty_pool_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no packages"):
        pool.obtain_pool(tmp_path / "cache", tmp_path, "bookworm", 0)


def test_the_layer_has_what_is_new_and_nothing_of_what_belongs_to_the_live_system(
    tmp_path: Path,
) -> None:
    below, above = tmp_path / "below", tmp_path / "above"
    for tree, texts in (
        (below, {"etc/passwd": "a", "usr/bin/a": "a", "var/lib/x": "a"}),
        (
            above,
            {
                "etc/passwd": "ab", "etc/alternatives/b": "b", "usr/bin/a": "a", "usr/bin/b": "b",
                "usr/share/doc/b/copyright": "b", "usr/share/doc/b/README": "b",
                "var/lib/x": "ab",
            },
        ),
    ):  # fmt: skip
        for path, text in texts.items():
            (tree / path).parent.mkdir(parents=True, exist_ok=True)
            (tree / path).write_text(text)
            os.utime(tree / path, (1, 1))
    found = {entry.path for entry in key.added(below, above, 0).entries}
    files = {path for path in found if (above / path).is_file()}
    assert files == {"etc/alternatives/b", "usr/bin/b", "usr/share/doc/b/copyright"}


def test_the_program_is_in_the_layer_as_a_wheel_has_it() -> None:
    found = {path.removeprefix(f"{key.PACKAGE_FOLDER}/") for path, _ in key.software()}
    assert {"bootprof/cli.py", "optimizer/order.py", "bootprof/native/kmod/Kbuild"} <= found
    assert "bootprof/native/ebpf/Makefile" in found
    assert not [path for path in found if path.endswith((".pyc", ".o", ".ko"))]


def test_the_configuration_of_a_running_key_needs_no_network_and_no_host(tmp_path: Path) -> None:
    (tmp_path / "mine/etc").mkdir(parents=True)
    (tmp_path / "mine/etc/motd").write_text("hello\n")
    (tmp_path / "own.sort").write_text("usr/bin/a 1\n")
    config = replace(
        KEY,
        system=System(mirrors=("http://192.0.2.1/debian",), files="mine", keyring="keys.gpg"),
        squashfs=Squashfs(sort="own.sort"),
        readahead=Readahead(bootlog="gone"),
    )
    request = BuildRequest(config, tmp_path, tmp_path / "out")
    text, references = key.configuration(request, config)
    bootstrapped = tmp_path / "bootstrapped"
    (bootstrapped / "etc/apt").mkdir(parents=True)
    (bootstrapped / "etc/apt/sources.list").write_text("deb http://192.0.2.1/debian x main\n")
    (tmp_path / "layer").mkdir()
    with open_tree(tmp_path / "layer") as tree:
        key.write_configuration(tree, bootstrapped, text, references)
    folder = tmp_path / "layer" / key.CONFIGURATION
    loaded = load_config(folder / "live.cfg")
    assert loaded.system.mirrors == (f"deb [trusted=yes] copy:{key.MEDIUM}/pool ./",)
    assert (loaded.system.keyring, loaded.key.source) == ("", key.MEDIUM)
    inside = f"/{key.CONFIGURATION}"
    assert (loaded.system.files, loaded.squashfs.sort) == (
        f"{inside}/files",
        f"{inside}/further/sort",
    )
    assert (folder / "files/etc/motd").read_text() == "hello\n"
    assert (folder / "files/etc/apt/sources.list").is_file()
    assert (folder / "further/sort").read_text() == "usr/bin/a 1\n"
    same = replace(loaded, system=config.system, squashfs=config.squashfs, key=config.key)
    assert replace(same, readahead=config.readahead) == config


def test_a_configuration_as_text_is_that_configuration(tmp_path: Path) -> None:
    path = tmp_path / "live.cfg"
    for example in sorted((Path(__file__).parents[2] / "config").glob("*.cfg")):
        config = load_config(example)
        path.write_text(as_toml(config))
        assert load_config(path) == config


@pytest.mark.parametrize(
    "config",
    [
        replace(KEY, system=System(arch="i386")),
        replace(KEY, system=System(source="root.tar")),
        replace(KEY, media=Media(kinds=("netboot",))),
    ],
)
def test_what_cannot_have_a_key_is_refused(config: LiveConfig) -> None:
    with pytest.raises(InputError, match=r"key\.enabled needs"):
        key.check(config)


def test_a_root_from_elsewhere_takes_the_builder_of_another_key(tmp_path: Path) -> None:
    key.check(replace(KEY, system=System(source="root.tar"), key=Key(enabled=True, source="key")))
    with pytest.raises(InputError, match=r"builder\.squashfs: not found"):
        key.given(tmp_path)


def status(tree: Path, versions: dict[str, str]) -> Path:
    (tree / "var/lib/dpkg").mkdir(parents=True)
    (tree / "var/lib/dpkg/status").write_text(
        "\n".join(
            f"Package: {name}\nStatus: install ok installed\nArchitecture: amd64\n"
            f"Version: {version}\n"
            for name, version in versions.items()
        )
    )
    return tree


def test_a_pool_of_a_later_archive_is_refused(tmp_path: Path) -> None:
    below = status(tmp_path / "below", {"a": "1", "b": "1"})
    python = {"python3": "3.11.2-1+b1"}
    key.check_versions(below, status(tmp_path / "above", {"a": "1", "b": "1", **python}))
    with pytest.raises(InputError, match=r"1 packages .* example b:amd64: 1, now 2") as caught:
        key.check_versions(below, status(tmp_path / "later", {"a": "1", "b": "2", **python}))
    assert caught.value.hint == "bootprof build --refresh"


def test_a_suite_whose_python_is_too_old_is_refused(tmp_path: Path) -> None:
    below = status(tmp_path / "below", {})
    with pytest.raises(InputError, match=r"needs Python 3\.11, and the suite has 3\.9\.2-3"):
        key.check_versions(below, status(tmp_path / "above", {"python3": "3.9.2-3"}))


def test_what_is_prepared_needs_no_compiler(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = additions.MEDIUM_ID
    name = archive.small_name(source, "amd64")
    (tmp_path / name).write_bytes(b"program")
    (tmp_path / "thing-1234.so").write_bytes(b"thing")
    monkeypatch.setattr(prepared, "FOLDER", tmp_path)
    monkeypatch.setenv("PATH", "/nonexistent")
    archive.compile_small(source, tmp_path / "out", "amd64")
    assert (tmp_path / "out").read_bytes() == b"program"

    def make(_: Path) -> None:
        raise AssertionError("made again")

    found = store.obtain(tmp_path / "cache", "thing", "1234", make, ".so")
    assert found == (tmp_path / "thing-1234.so", True)


def test_a_module_that_exists_needs_no_headers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def find(folder: Path, name: str, digest: str) -> Path:
        del folder, digest
        return tmp_path / name

    monkeypatch.setattr(store, "find", find)
    built = kernelmodule.build_module("bookworm", tmp_path, kernel_release="6.1.0-1-amd64")
    assert built.module == tmp_path / "module-6.1.0-1-amd64/bootprof.ko"


@pytest.fixture
def medium(tmp_path: Path) -> Contents:
    """Return the contents of a key, of small files."""
    (tmp_path / "pool").mkdir()
    names = ("vmlinuz", "initrd", "root", "builder", "recorder", "pool/Packages", "pool/a.deb")
    for name in names:
        (tmp_path / name).write_text(name)
        (tmp_path / name).chmod(0o644)
    vmlinuz, initrd, root, builder, recorder = (tmp_path / name for name in names[:5])
    parts = KeyParts(builder, tmp_path / "pool", recorder, "rdinit=/bootprof/agent")
    roots = (RootImage("filesystem.squashfs", root),)
    return Contents(vmlinuz, (initrd,), "boot=live", roots, key=parts)


def test_only_the_recording_entry_loads_the_recorder(medium: Contents) -> None:
    menu = contents.menu_of(KEY.media, medium)
    found = {entry.id: (entry.options, entry.initrds) for entry in menu.entries}
    assert found == {
        "live": ("boot=live", ()),
        "record": ("boot=live rdinit=/bootprof/agent", ("/live/recorder.cpio",)),
    }
    grub, isolinux = bootmenu.configuration(menu), bootmenu.isolinux_configuration(menu)
    assert grub.count("initrd '/live/initrd'\n") == 1
    assert grub.count("initrd '/live/initrd' '/live/recorder.cpio'\n") == 1
    assert isolinux.count("initrd=/live/initrd boot=live") == 1
    assert isolinux.count("initrd=/live/initrd,/live/recorder.cpio boot=live") == 1


def test_a_medium_has_builder_and_pool_behind_what_a_boot_reads(
    medium: Contents, tmp_path: Path
) -> None:
    tree = tmp_path / "tree"
    contents.stage(KEY.media, medium, tree, epoch=1)
    names = contents.files_in_reading_order(tree, medium)
    assert names[-5:] == [
        "live/filesystem.squashfs",
        "live/recorder.cpio",
        "builder/builder.squashfs",
        "builder/pool/Packages",
        "builder/pool/a.deb",
    ]
    assert len(names) == len(set(names)) == len([p for p in tree.rglob("*") if p.is_file()])
    before = contents.digest_of(KEY.media, medium)
    (tmp_path / "pool/a.deb").write_text("other")
    assert contents.digest_of(KEY.media, medium) != before


def test_the_command_of_the_live_system_is_the_only_change_of_the_root() -> None:
    assert set(features.executables(KEY)) == {"usr/sbin/bootprof"}
    assert features.files(KEY) == {}
