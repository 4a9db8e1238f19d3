# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""What is chosen by a configuration, and that it cannot be taken away again."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from bootprof.builder import features
from bootprof.builder.config import Initrd, LiveConfig, Media, Network, Persistence, System
from bootprof.builder.initrd.repack import trimmed
from bootprof.errors import InputError

HEADER = "070701" + "{:08x}" * 13
PLAIN = LiveConfig(name="plain")
CONFIGS = {
    "persistence": replace(PLAIN, persistence=Persistence(enabled=True)),
    "encrypted": replace(PLAIN, persistence=Persistence(enabled=True, encrypted=True)),
    "nfs": replace(PLAIN, network=Network(root="nfs://192.0.2.1/live")),
    "nfs4": replace(PLAIN, network=Network(root="nfs4://192.0.2.1/live")),
    "http": replace(PLAIN, network=Network(root="http://192.0.2.1/live/filesystem.squashfs")),
    "eject": replace(PLAIN, media=Media(eject=True)),
}


def archive(names: list[str]) -> bytes:
    """Return a cpio archive of empty files (newc)."""
    data = b""
    for name in [*names, "TRAILER!!!"]:
        encoded = name.encode() + b"\0"
        fields = [0, 0o100644, 0, 0, 1, 0, 0, 0, 0, 0, 0, len(encoded), 0]
        data += HEADER.format(*fields).encode() + encoded
        data += bytes(-len(data) % 4)
    return data


@pytest.mark.parametrize("name", CONFIGS)
def test_leave_out_cannot_remove_a_driver_of_a_chosen_feature(name: str) -> None:
    config = CONFIGS[name]
    drivers = [each for feature in features.chosen(config) for each in feature.drivers]
    # All of them are named to be left out, by the folder and by the module.
    modules = [f"usr/lib/modules/6.1/kernel/{each}.ko" for each in drivers]
    modules += [f"usr/lib/modules/6.1/kernel/{each}/inside.ko" for each in drivers]
    other = "usr/lib/modules/6.1/kernel/drivers/other/thing.ko"
    unwanted = (*drivers, "drivers", "fs", "net", "crypto", "arch")
    initrd = features.applied(replace(config, initrd=Initrd(leave_out=unwanted))).initrd
    parts = [(archive([*modules, other]), False)]
    ((left, _),) = trimmed(parts, "initrd", initrd.leave_out, initrd.keep)
    assert all(f"{module}\0".encode() in left for module in modules)
    assert other.encode() not in left


def test_without_a_feature_nothing_is_added() -> None:
    assert features.chosen(PLAIN) == ()
    applied = features.applied(PLAIN)
    assert (applied.system, applied.initrd) == (PLAIN.system, PLAIN.initrd)
    assert applied.media == PLAIN.media
    assert features.files(PLAIN) == {}


@pytest.mark.parametrize("name", CONFIGS)
def test_packages_and_boot_options_are_added_to_those_of_the_configuration(name: str) -> None:
    config = replace(CONFIGS[name], system=System(packages=("linux-image-amd64",)))
    config = replace(config, media=replace(config.media, boot_options="boot=live"))
    applied = features.applied(config)
    assert applied.system.packages[0] == "linux-image-amd64"
    assert applied.media.boot_options.startswith("boot=live")
    for feature in features.chosen(config):
        assert set(feature.packages) <= set(applied.system.packages)
        assert feature.options in applied.media.boot_options


def test_only_encrypted_persistence_asks_for_a_passphrase() -> None:
    (plain,) = features.chosen(CONFIGS["persistence"])
    (encrypted,) = features.chosen(CONFIGS["encrypted"])
    assert "persistence-encryption=none " in plain.options
    assert "persistence-encryption=none,luks " in encrypted.options
    assert set(encrypted.packages) - set(plain.packages) == {"cryptsetup-initramfs"}
    # live-boot mounts all file systems writable to look for files, if it may.
    assert "persistence-storage=filesystem" in plain.options


def test_the_port_of_a_server_is_given_to_the_mount() -> None:
    config = replace(PLAIN, network=Network(root="nfs4://192.0.2.1:12049/live"))
    (feature,) = features.chosen(config)
    assert "nfsroot=192.0.2.1:/live bootprof.nfs=4.2 nfsopts=port=12049" in feature.options


def test_an_eject_never_waits_for_a_key() -> None:
    assert features.files(CONFIGS["eject"]) == {
        "etc/live/tools.conf": b"LIVE_MEDIUM_EJECT_VERBOSE=false\n"
    }


def test_a_command_line_that_gets_too_long_is_refused() -> None:
    config = replace(CONFIGS["nfs"], media=Media(boot_options="x" * 1950))
    with pytest.raises(InputError, match="with those of features"):
        features.applied(config)


@pytest.mark.parametrize("name", ["encrypted", "eject"])
def test_a_root_that_lacks_what_a_feature_needs_is_refused(name: str, tmp_path: Path) -> None:
    # As of another builder: no packages are installed in it.
    (feature,) = features.chosen(CONFIGS[name])
    with pytest.raises(InputError, match=f"the root tree has no {feature.needs[0]}") as caught:
        features.check_root(CONFIGS[name], tmp_path)
    assert feature.packages[-1] in caught.value.hint
    # Libraries and programs are below /usr, with links to them.
    for folder in ("bin", "lib", "sbin"):
        (tmp_path / "usr" / folder).mkdir(parents=True)
        (tmp_path / folder).symlink_to(f"usr/{folder}")
    for path in feature.needs:
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).touch()
    features.check_root(CONFIGS[name], tmp_path)
