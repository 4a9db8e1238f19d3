# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""The boot menu: quotes titles, labels and boot options for boot loaders; no other module does.

The checks, which the configuration uses, refuse what GRUB cannot pass on unchanged.

Sources: GRUB's manual, "Quoting" (between single quotes nothing has a meaning but the closing
one), grub-core/lib/cmdline.c (puts a backslash in front of quotes and backslashes, and quotes
around arguments with spaces), Linux' lib/cmdline.c next_arg() (which takes double quotes around
an option away, and knows no backslash) and Documentation/admin-guide/kernel-parameters.rst.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

# COMMAND_LINE_SIZE of x86, with room for BOOT_IMAGE= and the profiler's option.
MOST_OPTION_BYTES = 1900
MOST_TITLE_CHARACTERS = 200
# The field of ISO 9660's primary volume descriptor.
MOST_LABEL_CHARACTERS = 32
# An option of the kernel: without quotes, or with quotes around all of it or around its value.
OPTION = re.compile(r"""(?:([^\s"=]+=)?"([^"]*)"|([^\s"]+))(?=\s|\Z)""")
# Words that end a command of iPXE.
IPXE_TERMINATORS = (";", "&&", "||")
BLANK = re.compile(r"[ \t\n]+")


@dataclass(frozen=True)
class Entry:
    """An entry of the menu.

    Attributes:
        id: Its name for scripts: letters, digits and hyphens.
        title: What the menu shows.
        options: Kernel command line.
        kind: ``live`` starts the live system, ``memory`` a test of the memory, and ``local`` what
            the first disk of the machine has, or what its firmware starts next.
        initrds: Paths of initial ramdisks of this entry only, loaded after those of the menu.
    """

    id: str
    title: str
    options: str = ""
    kind: Literal["live", "memory", "local"] = "live"
    initrds: tuple[str, ...] = ()


@dataclass(frozen=True)
class Menu:
    """A menu and what its entries start.

    Attributes:
        entries: Its entries; the first one is started when the time is up.
        initrds: Paths of the initial ramdisks on the medium, in the order of loading.
        timeout_seconds: How long the menu waits; -1 for no limit.
        kernel: Path of the kernel on the medium.
        memory_test: Path of the memory test on the medium.
    """

    entries: tuple[Entry, ...]
    initrds: tuple[str, ...]
    timeout_seconds: int
    kernel: str = "/live/vmlinuz"
    memory_test: str = "/live/memtest"


def check_entries(entries: Mapping[str, str]) -> None:
    """Check further entries: their titles, and the options that they add.

    Raises:
        ValueError: A boot loader would change their meaning.
    """
    for title, options in entries.items():
        try:
            check_title(title)
            check_boot_options(options)
        except ValueError as error:
            raise ValueError(f"{title!r:.40}: {error}") from None


def check_title(title: str) -> None:
    """Check a title of the menu.

    Raises:
        ValueError: It is empty, too long, or has a character that cannot be shown.
    """
    if not title.strip() or not title.isprintable():
        raise ValueError("expected one line of printable characters")
    if len(title) > MOST_TITLE_CHARACTERS:
        raise ValueError(f"expected at most {MOST_TITLE_CHARACTERS} characters")


def check_label(label: str) -> None:
    """Check a volume identifier.

    Raises:
        ValueError: It is one that GRUB would not find the medium by.
    """
    if not (label.isascii() and label.isprintable()) or label != label.strip() or not label:
        raise ValueError("expected printable ASCII characters, and no space at either end")
    if len(label) > MOST_LABEL_CHARACTERS:
        raise ValueError(f"expected at most {MOST_LABEL_CHARACTERS} characters")


def check_boot_options(options: str) -> None:
    """Check a kernel command line.

    Raises:
        ValueError: GRUB would change its meaning.
    """
    parsed = split_options(options)
    if sum(len(option.encode()) + 3 for option in parsed) > MOST_OPTION_BYTES:
        raise ValueError(f"expected at most {MOST_OPTION_BYTES} bytes")


