# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bootprof.errors import ToolError
from bootprof.files import UNFINISHED, replacing
from bootprof.process import last_line, run, wait_for


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


def test_a_hint_has_no_terminal_control_in_it() -> None:
    said = b"first\n\x1b[2J\x1b[01;01H  Booting \x1b[0;1;39msystem\x1b[0m\r\n\x1b[H\n"
    assert last_line(said) == "Booting system"


def test_output_goes_to_the_log_file_if_there_is_one(tmp_path: Path) -> None:
    log_file = tmp_path / "log"
    seen: list[str] = []
    run(["sh", "-c", "echo one; sleep 0.8; echo two >&2"], log_file=log_file, progress=seen.append)
    assert log_file.read_bytes() == b"one\ntwo\n"
    assert seen[0] == "one"


def test_input_larger_than_a_pipe_is_passed_on_whole() -> None:
    data = b"x" * 3_000_000
    assert run(["cat"], stdin=data) == data


INTERRUPTED = """
import signal, sys
from bootprof.process import ISOLATED, run
signal.signal(signal.SIGTERM, signal.default_int_handler)
run([*ISOLATED, "sh", "-c", "mount -t tmpfs none $1 && touch $1/mounted $2; sleep 60 & wait", "sh",
     *sys.argv[1:]])
"""


@pytest.mark.root
def test_an_interrupted_isolated_command_leaves_no_mount_and_no_process(tmp_path: Path) -> None:
    folder, ready = tmp_path / "mounted-here", tmp_path / "ready"
    folder.mkdir()
    child = subprocess.Popen(
        [sys.executable, "-c", INTERRUPTED, folder, ready],
        cwd=Path(__file__).parent.parent,
        stderr=subprocess.DEVNULL,
    )
    while not ready.exists():
        assert child.poll() is None
        time.sleep(0.05)
    assert not list(folder.iterdir()), "the mount is to be seen by the command alone"
    child.send_signal(signal.SIGTERM)
    assert child.wait(20) != 0
    running = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True)
    assert str(folder) not in running.stdout
    assert str(folder) not in Path("/proc/self/mountinfo").read_text()


def test_a_program_holds_the_lock_of_the_folder_that_it_works_in(tmp_path: Path) -> None:
    """Its own descriptors have one digit: mmdebstrap's shell knows no others."""
    target = tmp_path / "file"
    with replacing(target) as temporary:
        shown = run(["ls", "-l", "/proc/self/fd"]).decode()
        temporary.touch()
    # "NUMBER -> FILE" for each.
    found = {
        int(line.split()[-3]): line.split()[-1] for line in shown.splitlines() if " -> " in line
    }
    inherited = {number: name for number, name in found.items() if UNFINISHED in name}
    assert inherited
    assert min(inherited) >= 200
    assert max(set(found) - set(inherited)) < 10


def test_a_program_ends_with_the_process_that_runs_it(tmp_path: Path) -> None:
    code = (
        "import sys; from bootprof import process\n"
        "process.run(['sh', '-c', 'echo $$ > \"$1\"; exec sleep 1000', 'sh', sys.argv[1]])"
    )
    number = tmp_path / "pid"
    parent = subprocess.Popen([sys.executable, "-c", code, number])
    assert wait_for(lambda: number.exists() and number.read_text().endswith("\n"), 60)
    child = Path("/proc") / number.read_text().strip()
    assert child.exists()
    parent.kill()
    parent.wait()

    def has_ended() -> bool:
        # Whoever adopts it may take a while to collect it.
        return not child.exists() or "\nState:\tZ" in (child / "status").read_text()

    assert wait_for(has_ended, 60)
