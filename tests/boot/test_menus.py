# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""Menus as distributions write them, and menus that are hostile."""

from __future__ import annotations

import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bootprof.boot.menus import (
    LONGEST_TEXT,
    MOST_ENTRIES,
    MOST_INITRDS,
    read_grub,
    read_loader_entry,
    read_syslinux,
)
from bootprof.boot.volumes import MENU_LIMIT_BYTES

DEBIAN_GRUB = """
source /boot/grub/config.cfg

# Live boot
menuentry "Live system (amd64)" --hotkey=l {
\tlinux\t/live/vmlinuz-6.1.0-37-amd64 boot=live components quiet splash findiso=${iso_path}
\tinitrd\t/live/initrd.img-6.1.0-37-amd64
}
menuentry "Live system (amd64 fail-safe mode)" {
\tlinux\t/live/vmlinuz-6.1.0-37-amd64 boot=live components memtest noapic \\
\t\tnoapm nodma nomce
\tinitrd\t/live/initrd.img-6.1.0-37-amd64
}
submenu 'Utilities...' --hotkey=u {
\tsource /boot/grub/theme.cfg
\tif [ "${grub_platform}" = "efi" ]; then
\t\tmenuentry "UEFI Firmware Settings" { fwsetup }
\tfi
}
"""
UBUNTU = """
set timeout=30
loadfont unicode
set menu_color_normal=white/black
menuentry "Try or Install Ubuntu" {
\tset gfxpayload=keep
\tlinux\t/casper/vmlinuz  --- quiet splash
\tinitrd\t/casper/initrd
}
grub_platform
if [ "$grub_platform" = "efi" ]; then
menuentry 'Boot from next volume' {
\texit 1
}
else
menuentry 'Test memory' {
\tlinux16 /boot/memtest86+x64.bin
}
fi
"""
FEDORA = """
set default="1"
function load_video {
  insmod all_video
}
load_video
search --no-floppy --set=root -l 'Fedora-WS-Live-42'
menuentry 'Start Fedora-Workstation-Live' --class fedora --class gnu-linux --class os {
\tlinux ($root)/boot/x86_64/loader/linux quiet rhgb root=live:CDLABEL=Fedora-WS-Live-42
\tinitrd ($root)/boot/x86_64/loader/initrd
}
menuentry 'Test this media & start Fedora-Workstation-Live' --class fedora {
\tlinuxefi ($root)/boot/x86_64/loader/linux root=live:CDLABEL=Fedora-WS-Live-42 rd.live.check
\tinitrdefi ($root)/boot/x86_64/loader/initrd
}
"""
GRML = """
set kernelopts=" lang=us "
if test "$net_default_mac"; then set kernelopts="$kernelopts nonet"; fi
set loopback="findiso=${iso_path}"
menuentry "grml64 (default)" {
    linux /boot/grml64/vmlinuz apm=power-off boot=live nomce $kernelopts "scandelay=1" \\$literal
    initrd /boot/grml64/initrd.img
}
"""
LOADER = """
title    Arch Linux install medium (x86_64, UEFI)
sort-key 01
linux    /arch/boot/x86_64/vmlinuz-linux
initrd   /arch/boot/intel-ucode.img
initrd   /arch/boot/x86_64/initramfs-linux.img
options  archisobasedir=arch archisodevice=UUID=2025-05-01-10-00-00-00
options  quiet
"""
ARCHISO = {
    "/boot/syslinux/syslinux.cfg": "DEFAULT loadconfig\n\nLABEL loadconfig\n  CONFIG archiso.cfg\n"
    "  APPEND ../../\n",
    "/boot/syslinux/archiso.cfg": "INCLUDE archiso_sys.cfg\n",
    "/boot/syslinux/archiso_sys.cfg": """
DEFAULT arch
UI vesamenu.c32
LABEL arch
TEXT HELP
Boot the Arch Linux install medium.
ENDTEXT
MENU LABEL Arch Linux install medium (x86_64, ^BIOS)
LINUX ../../arch/boot/x86_64/vmlinuz-linux
INITRD ../../arch/boot/x86_64/initramfs-linux.img
APPEND archisobasedir=arch archisodevice=UUID=2025
LABEL existing
COM32 chain.c32
KERNEL chain.c32
""",
}
LIVE_BUILD = {
    "/isolinux/isolinux.cfg": "include menu.cfg\ndefault vesamenu.c32\nprompt 0\ntimeout 0\n",
    "/isolinux/menu.cfg": "menu hshift 0\nmenu begin advanced\nmenu include live.cfg\nmenu end\n",
    "/isolinux/live.cfg": """
label live-amd64
\tmenu label ^Live system (amd64)
\tmenu default
\tlinux /live/vmlinuz
\tinitrd /live/initrd.img
\tappend boot=live components

label live-failsafe
\tmenu label fail-safe
\tkernel /live/vmlinuz
\tappend initrd=/boot/ucode.img,/live/initrd.img boot=live nosmp
""",
}


