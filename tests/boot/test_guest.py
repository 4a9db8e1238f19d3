import pytest

from bootprof.boot.guest import parse_harvest
from bootprof.boot.target import parse_target
from bootprof.errors import BootprofError, InputError


def test_a_harvest_is_taken_apart_whatever_its_files_contain() -> None:
    data = bytearray(b"file a 4\nend\nfile b 0\nfile c 9\nfile x 3\nend\n")
    assert parse_harvest(data) == {"a": b"end\n", "b": b"", "c": b"file x 3\n"}


@pytest.mark.parametrize("length", range(44))
def test_a_harvest_is_not_taken_for_whole_while_a_byte_is_missing(length: int) -> None:
    whole = b"file a 4\nend\nfile b 0\nfile c 9\nfile x 3\nend\n"
    assert parse_harvest(bytearray(whole[:length])) is None


def test_what_is_no_harvest_is_said() -> None:
    with pytest.raises(BootprofError, match="no harvest"):
        parse_harvest(bytearray(b"hello there\n"))


def test_boot_targets_are_read() -> None:
    target = parse_target("console:log[i]n:")
    assert target.console is not None
    assert target.console.search(b"host login: ")
    assert parse_target("seconds:2.5").seconds == 2.5


@pytest.mark.parametrize("text", ["", "login:", "console:", "console:(", "seconds:x", "quiet:3"])
def test_a_boot_target_that_cannot_be_understood_is_an_input_error(text: str) -> None:
    with pytest.raises(InputError, match="boot target"):
        parse_target(text)
