# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""Small images that are booted: what is configured reaches the kernel with its meaning."""

import base64
import re
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from bootprof.boot.qemu import UEFI_FIRMWARE
from bootprof.builder import bootmenu, store
from bootprof.builder.config import Media
from bootprof.builder.media import iso, netboot
from bootprof.builder.media.contents import Contents, RootImage
from bootprof.process import program, run
from tests.builder.test_bootmenu import kernel_options
from vmtest.kernels import fetch_kernel

pytestmark = [pytest.mark.vm, pytest.mark.root]
EPOCH = 1_700_000_000
BOOT_SECONDS = 120
# A menu may leave the cursor in the middle of a line.
COMMAND_LINE = re.compile(r"kernel: ([A-Za-z0-9+/=]+)\s")

INIT = """\
#!/bin/busybox sh
/bin/busybox mount -t proc proc /proc
echo "kernel: $(/bin/busybox base64 -w 0 /proc/cmdline)"
/bin/busybox poweroff -f
"""
# The three things that a person writes freely. Every printable ASCII character is in the first.
CASES = {
    "punctuation": (
        "quiet a=b;c d=$HOME e=$(reboot) f=`reboot` {g} #h i|j&k <l> *m ?n ~o !p %q [r] s,t:u@v^w "
        'x="y z" "A B=C; D" E-F_G/.+= } ) ( $',
        'it\'s "$HOME" \\ ; } # $(reboot) `reboot` {',
        "A 'B' \"C\" $D;\\#}",
    ),
    "options of GRUB's commands": ("--help -h ---", "--help", "--set=x"),
    "letters of the world": ("a", "Système à démarrer: 起動 ✓", "X"),
    "full length": ("a=" + "b" * (bootmenu.MOST_OPTION_BYTES - 5), "T" * 200, "L" * 32),
}


NETWORK_OPTIONS = 'boot=live a=b;c x="y z" d#e $f console=ttyS0'


@dataclass(frozen=True)
class Parts:
    """What the images are made from, and a folder for them."""

    kernel: Path
    initrd: Path
    squashfs: Path
    folder: Path

    def contents(self, options: str) -> Contents:
        """Return the contents of a medium with these boot options."""
        roots = (RootImage("filesystem.squashfs", self.squashfs),)
        return Contents(self.kernel, (self.initrd,), options, roots)


@pytest.fixture(scope="module")
def parts(output: Path, tmp_path_factory: pytest.TempPathFactory) -> Parts:
    folder = tmp_path_factory.mktemp("boot")
    with store.opened(output / "cache"):
        kernel = fetch_kernel("bookworm", output / "cache")
    tree = folder / "tree"
    for name in ("bin", "proc", "dev"):
        (tree / name).mkdir(parents=True)
    shutil.copy(kernel.busybox, tree / "bin/busybox")
    (tree / "init").write_text(INIT)
    (tree / "init").chmod(0o755)
    names = "".join(f"{path.relative_to(tree)}\n" for path in sorted(tree.rglob("*")))
    archive = ["cpio", "--create", "--format=newc", "--quiet", "--owner=+0:+0"]
    (folder / "initrd.img").write_bytes(run(archive, cwd=tree, stdin=names.encode()))
    (folder / "squashfs").write_bytes(b"nothing is mounted here")
    return Parts(kernel.image, folder / "initrd.img", folder / "squashfs", folder)


def booted(image: Path, *firmware: str) -> str:
    """Boot an image as a CD; return the command line that its kernel got."""
    drive = f"file={image},media=cdrom,format=raw,readonly=on"
    return started("-nic", "none", "-drive", drive, *firmware)


def started(*further: str, inside: Sequence[str | Path] = ()) -> str:
    """Boot a machine; return the command line that its kernel got.

    Args:
        further: Arguments for QEMU.
        inside: Command that runs another one, which follows it: that of the machine.
    """
    command = [
        *(*inside, program("qemu-system-x86_64")),
        *("-accel", "tcg,thread=multi,tb-size=64", "-cpu", "max,-erms,-fsrm", "-m", "512"),
        *("-nodefaults", "-vga", "std", "-display", "none", "-no-reboot", "-serial", "stdio"),
        *further,
    ]
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, timeout=BOOT_SECONDS, check=False
    )
    console = done.stdout.decode(errors="replace")
    if found := COMMAND_LINE.search(console):
        return base64.b64decode(found[1]).decode()
    raise AssertionError(f"no command line on the console: {console[-3000:]}")


@pytest.mark.parametrize("firmware", ["bios", "uefi"])
@pytest.mark.parametrize("case", CASES)
def test_a_kernel_gets_the_options_that_are_configured(
    case: str, firmware: str, parts: Parts
) -> None:
    options, title, label = CASES[case]
    bootmenu.check_boot_options(options)
    bootmenu.check_title(title)
    bootmenu.check_label(label)
    image = parts.folder / "live.iso"
    options += " console=ttyS0"
    iso.make_iso(Media(title=title, label=label), parts.contents(options), image, epoch=EPOCH)
    # UEFI starts GRUB from another partition: it must find the medium by its label.
    got = booted(image, *(("-bios", str(UEFI_FIRMWARE)) if firmware == "uefi" else ()))
    name, _, rest = got.partition(" ")
    assert name == "BOOT_IMAGE=/live/vmlinuz"
    # GRUB puts the quotes around all of an option, which means the same.
    assert rest == options.replace('x="y z"', '"x=y z"') + "\n"


