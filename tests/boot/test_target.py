# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
import pytest

from bootprof.boot.target import parse_target
from bootprof.errors import InputError


def test_boot_targets_are_read() -> None:
    target = parse_target("console:log[i]n:")
    assert target.console is not None
    assert target.console.search(b"host login: ")
    assert parse_target("seconds:2.5").seconds == 2.5


@pytest.mark.parametrize(
    "text",
    [
        *("", "login:", "console:", "console:(", "seconds:x", "quiet:3"),
        *("seconds:nan", "seconds:inf", "seconds:0", "seconds:-1"),
    ],
)
def test_a_boot_target_that_cannot_be_understood_is_an_input_error(text: str) -> None:
    with pytest.raises(InputError, match="boot target"):
        parse_target(text)
