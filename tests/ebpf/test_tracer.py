# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""The BPF tracer on the kernel that runs the tests."""

import errno
import os
import re
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.ebpf.support import Log, build_tracer, compile_workloads, parse
from tests.guest.programs import TRACE, build_checked, run_checked

pytestmark = pytest.mark.root
Trace = Callable[..., Log]


@pytest.fixture(scope="module")
def tracer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    program = build_tracer(tmp_path_factory.mktemp("tracer") / "build")
    tried = subprocess.run([program, "--", "true"], capture_output=True, text=True, check=False)
    # What a host may lack. A program that the kernel refuses is no reason to skip.
    lacking = ("no description of its types", "no privilege", "locked down", "not permitted")
    if tried.returncode and any(words in tried.stderr for words in lacking):
        pytest.skip(f"BPF programs cannot be loaded here: {tried.stderr}")
    assert tried.returncode == 0, tried.stderr
    return program


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return compile_workloads(tmp_path_factory.mktemp("workloads") / "bin")


@pytest.fixture
def trace(tracer: Path, tmp_path: Path) -> Trace:
    """Run a command in a folder and mount namespace of its own; return what was recorded."""

    def run(*command: str | Path, options: tuple[str, ...] = ()) -> Log:
        folder = tmp_path / "w"
        folder.mkdir(exist_ok=True)
        output = tmp_path / "events"
        words: list[str | Path] = [tracer, *options, "-o", output, "--", "unshare", "-m", *command]
        subprocess.run(words, cwd=folder, check=True, stdout=subprocess.PIPE)
        return parse(output.read_bytes())

    return run


def test_every_open_is_recorded_in_its_order_and_nothing_else(
    trace: Trace, programs: Path, tmp_path: Path
) -> None:
    folder, truth = tmp_path / "w", tmp_path / "truth"
    log = trace(programs / "workload", "files", folder, truth)
    lines = truth.read_bytes().decode(errors="surrogateescape").removesuffix("\n").split("\n")
    expected = [tuple(line.split("\t")[::2]) for line in lines]
    assert len(expected) > 46
    process = expected[0][0]
    got = log.below(folder, "open")
    assert [(str(e.process), e.path) for e in got if str(e.process) == process] == expected
    assert log.lost == 0


def test_device_inode_and_file_system_are_those_of_the_file(trace: Trace, tmp_path: Path) -> None:
    (tmp_path / "w").mkdir()
    file = tmp_path / "w/file"
    file.write_text("x")
    status = file.stat()
    (event,) = trace("cat", file).below(tmp_path / "w", "open")
    assert event.inode == status.st_ino
    assert event.device == f"{os.major(status.st_dev)}:{os.minor(status.st_dev)}"
    words: list[str | Path] = ["findmnt", "-n", "-o", "FSTYPE", "-T", file]
    kind = subprocess.run(words, check=True, capture_output=True, text=True).stdout
    assert event.file_system == kind.strip()
    assert event.command == "cat"


@pytest.mark.parametrize(("depth", "name_bytes"), [(40, 90), (15, 255), (400, 8)])
def test_deep_paths_and_long_names_are_whole(
    trace: Trace, programs: Path, tmp_path: Path, depth: int, name_bytes: int
) -> None:
    log = trace(programs / "more", "deep", str(depth), str(name_bytes))
    (event,) = log.below(tmp_path / "w", "open")
    assert event.path == str(tmp_path / "w") + f"/{'d' * name_bytes}" * depth + "/file"
    assert log.lost == 0


def test_a_path_that_is_too_long_for_any_open_is_counted_as_lost(
    trace: Trace, programs: Path, tmp_path: Path
) -> None:
    log = trace(programs / "more", "deep", "30", "200", options=("-p", "open"))
    assert log.below(tmp_path / "w", "open") == []
    assert log.lost == 1