def split_options(options: str) -> list[str]:
    """Split a kernel command line into its options, free of double quotes.

    Raises:
        ValueError: GRUB would change its meaning.
    """
    # The kernel takes the byte 0xa0 for a space, which the encoding of some letters has.
    if not (options.isascii() and BLANK.sub("", options).isprintable()):
        raise ValueError("expected printable ASCII characters, spaces and line breaks")
    for character in ("'", "\\"):
        if character in options:
            raise ValueError(
                f"{character} cannot be passed: GRUB puts a backslash in front of it; "
                'quote a value with spaces as name="value"'
            )
    found = []
    position = 0
    while position < len(options):
        if match := BLANK.match(options, position):
            position = match.end()
            continue
        match = OPTION.match(options, position)
        option = "" if match is None else match[3] or (match[1] or "") + match[2]
        if match is None or not option or not option.isprintable():
            raise ValueError(
                "double quotes must be around an option or its value, and on one line; "
                f"found {options[position:]!r:.40}"
            )
        position = match.end()
        found.append(option)
    return found


def quote(text: str) -> str:
    """Quote a text as one argument of GRUB's script language."""
    return "'" + text.replace("'", "'\\''") + "'"


def find_by_label(label: str) -> str:
    """Return the configuration in GRUB's core image that finds the medium by its label."""
    return _embedded(f"search --no-floppy --set=root --label -- {quote(label)}\n")


def find_by_uuid(uuid: str) -> str:
    """Return the configuration in GRUB's core image that finds the medium's file system."""
    return _embedded(f"search --no-floppy --set=root --fs-uuid -- {quote(uuid)}\n")


def find_on_server() -> str:
    """Return the configuration in GRUB's core image that finds the server which it came from.

    GRUB's root is that server then, and the folder of the boot server its top folder.
    """
    return _embedded("")


# In the images for an installed system, whose place is known when it is installed: GRUB gets the
# number of its partition with the image for a BIOS, and UEFI tells where a program was read.
INSTALLED_FOR_BIOS = "set prefix=($root)/boot/grub\nconfigfile ($root)/boot/grub/grub.cfg\n"
INSTALLED_FOR_EFI = 'configfile "$cmdpath/grub.cfg"\n'


def _embedded(search: str) -> str:
    return f"{search}set prefix=($root)/boot/grub\nconfigfile /boot/grub/grub.cfg\n"


# On the screen, if a driver can set a mode, and on the first serial port.
TERMINALS = """\
serial --unit=0 --speed=115200
terminal_input console serial
terminal_output console serial
"""
# A BIOS calls the disk that it started from the first one, and then the machine's own is the
# second. UEFI goes on to its next entry.
LOCAL_DISK = """\
    if [ "$grub_platform" = pc ]; then
        set local=hd0
        if regexp '^hd0' "$root"; then
            set local=hd1
            drivemap -s hd0 hd1
        fi
        set root=$local
        chainloader +1
    else
        exit
    fi
"""


def configuration(menu: Menu) -> str:
    """Return grub.cfg, on the screen and on the first serial port."""
    return f"{TERMINALS}set timeout={menu.timeout_seconds}\n" + "".join(
        _entry(menu, entry, "") for entry in menu.entries
    )


def incomplete_configuration() -> str:
    """Return grub.cfg of a stick that a live system is not completely copied to."""
    return (
        f"{TERMINALS}set timeout=-1\n"
        "menuentry 'This copy is incomplete. Copy the live system to this stick again.' { true }\n"
        "menuentry 'Restart' { reboot }\n"
        "menuentry 'Switch off' { halt }\n"
    )


def loopback_configuration(menu: Menu) -> str:
    """Return loopback.cfg, for boot loaders that start the medium from its image in a file.

    They set ``iso_path`` to the image's path and the root to its content, and read
    ``/boot/grub/loopback.cfg`` (Super GRUB2 Disk's convention). live-boot looks for ``findiso``.
    """
    return "".join(
        _entry(menu, entry, ' "findiso=${iso_path}"')
        for entry in menu.entries
        if entry.kind == "live"
    )


