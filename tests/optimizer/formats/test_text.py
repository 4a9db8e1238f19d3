# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""Escapes come back as they were; what is shown to a person is one printable line."""

import unicodedata

from hypothesis import given
from hypothesis import strategies as st

from optimizer.formats.text import escape, escape_line, printable, unescape, unescape_line

WITHOUT_NUL = st.binary().filter(lambda text: 0 not in text)


@given(WITHOUT_NUL)
def test_a_field_comes_back_and_has_no_separator(text: bytes) -> None:
    assert unescape(escape(text)) == text
    assert not set(escape(text)) & set(b"\t\n\r")


@given(WITHOUT_NUL)
def test_a_line_comes_back_and_has_no_newline(text: bytes) -> None:
    assert unescape_line(escape_line(text)) == text
    assert b"\n" not in escape_line(text)


@given(st.one_of(st.binary(), st.text(st.characters(codec=None, exclude_categories=()))))
def test_nothing_that_is_shown_acts_on_a_terminal(text: bytes | str) -> None:
    shown = printable(text)
    assert all(unicodedata.category(letter)[0] not in "CZ" or letter == " " for letter in shown)
    assert len(shown) <= 200
    shown.encode()


def test_escape_sequences_and_turned_text_are_spelled_out() -> None:
    assert printable(b"\x1b]52;c;aGk=\x07") == r"\x1b]52;c;aGk=\x07"
    assert printable("a\u202egnp.exe") == r"a\u202egnp.exe"
    assert printable("stra\u00dfe \U0001f600") == "stra\u00dfe \U0001f600"
    assert printable(b"\xff/x") == r"\xff/x"
    assert printable("\udcff/x") == r"\xff/x"


def test_a_long_text_shows_both_ends() -> None:
    assert printable(b"a" * 5000 + b"z", limit=20) == "a" * 10 + "…" + "a" * 8 + "z"
    assert printable(b"a" * 5000, limit=None) == "a" * 5000