def test_opens_and_maps_through_32_bit_system_calls_are_recorded(
    trace: Trace, programs: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "w"
    folder.mkdir()
    for name in ("old", "new"):
        (folder / name).write_bytes(bytes(8192))
    log = trace(programs / "compat", options=("-p", "open,map"))
    opened, mapped = log.below(folder, "open"), log.below(folder, "map")
    assert [event.path for event in opened] == [f"{folder}/old", f"{folder}/new"]
    assert [(e.path, e.offset_bytes, e.length_bytes) for e in mapped] == [
        (f"{folder}/new", 0, 8192)
    ]


def test_a_mapping_tells_its_range_and_a_handle_its_file(
    trace: Trace, programs: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "w"
    folder.mkdir()
    (folder / "file").write_bytes(bytes(16384))
    (event,) = trace(programs / "more", "map", "file").below(folder, "map")
    assert (event.path, event.offset_bytes, event.length_bytes) == (f"{folder}/file", 4096, 8192)
    opened = trace(programs / "more", "handle", "file").below(folder, "open")
    assert [event.path for event in opened] == [f"{folder}/file"]


def test_a_script_its_interpreter_and_the_elf_interpreter_are_recorded(
    trace: Trace, tmp_path: Path
) -> None:
    folder = tmp_path / "w"
    folder.mkdir()
    script = folder / "script"
    script.write_text("#!/bin/sh\n:\n")
    script.chmod(0o755)
    # Only the raw tracepoint shows a script, whose runs the kernel may skip; it says so.
    for _ in range(3):
        # By a relative name, with parts that mean nothing.
        log = trace("sh", "-c", "exec ./../w//script")
        if "skipped" not in log.header:
            break
    events = log.events
    (position,) = [i for i, event in enumerate(events) if event.path == str(script)][:1]
    process = events[position].process
    found = [
        e for e in events[position:] if e.process == process and e.operation in ("exec", "map")
    ]
    assert (found[0].operation, found[0].path) == ("exec", str(script))
    assert (found[1].operation, found[1].path) == ("exec", os.path.realpath("/bin/sh"))
    assert found[2].operation == "map"
    assert found[2].path == os.path.realpath("/lib64/ld-linux-x86-64.so.2")


def test_a_failed_exec_is_not_recorded(trace: Trace, tmp_path: Path) -> None:
    folder = tmp_path / "w"
    folder.mkdir()
    (folder / "data").write_text("neither a program nor a script\n")
    (folder / "data").chmod(0o755)
    log = trace("python3", "-c", "import os\ntry: os.execv('./data', ['data'])\nexcept OSError: 0")
    assert log.below(folder, "exec") == []


def storm_opens(log: Log, folder: Path) -> int:
    return sum(e.path.startswith(f"{folder}/storm-") for e in log.below(folder, "open"))


@pytest.mark.parametrize("buffer", [(), ("--perf-buffer",)], ids=["ring", "perf"])
def test_a_fork_storm_loses_nothing(
    trace: Trace, programs: Path, tmp_path: Path, buffer: tuple[str, ...]
) -> None:
    folder = tmp_path / "w"
    log = trace(
        *(programs / "workload", "storm", folder, "200", "1000"),
        options=("-p", "open", "-b", "32768", *buffer),
    )
    assert ("perf" in log.header["backend"]) == bool(buffer)
    assert storm_opens(log, folder) == 200 * 1000 + 23
    assert log.lost == 0
    times = [event.time_ns for event in log.events]
    assert times == sorted(times)


@pytest.mark.parametrize("buffer", [(), ("--perf-buffer",)], ids=["ring", "perf"])
def test_what_a_small_buffer_loses_is_counted(
    trace: Trace, programs: Path, tmp_path: Path, buffer: tuple[str, ...]
) -> None:
    # Exactly so in a machine of its own: test_tracer_vm.py. Here, others open files meanwhile.
    folder = tmp_path / "w"
    # A tracer that does not get to read loses for certain, however fast the machine is.
    held = 'kill -STOP $PPID; "$@"; kill -CONT $PPID'
    log = trace(
        *("sh", "-c", held, "sh", programs / "workload", "storm", folder, "20", "1000"),
        options=("-p", "open", "-b", "8", *buffer),
    )
    missing = 20 * 1000 + 23 - storm_opens(log, folder)
    assert 0 < missing <= log.lost < missing + 5000


def test_what_the_programs_name_is_looked_for_among_few_types(tracer: Path, tmp_path: Path) -> None:
    # Through all types of the kernel, it is most of what loading takes.
    command: list[str | Path] = [tracer, "--verbose", "-o", tmp_path / "events", "--", "true"]
    said = subprocess.run(command, check=True, stderr=subprocess.PIPE).stderr.decode()
    found = re.findall(r"found target candidate \[(\d+)\] (\w+ \w+)", said)
    assert {"struct file", "struct inode", "struct dentry"} <= {name for _, name in found}
    assert max(int(number) for number, _ in found) < 1000


def test_memory_is_bounded_and_what_does_not_fit_is_counted(
    trace: Trace, programs: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "w"
    log = trace(
        *(programs / "workload", "storm", folder, "20", "1000"), options=("-p", "open", "-m", "1")
    )
    kept = len(log.events)
    # 80 bytes and the path each.
    assert 1000 < kept < (1 << 20) / 100
    assert log.lost >= 20 * 1000 + 23 - kept


def test_pages_that_were_read_of_the_medium_are_recorded(trace: Trace, tmp_path: Path) -> None:
    folder = tmp_path / "w"
    folder.mkdir()
    source = tmp_path / "source"
    (source / "usr").mkdir(parents=True)
    (source / "usr/big").write_bytes(os.urandom(1_000_000))
    (source / "usr/small").write_text("small")
    (source / "usr/unread").write_bytes(os.urandom(100_000))
    image = tmp_path / "image.squashfs"
    subprocess.run(
        ["mksquashfs", source, image, "-quiet", "-no-progress"], check=True, capture_output=True
    )
    script = f"""
        set -e
        mkdir lower upper work merged
        mount -o loop,ro {image} lower
        mount -t overlay -o lowerdir=lower,upperdir=upper,workdir=work overlay merged
        cat merged/usr/big > copy
        cat merged/usr/small
        umount merged lower
    """
    log = trace("sh", "-c", script)
    cached = [event for event in log.events if event.operation == "cache"]
    served = {event.path: 0 for event in cached if event.file_system == "squashfs"}
    for event in cached:
        if event.file_system == "squashfs":
            served[event.path] += event.length_bytes
    # The names in the squashfs, because only the overlay's were opened.
    assert served == {"/usr/big": 1_000_000, "/usr/small": 5}
    # Neither what was written nor the file behind the loop device.
    assert not [event for event in cached if event.path in (f"{folder}/copy", str(image))]


def test_a_page_is_named_as_the_file_was_opened(trace: Trace, tmp_path: Path) -> None:
    folder = tmp_path / "w"
    folder.mkdir()
    (folder / "first").write_bytes(os.urandom(8192))
    (folder / "second").hardlink_to(folder / "first")
    script = "import os; f = os.open('first', 0); os.fsync(f); os.posix_fadvise(f, 0, 0, 4)"
    subprocess.run(["python3", "-c", script], cwd=folder, check=True)
    log = trace("cat", "second")
    cached = log.below(folder, "cache")
    if not cached:
        pytest.skip("the file system does not use the page cache")
    assert {event.path for event in cached} == {f"{folder}/second"}
    assert sum(event.length_bytes for event in cached) == 8192


def test_a_killed_tracer_leaves_a_spool_that_is_recovered(
    tracer: Path, programs: Path, tmp_path: Path
) -> None:
    folder, spool, output = tmp_path / "w", tmp_path / "spool", tmp_path / "events"
    folder.mkdir()
    with start(tracer, "-p", "open", "--spool", spool, "-o", output) as process:
        subprocess.run([programs / "workload", "storm", folder, "2", "100"], check=True)
        wait_for_drain()
        process.kill()
    assert not output.exists()
    subprocess.run([tracer, "--recover", spool, "-o", output], check=True)
    log = parse(output.read_bytes())
    assert storm_opens(log, folder) == 223
    assert log.header["kernel"] == os.uname().release


class start:  # noqa: N801 - reads as a verb
    """A tracer in the background, once it is ready."""

    def __init__(self, tracer: Path, *options: str | Path) -> None:
        self.words: list[str | Path] = [tracer, *options]

    def __enter__(self) -> subprocess.Popen[bytes]:
        ready, told = os.pipe()
        self.process = subprocess.Popen(
            [*self.words, "--ready-fd", str(told)], pass_fds=[told], stdout=subprocess.PIPE
        )
        os.close(told)
        with os.fdopen(ready, "rb") as stream:
            assert stream.read() == b"ready\n"
        return self.process

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.communicate()


def wait_for_drain() -> None:
    # The tracer looks at its buffer every 50 ms.
    subprocess.run(["sleep", "0.5"], check=True)


def test_the_whole_bootlog_goes_to_standard_output_at_sigterm(
    tracer: Path, programs: Path, tmp_path: Path
) -> None:
    with start(tracer, "-p", "open") as process:
        subprocess.run([programs / "workload", "storm", tmp_path, "2", "100"], check=True)
        process.send_signal(signal.SIGTERM)
        output = process.communicate(timeout=20)[0]
    assert process.returncode == 0
    assert storm_opens(parse(output), tmp_path) == 223


def test_sigusr1_writes_what_there_is_and_goes_on(
    tracer: Path, programs: Path, tmp_path: Path
) -> None:
    output = tmp_path / "events"
    storm: list[str | Path] = [programs / "workload", "storm", tmp_path, "2", "100"]
    with start(tracer, "-p", "open", "-o", output) as process:
        subprocess.run(storm, check=True)
        wait_for_drain()
        process.send_signal(signal.SIGUSR1)
        wait_for_drain()
        assert storm_opens(parse(output.read_bytes()), tmp_path) == 223
        subprocess.run(storm, check=True)
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=20)
    assert storm_opens(parse(output.read_bytes()), tmp_path) == 446


def test_as_a_daemon_it_returns_once_all_is_traced(
    tracer: Path, programs: Path, tmp_path: Path
) -> None:
    output, pidfile = tmp_path / "events", tmp_path / "pid"
    words: list[str | Path] = [tracer, "-p", "open", "--daemon", "--pidfile", pidfile, "-o", output]
    subprocess.run(words, check=True)
    process = int(pidfile.read_text())
    try:
        subprocess.run([programs / "workload", "storm", tmp_path, "2", "100"], check=True)
    finally:
        os.kill(process, signal.SIGTERM)
    for _ in range(40):
        if not pidfile.exists():
            break
        wait_for_drain()
    assert storm_opens(parse(output.read_bytes()), tmp_path) == 223


def test_a_full_disk_is_one_clear_line_and_what_fits_is_kept(
    tracer: Path, programs: Path, tmp_path: Path
) -> None:
    folder, disk = tmp_path / "w", tmp_path / "disk"
    folder.mkdir()
    disk.mkdir()
    # The namespace of the shell, so that nothing stays mounted whatever happens.
    script = f"""
        mount -t tmpfs -o size=64k none {disk}
        {tracer} -p open -o {disk}/events -- {programs}/workload storm {folder} 5 1000
        echo "status $?"
        ls {disk}
        head -c 20 {disk}/events.partial
    """
    words: list[str | Path] = ["unshare", "-m", "sh", "-c", script]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    assert done.stdout == "status 1\nevents.partial\n#bootprof-bootlog 1\n"
    assert f"error: {disk}/events: {os.strerror(errno.ENOSPC)}" in done.stderr
    assert f"hint: what could be written is in {disk}/events.partial" in done.stderr
    assert len(done.stderr.splitlines()) == 2


def test_a_spool_that_does_not_fit_on_the_disk_is_refused_at_the_start(
    tracer: Path, tmp_path: Path
) -> None:
    script = f"mount -t tmpfs -o size=64k none {tmp_path}; {tracer} --spool {tmp_path}/spool"
    words: list[str | Path] = ["unshare", "-m", "sh", "-c", script]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert os.strerror(errno.ENOSPC) in done.stderr


def test_without_privileges_it_says_which_are_missing(tracer: Path) -> None:
    words: list[str | Path] = [
        "setpriv",
        "--bounding-set=-all",
        "--inh-caps=-all",
        tracer,
        "--",
        "true",
    ]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        "bootprof-trace: error: no privilege to load BPF programs",
        "bootprof-trace: hint: run it as root, or give it CAP_BPF and CAP_PERFMON",
    ]


def test_without_btf_it_says_so_and_what_else_there_is(tracer: Path) -> None:
    script = f"mount -t tmpfs none /sys; mkdir /sys/kernel; {tracer} -- true"
    words: list[str | Path] = ["unshare", "-m", "sh", "-c", script]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "error: /sys/kernel/btf/vmlinux: No such file or directory" in done.stderr
    assert "hint: use another backend" in done.stderr
    assert len(done.stderr.splitlines()) == 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--seconds", "soon"], "--seconds soon: not a number from 1 to 1000000"),
        (["--operations", "open,close"], "--operations: unknown operation: close"),
        (["--daemon"], "--daemon needs an output file, and takes no command"),
        (["--no-such-option"], "wrong usage"),
        (["--recover", "/nowhere"], "/nowhere: No such file or directory"),
        (["--recover", "/etc/passwd"], "/etc/passwd: not a spool file of bootprof-trace"),
    ],
)
def test_wrong_usage_has_status_2_and_one_clear_line(
    tracer: Path, options: list[str], message: str
) -> None:
    done = subprocess.run([tracer, *options], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert f"bootprof-trace: error: {message}\n" in done.stderr


def test_a_corrupt_spool_ends_where_it_stops_making_sense(
    tracer: Path, programs: Path, tmp_path: Path
) -> None:
    spool, output = tmp_path / "spool", tmp_path / "events"
    with start(tracer, "-p", "open", "-m", "1", "--spool", spool) as process:
        subprocess.run([programs / "workload", "storm", tmp_path, "2", "100"], check=True)
        wait_for_drain()
        process.kill()
    data = bytearray(spool.read_bytes())
    data[4096:] = b"\xff" * (len(data) - 4096)
    spool.write_bytes(data)
    subprocess.run([tracer, "--recover", spool, "-o", output], check=True)
    assert 10 < len(parse(output.read_bytes()).events) < 40


def test_the_object_is_the_same_wherever_it_is_built(tmp_path: Path) -> None:
    first, second = (
        build_tracer(tmp_path / name).parent / "bootprof.bpf.o" for name in ("one", "two")
    )
    assert first.read_bytes() == second.read_bytes()


def test_the_loader_is_static_and_small(tracer: Path) -> None:
    assert tracer.stat().st_size < 1_500_000
    listing = subprocess.run(["file", tracer], check=True, capture_output=True, text=True).stdout
    assert "statically linked" in listing


@pytest.mark.parametrize("buffer", ["ring", "perf"])
def test_it_records_without_a_complaint_of_the_sanitizers(
    tracer: Path, programs: Path, tmp_path: Path, buffer: str
) -> None:
    checked = build_checked(TRACE, tmp_path / "build")
    folder = tmp_path / "w"
    folder.mkdir()
    options = ["--perf-buffer"] if buffer == "perf" else []
    words = ("-o", tmp_path / "events", "--", programs / "workload", "storm", folder, "2", "100")
    done = run_checked(checked, *options, *words)
    assert done.returncode == 0, done.stderr
    log = parse((tmp_path / "events").read_bytes())
    assert len(log.below(folder, "open")) >= 2 * 100
