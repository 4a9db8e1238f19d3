# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
from pathlib import Path

from bootprof.builder import identity
from bootprof.builder.roottree import open_tree

HOST_LEFTOVERS = (
    "etc/.pwd.lock",
    "etc/fstab",
    "etc/NetworkManager/system-connections/home.nmconnection",
    "etc/crypttab",
    "etc/network/interfaces.d/eth0",
    "etc/passwd-",
    "etc/resolv.conf",
    "etc/shadow-",
    "etc/ssh/ssh_host_ed25519_key",
    "var/cache/debconf/config.dat-old",
    "var/lib/apt/lists/deb_x",
    "var/lib/bluetooth/AA:BB/info",
    "var/lib/systemd/random-seed",
    "var/log/journal/0123/system.journal",
    "var/log/apt/history.log",
    "var/log/dpkg.log",
)


def test_cleaning_removes_what_belongs_to_the_build_host_or_one_machine(tmp_path: Path) -> None:
    for name in (*HOST_LEFTOVERS, *identity.EMPTIED, "etc/machine-id", "etc/hosts"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("host")
    (tmp_path / "var/log/wtmp").chmod(0o664)
    with open_tree(tmp_path) as tree:
        identity.clean(tree)
    assert not [name for name in HOST_LEFTOVERS if (tmp_path / name).exists()]
    for name in (*identity.EMPTIED, "etc/machine-id"):
        assert (tmp_path / name).read_bytes() == b"", name
    assert (tmp_path / "var/log/wtmp").stat().st_mode & 0o777 == 0o664
    assert (tmp_path / "etc/hosts").read_text() == "host"
    assert not (tmp_path / "etc/network/interfaces").exists()


def test_interfaces_of_one_machine_become_those_of_none(tmp_path: Path) -> None:
    (tmp_path / "etc/network").mkdir(parents=True)
    (tmp_path / "etc/network/interfaces").write_text("iface enp3s0 inet static\n")
    (tmp_path / "dev").mkdir()
    (tmp_path / "dev/sda").touch()
    with open_tree(tmp_path) as tree:
        identity.clean(tree)
    assert "enp3s0" not in (tmp_path / "etc/network/interfaces").read_text()
    assert not (tmp_path / "dev/sda").exists()