def grub(text: str) -> list[tuple[str, str, tuple[str, ...], str]]:
    """Return title, kernel, initrds and options of the entries of a GRUB menu."""
    menus = {"/boot/grub/grub.cfg": text}
    found = read_grub(menus.get, "/boot/grub/grub.cfg")
    return [(entry.title, entry.kernel, entry.initrds, entry.options) for entry in found]


def test_debian_live_build_grub() -> None:
    first, second = grub(DEBIAN_GRUB)
    initrds = ("/live/initrd.img-6.1.0-37-amd64",)
    options = "boot=live components quiet splash"
    assert first == ("Live system (amd64)", "/live/vmlinuz-6.1.0-37-amd64", initrds, options)
    assert second[3] == "boot=live components memtest noapic noapm nodma nomce"


def test_ubuntu_casper() -> None:
    entries = grub(UBUNTU)
    assert entries[0] == (
        "Try or Install Ubuntu",
        "/casper/vmlinuz",
        ("/casper/initrd",),
        "--- quiet splash",
    )
    assert entries[1][1:] == ("/boot/memtest86+x64.bin", (), "")


def test_fedora_and_the_default_entry() -> None:
    found = read_grub({"/grub.cfg": FEDORA}.get, "/grub.cfg")
    assert [entry.preferred for entry in found] == [False, True]
    assert found[0].kernel == "/boot/x86_64/loader/linux"
    assert found[1].options == "root=live:CDLABEL=Fedora-WS-Live-42 rd.live.check"


def test_grml_with_variables() -> None:
    (entry,) = grub(GRML)
    assert entry[3] == "apm=power-off boot=live nomce lang=us nonet scandelay=1 $literal"


def test_an_included_menu_and_a_submenu_in_the_default() -> None:
    menus = {
        "/grub.cfg": "set default='1>1'\nmenuentry a { linux /a }\nsource ${prefix}/more.cfg\n",
        "/more.cfg": "submenu --class x 'More' { menuentry 'b c' { linux /b }\n"
        "menuentry d --id d { linux /d x\n initrd /i1 /i2 } }",
    }
    found = read_grub(menus.get, "/grub.cfg")
    assert [entry.title for entry in found] == ["a", "b c", "d"]
    assert found[2].initrds == ("/i1", "/i2")


def test_archiso_syslinux() -> None:
    (entry,) = read_syslinux(ARCHISO.get, "/boot/syslinux/archiso.cfg")
    assert entry.title == "Arch Linux install medium (x86_64, BIOS)"
    assert entry.kernel == "/arch/boot/x86_64/vmlinuz-linux"
    assert entry.initrds == ("/arch/boot/x86_64/initramfs-linux.img",)
    assert entry.options == "archisobasedir=arch archisodevice=UUID=2025"
    assert entry.preferred


def test_live_build_isolinux() -> None:
    first, second = read_syslinux(LIVE_BUILD.get, "/isolinux/isolinux.cfg")
    assert (first.kernel, first.initrds, first.preferred) == (
        "/live/vmlinuz",
        ("/live/initrd.img",),
        True,
    )
    assert second.initrds == ("/boot/ucode.img", "/live/initrd.img")
    assert second.options == "boot=live nosmp"


def test_alpine_syslinux() -> None:
    menu = """
SERIAL 0 115200
TIMEOUT 20
PROMPT 1
DEFAULT lts

LABEL lts
MENU LABEL Linux lts
KERNEL /boot/vmlinuz-lts
INITRD /boot/initramfs-lts
FDTDIR /boot/dtbs-lts
APPEND modules=loop,squashfs,sd-mod,usb-storage quiet
"""
    (entry,) = read_syslinux({"/s.cfg": menu}.get, "/s.cfg")
    assert entry.title == "Linux lts"
    assert entry.options == "modules=loop,squashfs,sd-mod,usb-storage quiet"


