from pathlib import Path

import pytest

from bootprof.errors import ToolError
from bootprof.process import run


def test_a_missing_program_names_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(ToolError) as caught:
        run(["qemu-system-x86_64"])
    assert caught.value.hint == "apt-get install qemu-system-x86"


def test_a_failed_command_can_be_pasted_and_says_its_last_words() -> None:
    with pytest.raises(ToolError) as caught:
        run(["sh", "-c", "echo first >&2; echo 'last words' >&2; exit 3"])
    assert "status 3" in caught.value.message
    assert "sh -c 'echo first" in caught.value.message
    assert caught.value.hint == "last words"


def test_output_goes_to_the_log_file_if_there_is_one(tmp_path: Path) -> None:
    log_file = tmp_path / "log"
    seen: list[str] = []
    run(["sh", "-c", "echo one; sleep 0.8; echo two >&2"], log_file=log_file, progress=seen.append)
    assert log_file.read_bytes() == b"one\ntwo\n"
    assert seen[0] == "one"


def test_input_larger_than_a_pipe_is_passed_on_whole() -> None:
    data = b"x" * 3_000_000
    assert run(["cat"], stdin=data) == data