@pytest.mark.media
@pytest.mark.parametrize("case", ["punctuation", "letters of the world"])
def test_isolinux_starts_the_same_where_it_is_asked_for(case: str, parts: Parts) -> None:
    options, title, label = CASES[case]
    options += " console=ttyS0"
    image = parts.folder / "isolinux.iso"
    media = Media(title=title, label=label, boot_loader="isolinux")
    iso.make_iso(media, parts.contents(options), image, epoch=EPOCH)
    name, _, rest = booted(image).partition(" ")
    assert name == "BOOT_IMAGE=/live/vmlinuz"
    # It hands over its own option for the initial ramdisk, too.
    initrd, _, rest = rest.partition(" ")
    assert initrd == f"initrd=/live/{parts.initrd.name}"
    assert kernel_options(rest) == kernel_options(options)


@pytest.fixture(scope="module")
def boot_server(parts: Parts) -> Path:
    folder = parts.folder / "live.netboot"
    netboot.make_netboot(Media(), parts.contents(NETWORK_OPTIONS), folder, epoch=EPOCH)
    return folder


def started_from(server: Path, bootfile: str, card: str, *firmware: str) -> str:
    """Boot a machine without a medium; return the command line that its kernel got."""
    netdev = f"user,id=net,tftp={server},bootfile={bootfile}"
    return started("-netdev", netdev, "-device", f"{card},netdev=net,bootindex=0", *firmware)


@pytest.mark.media
def test_a_machine_without_a_medium_starts_from_a_boot_server(
    boot_server: Path, parts: Parts
) -> None:
    got = started_from(boot_server, "boot.ipxe", "virtio-net-pci")
    initrd, _, rest = got.partition(" ")
    assert initrd == f"initrd={parts.initrd.name}"
    assert kernel_options(rest) == kernel_options(NETWORK_OPTIONS)


@pytest.mark.media
@pytest.mark.parametrize(
    ("bootfile", "card", "firmware"),
    [
        ("grub.pxe", "virtio-net-pci", ()),
        # Without iPXE, which QEMU's network cards bring along.
        ("grubx64.efi", "virtio-net-pci,romfile=", ("-bios", str(UEFI_FIRMWARE))),
    ],
    ids=["bios", "uefi"],
)
def test_firmware_starts_grub_from_a_boot_server(
    bootfile: str, card: str, firmware: tuple[str, ...], boot_server: Path
) -> None:
    name, _, rest = started_from(boot_server, bootfile, card, *firmware).partition(" ")
    assert name == "BOOT_IMAGE=/live/vmlinuz"
    assert kernel_options(rest) == kernel_options(NETWORK_OPTIONS)


# A network of its own with a boot server: DHCP gives the address of GRUB to firmware that asks for
# one of HTTP, and a web server hands out the folder. ($1; the machine's command follows.)
HTTP_SERVER = """
ip link set lo up
ip tuntap add dev tap0 mode tap
ip addr add 192.0.2.1/24 dev tap0
ip link set tap0 up
dnsmasq --keep-in-foreground --conf-file=/dev/null --user=root --pid-file= --leasefile-ro --port=0 \
  --interface=tap0 --dhcp-range=192.0.2.100,192.0.2.150 --dhcp-vendorclass=set:http,HTTPClient \
  --dhcp-option-force=tag:http,60,HTTPClient \
  --dhcp-boot=tag:http,http://192.0.2.1/grubx64.efi >&2 &
python3 -m http.server 80 --bind 192.0.2.1 --directory "$1" >&2 &
shift
"$@"
"""


@pytest.mark.media
def test_uefi_starts_grub_from_a_web_server(boot_server: Path) -> None:
    network = "tap,ifname=tap0,script=no,downscript=no,model=virtio-net-pci"
    got = started(
        *("-nic", network, "-boot", "n", "-bios", str(UEFI_FIRMWARE)),
        # The firmware would try PXE first, for a minute.
        *("-fw_cfg", "name=opt/org.tianocore/IPv4PXESupport,string=n"),
        *("-fw_cfg", "name=opt/org.tianocore/IPv6PXESupport,string=n"),
        inside=[*("unshare", "--net", "--pid", "--fork", "--kill-child"),
                *("sh", "-ec", HTTP_SERVER, "sh", boot_server)],
    )  # fmt: skip
    name, _, rest = got.partition(" ")
    assert name == "BOOT_IMAGE=/live/vmlinuz"
    assert kernel_options(rest) == kernel_options(NETWORK_OPTIONS)