def _entry(menu: Menu, entry: Entry, further: str) -> str:
    """Return an entry for GRUB, with further arguments that are quoted already."""
    if entry.kind == "local":
        body = LOCAL_DISK
    elif entry.kind == "memory":
        body = f"    linux {quote(menu.memory_test)}\n"
    else:
        arguments = " ".join(map(quote, split_options(entry.options)))
        body = (
            f"    linux {quote(menu.kernel)} {arguments}{further}\n"
            f"    initrd {' '.join(map(quote, (*menu.initrds, *entry.initrds)))}\n"
        )
    return f"menuentry --id={entry.id} -- {quote(entry.title)} {{\n{body}}}\n"


def isolinux_configuration(menu: Menu) -> str:
    """Return isolinux.cfg: the same menu for isolinux, with its text mode menu.

    isolinux hands the rest of a line to the kernel as it is, and cannot show letters outside ASCII;
    a circumflex in a title marks a key.
    """
    lines = ["SERIAL 0 115200", "UI menu.c32", "PROMPT 0", f"TIMEOUT {_tenths(menu)}"]
    for entry in menu.entries:
        title = entry.title.encode("ascii", "replace").decode().replace("^", " ")
        lines += [f"LABEL {entry.id}", f"  MENU LABEL {title}"]
        if entry.kind == "local":
            lines.append("  LOCALBOOT 0x80")
        elif entry.kind == "memory":
            lines.append(f"  LINUX {menu.memory_test}")
        else:
            options = " ".join(
                f'"{option}"' if " " in option else option
                for option in split_options(entry.options)
            )
            lines.append(f"  LINUX {menu.kernel}")
            lines.append(f"  APPEND initrd={','.join((*menu.initrds, *entry.initrds))} {options}")
    return "\n".join(lines) + "\n"


def _tenths(menu: Menu) -> int:
    """Return the time limit in tenths of a second; isolinux waits forever at 0."""
    if menu.timeout_seconds < 0:
        return 0
    return max(1, min(10 * menu.timeout_seconds, 35996))


def ipxe_script(menu: Menu, base: str) -> str:
    """Return a script for iPXE that loads kernel and initial ramdisks and starts the first entry.

    Args:
        menu: The menu; its paths are relative to the address.
        base: Address of the folder with kernel and initial ramdisks, or "" for the script's own.
    """
    where = f"{base.rstrip('/')}/" if base else ""
    # Each initial ramdisk is a file of this name for a kernel that UEFI starts.
    names = [path.rpartition("/")[2] for path in menu.initrds]
    kernel = menu.kernel.rpartition("/")[2]
    loads = " ".join(f"initrd={name}" for name in names)
    options = " ".join(
        f'"{option}"' if " " in option else option
        for option in split_options(menu.entries[0].options)
    )
    lines = ["#!ipxe", f"kernel {where}{kernel} {loads} {_escaped_for_ipxe(options)}"]
    lines += [f"initrd --name {name} {where}{name}" for name in names]
    return "\n".join([*lines, "boot"]) + "\n"


def _escaped_for_ipxe(options: str) -> str:
    """Return options for a script of iPXE, which has no quotes and no escapes.

    Source: iPXE's core/exec.c: ${...} is expanded, the line is split at blanks, and a "#" at the
    beginning of a word is a comment; the words are joined by single spaces for the kernel.

    Raises:
        ValueError: iPXE would change their meaning.
    """
    if "${" in options:
        raise ValueError("${ cannot be passed by iPXE, which takes it for a variable")
    for word in options.split(" "):
        if word in IPXE_TERMINATORS or word.startswith("#"):
            raise ValueError(f"{word} cannot be passed by iPXE, which ends the command there")
        if not word and options:
            raise ValueError("several spaces in a value cannot be passed by iPXE")
    return options
