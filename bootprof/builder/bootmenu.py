# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""The boot menu: quotes titles, labels and boot options for GRUB; no other module does.

The checks, which the configuration uses, refuse what GRUB cannot pass on unchanged.

Sources: GRUB's manual, "Quoting" (between single quotes nothing has a meaning but the closing
one), grub-core/lib/cmdline.c (puts a backslash in front of quotes and backslashes, and quotes
around arguments with spaces), Linux' lib/cmdline.c next_arg() (which takes double quotes around
an option away, and knows no backslash) and Documentation/admin-guide/kernel-parameters.rst.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

# COMMAND_LINE_SIZE of x86, with room for BOOT_IMAGE= and the profiler's option.
MOST_OPTION_BYTES = 1900
MOST_TITLE_CHARACTERS = 200
# The field of ISO 9660's primary volume descriptor.
MOST_LABEL_CHARACTERS = 32
# An option of the kernel: without quotes, or with quotes around all of it or around its value.
OPTION = re.compile(r"""(?:([^\s"=]+=)?"([^"]*)"|([^\s"]+))(?=\s|\Z)""")
BLANK = re.compile(r"[ \t\n]+")


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


def embedded_configuration(label: str) -> str:
    """Return the configuration in GRUB's core image, which finds the medium by its label."""
    return (
        f"search --no-floppy --set=root --label -- {quote(label)}\n"
        "set prefix=($root)/boot/grub\n"
        "configfile /boot/grub/grub.cfg\n"
    )


def configuration(title: str, options: str, initrds: Sequence[str], timeout_seconds: int) -> str:
    """Return grub.cfg: the one entry, on the screen and on the first serial port.

    Args:
        title: Title of the entry.
        options: Kernel command line.
        initrds: Paths of the initial ramdisks on the medium, in the order of loading.
        timeout_seconds: How long the menu waits; -1 for no limit.
    """
    arguments = " ".join(map(quote, split_options(options)))
    return (
        "serial --unit=0 --speed=115200\n"
        "terminal_input console serial\n"
        "terminal_output console serial\n"
        f"set timeout={timeout_seconds}\n"
        f"menuentry --id=live -- {quote(title)} {{\n"
        f"    linux /live/vmlinuz {arguments}\n"
        f"    initrd {' '.join(map(quote, initrds))}\n"
        "}\n"
    )