def test_systemd_boot() -> None:
    path = "/loader/entries/01-archiso-x86_64-linux.conf"
    entry = read_loader_entry({path: LOADER}.get, path)
    assert entry is not None
    assert entry.title == "Arch Linux install medium (x86_64, UEFI)"
    assert entry.initrds == ("/arch/boot/intel-ucode.img", "/arch/boot/x86_64/initramfs-linux.img")
    assert entry.options.endswith("UUID=2025-05-01-10-00-00-00 quiet")


def test_menus_that_include_themselves_and_have_no_end() -> None:
    loop = {"/a": "source /b\nmenuentry x { linux /k }\n", "/b": "source /a\n"}
    assert len(read_grub(loop.get, "/a")) == 1
    deep = "submenu x {\n" * 5000
    assert read_grub({"/a": deep}.get, "/a") == []
    many = "menuentry x { linux /k }\n" * 1000
    assert len(read_grub({"/a": many}.get, "/a")) == MOST_ENTRIES
    many = "label x\nkernel /k\n" * 1000
    assert len(read_syslinux({"/a": many + "include a\n"}.get, "/a")) == MOST_ENTRIES
    growing = "set a=$a$a$a$a\n" * 1000 + "set a=xx$a\nmenuentry x { linux /k $a }"
    assert len(read_grub({"/a": "set a=xxxx\n" + growing}.get, "/a")[0].options) <= 4096


def foreign_grub(words: str) -> str:
    variable = "set a=" + "x" * LONGEST_TEXT
    return f"{variable}\nmenuentry x {{\nlinux /k {words}\ninitrd {words}\n}}\n"


@pytest.mark.parametrize(
    "text",
    [
        "${" * (MENU_LIMIT_BYTES // 2),
        '"' + "a" * MENU_LIMIT_BYTES,
        "a\"'" * (MENU_LIMIT_BYTES // 3),
        "if ; {" * (MENU_LIMIT_BYTES // 6),
        foreign_grub("$a" * (MENU_LIMIT_BYTES // 2)),
        foreign_grub("$a " * (MENU_LIMIT_BYTES // 3)),
        foreign_grub('"' + "$a" * (MENU_LIMIT_BYTES // 2) + '"'),
        foreign_grub("a," * (MENU_LIMIT_BYTES // 2)),
        "label x\nkernel /k\ninitrd " + "a," * (MENU_LIMIT_BYTES // 2),
        "linux /k\ninitrd /i\n" * (MENU_LIMIT_BYTES // 20),
    ],
    ids=range(10),
)
def test_a_large_menu_takes_little_memory(text: str) -> None:
    """Nor time: searched from each place anew, the first takes ten minutes."""
    tracemalloc.start()
    try:
        found = [*read_grub(lambda _: text, "/m"), *read_syslinux(lambda _: text, "/m")]
        found += filter(None, [read_loader_entry(lambda _: text, "/m")])
        assert tracemalloc.get_traced_memory()[1] < 128 << 20
    finally:
        tracemalloc.stop()
    assert all(len(entry.options) <= LONGEST_TEXT for entry in found)
    assert all(len(entry.initrds) <= MOST_INITRDS for entry in found)


@given(
    st.lists(
        st.sampled_from(
            [
                "menuentry 'x' ",
                "{",
                "}",
                "\n",
                "linux /k ",
                "set a=",
                "$a",
                "'",
                '"',
                "if ",
                "fi",
                "\\",
                "label x\n",
                "kernel /k\n",
                "append ",
                "include a\n",
                "menu ",
                "initrd ",
                ";",
                "else ",
            ]
        ),
        max_size=60,
    )
)
def test_any_text_gives_paths_within_the_medium(parts: list[str]) -> None:
    files = {"/a": "".join(parts)}
    for entry in (*read_grub(files.get, "/a"), *read_syslinux(files.get, "/a")):
        for path in (entry.kernel, *entry.initrds):
            assert path.startswith("/")
            assert ".." not in path.split("/")
