# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""bootprof-watch on the kernel that runs the tests: what it records, and what it says it missed."""

import os
import shutil
import signal
import stat
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bootprof.backends import Recording, load
from optimizer.formats.events import Bootlog, Operation
from tests.guest.programs import ENVIRONMENT, WATCH, build_checked
from tests.guest.watching import build_watcher, watching

pytestmark = pytest.mark.root
BOTH = pytest.mark.parametrize("backend", ["fanotify", "inotify"])
INOTIFY = Path("/proc/sys/fs/inotify")
# Every byte that is written in an escaped way, and what looks like such an escape.
NAMES = ["plain", "two words", "new\nline", "tab\tand\rreturn", "back\\slash", "\\040", "ünï", "x"]
FILES = 23


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The program with the sanitizers; test_watch_vm.py has it as images get it."""
    return build_checked(WATCH, tmp_path_factory.mktemp("watch"))


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in ENVIRONMENT.items():
        if name != "PATH":
            monkeypatch.setenv(name, value)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "w"
    folder.mkdir()
    return folder


def write_files(folder: Path) -> list[Path]:
    """Write the known files, in folders of folders too."""
    paths = []
    for number in range(FILES):
        inner = folder / f"d{number % 3}" / f"e{number % 2}"
        inner.mkdir(parents=True, exist_ok=True)
        path = inner / f"{NAMES[number % len(NAMES)]}-{number}"
        path.write_text("content")
        paths.append(path)
    # Neither the order of making nor that of names.
    return sorted(paths, key=lambda path: path.name[::-1])


def bootlog(backend: str, output: Path) -> Bootlog:
    return load(backend).read(Recording({f"{backend}.events": output}))


def paths_of(log: Bootlog, operation: Operation | None = None) -> list[str]:
    chosen = log.events
    if operation is not None:
        chosen = chosen[chosen["operation"] == operation]
    return [os.fsdecode(log.paths[index]) for index in chosen["path"]]


def wait_until(done: Callable[[], bool]) -> None:
    for _ in range(200):
        if done():
            return
        time.sleep(0.05)
    raise AssertionError("it did not happen")


@BOTH
def test_known_files_are_recorded_in_the_order_of_access_and_no_others(
    program: Path, folder: Path, tmp_path: Path, backend: str
) -> None:
    files = write_files(folder)
    with watching(program, tmp_path / "log", "--backend", backend, folder) as watcher:
        for path in files:
            path.read_bytes()
    assert (watcher.status, watcher.errors) == (0, "")
    log = bootlog(backend, watcher.output)
    assert paths_of(log) == [str(path) for path in files]
    assert log.lost == 0
    assert "with the root mounted" in log.header["start"]
    inodes = [int(event["inode"]) for event in log.events]
    assert inodes == [path.stat().st_ino for path in files]
    assert not watcher.partial.exists()


@BOTH
def test_the_32_bit_program_records_the_same(folder: Path, tmp_path: Path, backend: str) -> None:
    if not Path("/usr/lib32/libc.a").exists():
        pytest.skip("static 32-bit programs need the package gcc-multilib")
    files = write_files(folder)
    program = build_watcher(tmp_path / "build", "M32=-m32")
    with watching(program, tmp_path / "log", "--backend", backend, folder) as watcher:
        for path in files:
            path.read_bytes()
    log = bootlog(backend, watcher.output)
    assert paths_of(log) == [str(path) for path in files]
    assert [int(event["inode"]) for event in log.events] == [path.stat().st_ino for path in files]


def test_fanotify_tells_the_process_and_executions_from_opens(
    program: Path, folder: Path, tmp_path: Path
) -> None:
    shutil.copy("/bin/true", folder / "tool")
    (folder / "file").write_text("x")
    with watching(program, tmp_path / "log", "--backend", "fanotify", folder) as watcher:
        (folder / "file").read_text()
        subprocess.run([folder / "tool"], check=True)
    log = bootlog("fanotify", watcher.output)
    assert paths_of(log, Operation.EXEC) == [str(folder / "tool")]
    (opened,) = log.events[log.events["operation"] == Operation.OPEN]
    assert opened["pid"] == os.getpid()
    name = Path("/proc/self/comm").read_bytes().rstrip(b"\n")
    assert log.commands[opened["command"]] == name


@BOTH
def test_standard_output_gets_all_of_it_at_the_end(
    program: Path, folder: Path, tmp_path: Path, backend: str
) -> None:
    files = write_files(folder)
    ready, told = os.pipe()
    with subprocess.Popen(
        [program, "--backend", backend, "--ready-fd", str(told), folder],
        pass_fds=[told],
        stdout=subprocess.PIPE,
    ) as process:
        os.close(told)
        assert os.read(ready, 6) == b"ready\n"
        os.close(ready)
        for path in files:
            path.read_bytes()
        process.terminate()
        (tmp_path / "log").write_bytes(process.communicate(timeout=30)[0])
    assert process.returncode == 0
    assert paths_of(bootlog(backend, tmp_path / "log")) == [str(path) for path in files]


@pytest.fixture
def mount_folder(folder: Path) -> Iterator[Path]:
    """Give a folder that a test may mount on; nothing stays mounted."""
    target = folder / "mount"
    target.mkdir()
    yield target
    subprocess.run(["umount", "-l", target], check=False, capture_output=True)


@BOTH
def test_a_file_system_that_is_mounted_later_is_recorded(
    program: Path, mount_folder: Path, tmp_path: Path, backend: str
) -> None:
    with watching(program, tmp_path / "log", "--backend", backend) as watcher:
        subprocess.run(["mount", "-t", "tmpfs", "none", mount_folder], check=True)
        time.sleep(0.3)
        (mount_folder / "inner").mkdir()
        time.sleep(0.3)
        (mount_folder / "inner/file").write_text("x")
        wait_until(lambda: b"/mount/inner/file\n" in watcher.partial.read_bytes())
    log = bootlog(backend, watcher.output)
    (index,) = [i for i, path in enumerate(log.paths) if path.endswith(b"/mount/inner/file")]
    (event, *_) = log.events[log.events["path"] == index]
    assert os.fsdecode(log.paths[index]) == str(mount_folder / "inner/file")
    assert log.file_systems[event["file_system"]] == b"tmpfs"


@BOTH
def test_an_overlay_is_recorded_under_its_own_names_and_once(
    program: Path, mount_folder: Path, tmp_path: Path, backend: str
) -> None:
    source = tmp_path / "source"
    source.mkdir()
    files = write_files(source)
    image, lower, upper = tmp_path / "image", tmp_path / "lower", tmp_path / "upper"
    lower.mkdir()
    upper.mkdir()
    subprocess.run(["mksquashfs", source, image, "-quiet", "-no-progress"], check=True)
    subprocess.run(["mount", "-t", "tmpfs", "none", upper], check=True)
    try:
        with watching(program, tmp_path / "log", "--backend", backend) as watcher:
            subprocess.run(["mount", "-o", "loop,ro", image, lower], check=True)
            (upper / "up").mkdir()
            (upper / "work").mkdir()
            options = f"lowerdir={lower},upperdir={upper}/up,workdir={upper}/work"
            subprocess.run(
                ["mount", "-t", "overlay", "-o", options, "overlay", mount_folder], check=True
            )
            time.sleep(0.5)
            wanted = [mount_folder / path.relative_to(source) for path in files]
            for path in wanted:
                path.read_bytes()
    finally:
        subprocess.run(["umount", mount_folder, lower, upper], check=True)
    recorded = paths_of(bootlog(backend, watcher.output))
    names = {path.name for path in wanted}
    assert [path for path in recorded if Path(path).name in names] == [str(p) for p in wanted]


@BOTH
def test_a_file_without_a_name_is_not_listed_by_a_made_up_one(
    program: Path, mount_folder: Path, tmp_path: Path, backend: str
) -> None:
    space = tmp_path / "space"
    space.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "none", space], check=True)
    try:
        for name in ("lower", "upper", "work"):
            (space / name).mkdir()
        (space / "lower/#20").write_text("a name like any other")
        options = f"lowerdir={space}/lower,upperdir={space}/upper,workdir={space}/work"
        subprocess.run(
            ["mount", "-t", "overlay", "-o", options, "overlay", mount_folder], check=True
        )
        with watching(program, tmp_path / "log", "--backend", backend, mount_folder) as watcher:
            os.close(os.open(mount_folder, os.O_TMPFILE | os.O_RDWR, 0o600))
            (mount_folder / "#20").read_text()
    finally:
        subprocess.run(["umount", mount_folder, space], check=True)
    assert paths_of(bootlog(backend, watcher.output)) == [str(mount_folder / "#20")]


def test_inotify_follows_a_folder_that_is_moved(
    program: Path, folder: Path, tmp_path: Path
) -> None:
    (folder / "old/inner").mkdir(parents=True)
    (folder / "old/inner/file").write_text("x")
    with watching(program, tmp_path / "log", "--backend", "inotify", folder) as watcher:
        (folder / "old").rename(folder / "new")
        time.sleep(0.3)
        (folder / "new/inner/file").read_text()
    assert paths_of(bootlog("inotify", watcher.output)) == [str(folder / "new/inner/file")]


def test_a_deleted_file_keeps_its_name_and_an_odd_name_is_not_cut(
    program: Path, folder: Path, tmp_path: Path
) -> None:
    odd = folder / "odd (deleted)"
    odd.write_text("x")
    (folder / "gone").write_text("x")
    with watching(program, tmp_path / "log", "--backend", "fanotify", folder) as watcher:
        watcher.process.send_signal(signal.SIGSTOP)
        odd.read_text()
        (folder / "gone").read_text()
        (folder / "gone").unlink()
        watcher.process.send_signal(signal.SIGCONT)
    assert paths_of(bootlog("fanotify", watcher.output)) == [str(odd), str(folder / "gone")]


@pytest.fixture
def setting(request: pytest.FixtureRequest) -> Iterator[int]:
    """Set a limit of inotify for a while."""
    name, value = request.param
    before = (INOTIFY / name).read_text()
    (INOTIFY / name).write_text(str(value))
    yield value
    (INOTIFY / name).write_text(before)


@pytest.mark.parametrize("setting", [("max_queued_events", 16)], indirect=True)
def test_an_overflow_is_counted_and_what_came_before_is_kept(
    program: Path, folder: Path, tmp_path: Path, setting: int
) -> None:
    files = write_files(folder)
    with watching(program, tmp_path / "log", "--backend", "inotify", folder) as watcher:
        watcher.process.send_signal(signal.SIGSTOP)
        for path in files:
            path.read_bytes()
        watcher.process.send_signal(signal.SIGCONT)
    assert watcher.status == 0
    assert "events are missing" in watcher.errors
    log = bootlog("inotify", watcher.output)
    assert log.lost == 1
    assert log.header["overflows"].startswith("1 ")
    assert paths_of(log) == [str(path) for path in files[:setting]]


@pytest.mark.parametrize("setting", [("max_user_watches", 1)], indirect=True)
def test_the_limit_of_watches_is_told_with_the_number_of_folders_that_it_cost(
    program: Path, folder: Path, tmp_path: Path, setting: int
) -> None:
    # Whatever else on this machine uses watches: there is none left for nine of these folders.
    write_files(folder)
    with watching(program, tmp_path / "log", "--backend", "inotify", folder) as watcher:
        pass
    assert watcher.status == 0
    assert len(watcher.errors.splitlines()) == 1
    assert "fs.inotify.max_user_watches" in watcher.errors
    header = bootlog("inotify", watcher.output).header
    assert header["watch-limit"] == str(setting)
    # w, d0-d2, and two in each of these.
    assert header["unwatched"] in ("9 directories", "10 directories")


@BOTH
def test_events_over_the_limit_are_counted_as_lost(
    program: Path, folder: Path, tmp_path: Path, backend: str
) -> None:
    files = write_files(folder)
    options: list[str | Path] = ["--backend", backend, "--limit", "10", folder]
    with watching(program, tmp_path / "log", *options) as watcher:
        for path in files:
            path.read_bytes()
    log = bootlog(backend, watcher.output)
    assert paths_of(log) == [str(path) for path in files[:10]]
    assert log.lost == FILES - 10


@BOTH
def test_what_was_gathered_outlives_a_kill(
    program: Path, folder: Path, tmp_path: Path, backend: str
) -> None:
    files = write_files(folder)
    with watching(program, tmp_path / "log", "--backend", backend, folder) as watcher:
        for path in files:
            path.read_bytes()
        wait_until(lambda: watcher.partial.read_bytes().count(b"\topen\t") == FILES)
        watcher.end(signal.SIGKILL)
    assert not watcher.output.exists()
    assert paths_of(bootlog(backend, watcher.partial)) == [str(path) for path in files]


@BOTH
def test_a_full_disk_gives_one_clear_error_and_keeps_what_fits(
    program: Path, folder: Path, mount_folder: Path, backend: str
) -> None:
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8k", "none", mount_folder], check=True)
    files = write_files(folder)
    output = mount_folder / "log"
    with watching(program, output, "--backend", backend, folder) as watcher:
        for _ in range(20):
            for path in files:
                path.read_bytes()
            time.sleep(0.02)
        watcher.process.wait(10)
        watcher.end()
    assert watcher.status == 1
    errors = [line for line in watcher.errors.splitlines() if ": error: " in line]
    assert errors == [f"bootprof-watch: error: {output}: No space left on device"]
    assert str(watcher.partial) in watcher.errors
    kept = paths_of(bootlog(backend, watcher.partial))
    assert len(kept) >= FILES
    assert kept[:FILES] == [str(path) for path in files]


@pytest.mark.parametrize("backend", ["fanotify", "tracepoints", "block_dump"])
def test_without_the_rights_it_says_so_on_one_line(program: Path, backend: str) -> None:
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o777)
        copy = Path(shutil.copy(program, name))
        done = subprocess.run(
            [
                *("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", copy),
                *("--backend", backend, "--output", f"{name}/log"),
            ],
            capture_output=True,
            text=True,
            check=False,
        )
        assert [path.name for path in Path(name).iterdir()] == [copy.name]
    assert done.returncode == 1
    error, hint = done.stderr.splitlines()
    assert error.startswith("bootprof-watch: error: ")
    assert hint.startswith("bootprof-watch: hint: ")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "--backend is missing"),
        (["--backend", "magic"], "magic: unknown backend"),
        (["--backend", "fanotify", "/no/such/path"], "/no/such/path: No such file"),
        (["--backend", "tracepoints", "/usr"], "cannot be limited to PATHs"),
        (["--backend", "fanotify", "--limit", "-1"], "--limit -1: not a number"),
    ],
)
def test_wrong_usage_is_told_on_one_line(program: Path, arguments: list[str], said: str) -> None:
    done = subprocess.run([program, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert said in done.stderr.splitlines()[0]


def test_tracepoints_tell_reads_and_name_the_devices(
    program: Path, folder: Path, tmp_path: Path
) -> None:
    source, image, mount = tmp_path / "source", tmp_path / "image", folder
    source.mkdir()
    (source / "big").write_bytes(os.urandom(300_000))
    subprocess.run(["mksquashfs", source, image, "-quiet", "-no-progress"], check=True)
    with watching(program, tmp_path / "log", "--backend", "tracepoints") as watcher:
        subprocess.run(["mount", "-t", "squashfs", "-o", "loop,ro", image, mount], check=True)
        try:
            (mount / "big").read_bytes()
        finally:
            subprocess.run(["umount", mount], check=True)
    assert watcher.status == 0
    recording = Recording({"tracepoints.log": watcher.output}, image=image)
    log = load("tracepoints").read(recording)
    assert b"/big" in log.paths
    assert log.lost == 0
    assert any(line.startswith("#device 7:") for line in watcher.output.read_text().splitlines())


def test_what_a_killed_recorder_left_in_tracefs_goes_when_the_next_one_starts(
    program: Path, tmp_path: Path
) -> None:
    tracefs = tmp_path / "tracefs"
    tracefs.mkdir()
    subprocess.run(["mount", "-t", "tracefs", "none", tracefs], check=True)

    def instances() -> set[str]:
        return {path.name for path in (tracefs / "instances").iterdir()}

    try:
        with watching(program, tmp_path / "killed", "--backend", "tracepoints") as watcher:
            watcher.end(signal.SIGKILL)
        left = f"bootprof-watch-{watcher.process.pid}"
        assert left in instances()
        with (
            watching(program, tmp_path / "first", "--backend", "tracepoints") as first,
            watching(program, tmp_path / "second", "--backend", "tracepoints") as second,
        ):
            now = instances()
            living = {f"bootprof-watch-{one.process.pid}" for one in (first, second)}
            assert living <= now
            assert left not in now
        assert not living & instances()
    finally:
        subprocess.run(["umount", tracefs], check=True)


def test_the_output_may_be_a_device_or_a_pipe_which_stays_one(
    program: Path, folder: Path, tmp_path: Path
) -> None:
    null, pipe = tmp_path / "null", tmp_path / "pipe"
    os.mknod(null, 0o600 | stat.S_IFCHR, os.makedev(1, 3))
    os.mkfifo(pipe)
    file = write_files(folder)[0]
    with watching(program, null, "--backend", "fanotify", folder) as watcher:
        file.read_bytes()
    assert (watcher.status, watcher.errors) == (0, "")
    assert null.is_char_device()
    reader = subprocess.Popen(["cat", pipe], stdout=subprocess.PIPE)
    with watching(program, pipe, "--backend", "fanotify", folder) as watcher:
        file.read_bytes()
    assert (watcher.status, watcher.errors) == (0, "")
    assert pipe.is_fifo()
    assert str(file).encode() in reader.communicate(timeout=30)[0]
    assert {path.name for path in tmp_path.iterdir()} == {"null", "pipe", "w"}


def test_a_block_device_is_not_overwritten(program: Path, folder: Path, tmp_path: Path) -> None:
    # Of no driver: nothing is behind it, whatever happens.
    node = tmp_path / "disk"
    os.mknod(node, 0o600 | stat.S_IFBLK, os.makedev(511, 7))
    done = subprocess.run(
        [program, "--backend", "fanotify", "--output", node, folder],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        f"bootprof-watch: error: {node}: a block device is not overwritten",
        "bootprof-watch: hint: name a file",
    ]
    assert node.is_block_device()
