# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
import shlex

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bootprof.builder import bootmenu
from bootprof.builder.bootmenu import Entry, Menu


def test_the_menu_has_its_title_options_and_initrds_in_order() -> None:
    entry = Entry("live", "A 'title'", "boot=live quiet")
    text = bootmenu.configuration(Menu((entry,), ("/live/a", "/live/b"), 3))
    assert "menuentry --id=live -- 'A '\\''title'\\''' {\n" in text
    assert "linux '/live/vmlinuz' 'boot=live' 'quiet'\n" in text
    assert "initrd '/live/a' '/live/b'\n" in text
    assert "set timeout=3\n" in text


@given(st.text())
def test_a_quoted_text_is_one_word_with_that_meaning(text: str) -> None:
    # The shell's rules for single quotes are GRUB's.
    assert shlex.split(bootmenu.quote(text)) == [text]


@pytest.mark.parametrize(
    ("options", "parsed"),
    [
        ("", []),
        ("boot=live  quiet\tsplash\nnomodeset", ["boot=live", "quiet", "splash", "nomodeset"]),
        (
            "a=b;c $(id) `id` {x} #x a|b&c <y>",
            ["a=b;c", "$(id)", "`id`", "{x}", "#x", "a|b&c", "<y>"],
        ),
        ('dyndbg="file x +p" quiet', ["dyndbg=file x +p", "quiet"]),
        ('"a=b c"', ["a=b c"]),
        ('a=""', ["a="]),
    ],
)
def test_options_are_split_as_the_kernel_splits_them(options: str, parsed: list[str]) -> None:
    assert bootmenu.split_options(options) == parsed


@pytest.mark.parametrize(
    "options",
    [
        "a='b'",
        "a=\\b",
        'a"b',
        'a="b',
        'a="b"c',
        '""',
        'a="b\nc"',
        "a\0b",
        "a\x1bb",
        "à=1",
        "a\u00a0b",
    ],
)
def test_options_whose_meaning_would_change_are_refused(options: str) -> None:
    with pytest.raises(ValueError, match=r"expected|cannot be passed|double quotes"):
        bootmenu.check_boot_options(options)


def test_a_command_line_that_the_kernel_would_cut_is_refused() -> None:
    bootmenu.check_boot_options("a " * 300)
    with pytest.raises(ValueError, match="at most"):
        bootmenu.check_boot_options("a=" + "b" * bootmenu.MOST_OPTION_BYTES)


@given(st.text(st.sampled_from('ab= "\t\n;$#')))
def test_any_text_is_refused_or_comes_out_as_the_kernel_would_read_it(options: str) -> None:
    try:
        parsed = bootmenu.split_options(options)
    except ValueError:
        return
    # What GRUB hands over: quotes around what holds a space.
    handed = " ".join(f'"{option}"' if " " in option else option for option in parsed)
    assert kernel_options(handed) == kernel_options(options)


def kernel_options(line: str) -> list[str]:
    """Split a command line as Linux' lib/cmdline.c next_arg() does."""
    found = []
    rest = line.lstrip(" \t\n")
    while rest:
        quoted = rest[0] == '"'
        rest = rest[quoted:]
        inside, equals, end = quoted, 0, len(rest)
        for number, letter in enumerate(rest):
            if letter in " \t\n" and not inside:
                end = number
                break
            if letter == "=" and not equals:
                equals = number
            if letter == '"':
                inside = not inside
        word, rest = rest[:end], rest[end:].lstrip(" \t\n")
        value = word[equals + 1 :] if equals else ""
        if equals and value.startswith('"'):
            word = word[: equals + 1] + value.removeprefix('"').removesuffix('"')
        found.append(word.removesuffix('"') if quoted else word)
    return found


@pytest.mark.parametrize("title", ["", " ", "a\nb", "a\x1b]0;x", "x" * 201, "\u202e"])
def test_titles_that_cannot_be_shown_are_refused(title: str) -> None:
    with pytest.raises(ValueError, match="expected"):
        bootmenu.check_title(title)


@pytest.mark.parametrize("label", ["", " a", "a ", "a\nb", "é", "x" * 33])
def test_labels_that_no_medium_has_are_refused(label: str) -> None:
    with pytest.raises(ValueError, match="expected"):
        bootmenu.check_label(label)


@pytest.mark.parametrize("options", ["a #b", "a ; b", "a && b", "a=${b}", 'a="b  c"'])
def test_options_that_ipxe_would_change_are_refused(options: str) -> None:
    bootmenu.check_boot_options(options)
    menu = Menu((Entry("live", "Live", options),), ("/live/a",), 0)
    with pytest.raises(ValueError, match="iPXE"):
        bootmenu.ipxe_script(menu, "live")
