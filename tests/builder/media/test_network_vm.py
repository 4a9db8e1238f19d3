# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""A root on a server: NFS 3 and 4, HTTP, and a server that does not answer.

Server and machine are in a network namespace of their own, which has nothing but a loopback.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import pytest

from bootprof.builder.features import network_root
from bootprof.builder.layers import load_config
from tests.builder.media.booting import Booted, boot, build, configure, settings

pytestmark = [pytest.mark.media, pytest.mark.vm, pytest.mark.root]

# QEMU's network without privileges reaches the host as 10.0.2.2.
HOST = "10.0.2.2"
NFS4_PORT = 12049
HTTP_PORT = 18080
SETTINGS = settings(
    "network",
    f"""
kinds = ["netboot"]
[network]
root = "nfs4://{HOST}:{NFS4_PORT}/live"
""",
)
GANESHA = """\
NFS_CORE_PARAM {{
    NFS_Port = {port};
    Protocols = {protocols};
    Enable_NLM = false;
    Enable_RQUOTA = false;
    Enable_UDP = false;
}}
NFSV4 {{ Graceless = true; RecoveryBackend = fs; }}
EXPORT {{
    Export_Id = 1;
    Path = {path};
    Pseudo = /live;
    Access_Type = RO;
    Squash = No_Root_Squash;
    SecType = sys;
    Protocols = {protocols};
    Transports = TCP;
    FSAL {{ Name = VFS; }}
}}
"""
# The machine waits for its server itself; what was started here ends with the namespace's command.
INSIDE = """\
#!/bin/sh
ip link set lo up
ip addr add 192.0.2.1/32 dev lo
{servers}
"$@"
status=$?
kill $started
exit $status
"""


@dataclass(frozen=True)
class Served:
    """The folder of a boot server, and its first entry's options without those of the root."""

    folder: Path
    options: str


@pytest.fixture(scope="module")
def served(output: Path, tmp_path_factory: pytest.TempPathFactory) -> Served:
    folder = tmp_path_factory.mktemp("network")
    path = configure(folder, SETTINGS)
    (netboot,) = build(path, output, "--no-sort")
    script = (netboot / "boot.ipxe").read_text()
    kernel = next(line for line in script.splitlines() if line.startswith("kernel "))
    options = kernel.partition(" ")[2].partition(" ")[2]
    added = network_root(load_config(path, [])).options
    assert added in options
    return Served(netboot, options.replace(added, "").strip())


def start(served: Served, root: str, servers: str, folder: Path) -> Booted:
    """Boot from the files of the boot server, with another root and these servers."""
    config = configure(folder / "config", SETTINGS)
    options = network_root(load_config(config, [f"network.root={root}"])).options
    names = [word[7:] for word in served.options.split() if word.startswith("initrd=")]
    initrd = folder / "initrd"
    archives = [(served.folder / "live" / name).read_bytes() for name in names]
    # A boot loader fills up, since the kernel looks for the next one at a multiple of 4.
    initrd.write_bytes(b"".join(data + bytes(-len(data) % 4) for data in archives))
    script = folder / "inside.sh"
    script.write_text(INSIDE.format(servers=servers))
    return boot(
        *("-kernel", str(served.folder / "live/vmlinuz"), "-initrd", str(initrd)),
        *("-append", f"{served.options} {options}"),
        *("-nic", "user,model=virtio-net-pci"),
        folder=folder,
        inside=["unshare", "--net", "--", "sh", script],
    )


def ganesha(served: Served, folder: Path, port: int, protocols: int) -> str:
    """Return the shell commands that start an NFS server."""
    config = folder / "ganesha.conf"
    path = os.fspath(served.folder.resolve())
    config.write_text(GANESHA.format(port=port, protocols=protocols, path=path))
    words = f"ganesha.nfsd -F -f {config} -L {folder}/ganesha.log -p {folder}/ganesha.pid"
    before = "rpcbind -f & started=$!; sleep 1\n" if protocols == 3 else "started=\n"
    return f'{before}{words} &\nstarted="$started $!"; sleep 3'


def test_a_root_by_nfs_4(served: Served, tmp_path: Path) -> None:
    servers = ganesha(served, tmp_path, NFS4_PORT, 4)
    found = start(served, f"nfs4://{HOST}:{NFS4_PORT}/live", servers, tmp_path)
    medium = found.mounts["/run/live/medium"]
    assert medium.type == "nfs4"
    assert {"ro", f"port={NFS4_PORT}"} <= medium.options
    assert found.mounts["/run/live/rootfs/filesystem.squashfs"].type == "squashfs"


def test_a_root_by_nfs_3_without_locks(served: Served, tmp_path: Path) -> None:
    path = os.fspath(served.folder.resolve())
    servers = ganesha(served, tmp_path, 2049, 3)
    found = start(served, f"nfs://{HOST}{path}", servers, tmp_path)
    medium = found.mounts["/run/live/medium"]
    assert medium.type == "nfs"
    assert {"ro", "vers=3", "nolock"} <= medium.options


def test_a_root_by_http(served: Served, tmp_path: Path) -> None:
    servers = (
        f"python3 -m http.server {HTTP_PORT} --directory {served.folder} > /dev/null 2>&1 &\n"
        "started=$!; sleep 1"
    )
    address = f"http://{HOST}:{HTTP_PORT}/live/filesystem.squashfs"
    found = start(served, address, servers, tmp_path)
    assert found.mounts["/run/live/rootfs/filesystem.squashfs"].type == "squashfs"
    assert found.mounts["/run/live/medium"].type in ("ramfs", "tmpfs")


def test_a_server_that_does_not_answer_is_named(served: Served, tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match=f"the NFS server {HOST} does not answer"):
        start(served, f"nfs4://{HOST}:{NFS4_PORT}/live", "started=", tmp_path)
