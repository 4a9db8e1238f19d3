"""The kernel module on a real kernel: what it records, and that it comes and goes in peace."""

import re
import subprocess
from pathlib import Path

import pytest
from vmtest import GuestRun, complaints, run_guest

from bootprof.builder import store
from bootprof.builder.kernelmodule import GuestKernel, ModuleBuild, build_module, fetch_kernel

pytestmark = [pytest.mark.vm, pytest.mark.root]
HERE = Path(__file__).parent
DEBUGFS = "/sys/kernel/debug/bootprof"


@pytest.fixture(scope="module")
def built(output: Path) -> tuple[GuestKernel, ModuleBuild]:
    cache = output / "cache"
    with store.locked(cache):
        kernel = fetch_kernel("bookworm", cache)
        module = build_module("bookworm", cache, kernel_release=kernel.release)
    return kernel, module


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("programs")
    for name, options in {
        "workload": ["-static"],
        "compat": ["-m32", "-nostdlib", "-static"],
    }.items():
        subprocess.run(
            ["gcc", *options, "-O1", "-Wall", "-Werror", "-o", folder / name, HERE / f"{name}.c"],
            check=True,
        )
    return folder


def guest(built: tuple[GuestKernel, ModuleBuild], programs: Path, script: str) -> GuestRun:
    kernel, module = built
    files = {"bootprof.ko": module.module}
    files |= {f"bin/{path.name}": path for path in programs.iterdir()}
    result = run_guest(kernel, script, files=files, modules=["overlay"])
    assert result.status == 0, result.console
    assert complaints(result.console) == [], result.console
    return result


def sections(output: bytes) -> dict[str, bytes]:
    """Take apart what the scripts below write: ``=== name`` before each part."""
    parts = re.split(rb"^=== (\w+)\n", output, flags=re.M)[1:]
    return dict(zip((name.decode() for name in parts[::2]), parts[1::2], strict=True))


@pytest.fixture(scope="module")
def workload(built: tuple[GuestKernel, ModuleBuild], programs: Path) -> dict[str, bytes]:
    script = f"""
        mkdir /w
        mount -t tmpfs none /w
        cp /bin/busybox /w/interpreter
        mkdir /w/x; cp /bin/compat /w/x/compat
        touch /w/compat-open /w/compat-openat
        insmod /bootprof.ko
        workload files /w /tmp/truth
        /w/x/compat
        echo stop > {DEBUGFS}/control
        for name in stats events bootlog.list; do
            echo "=== ${{name%.*}}" > $OUT; cat {DEBUGFS}/$name > $OUT
        done
        echo "=== truth" > $OUT; cat /tmp/truth > $OUT
        rmmod bootprof
    """
    return sections(guest(built, programs, script).output)


def recorded(parts: dict[str, bytes], operation: bytes) -> dict[bytes, list[bytes]]:
    """Return the paths below /w that each process touched, in order."""
    found: dict[bytes, list[bytes]] = {}
    for line in parts["events"].splitlines():
        fields = line.split(b"\t")
        if len(fields) == 10 and fields[3] == operation and fields[9].startswith(b"/w/"):
            found.setdefault(fields[1], []).append(fields[9])
    return found


def test_every_open_is_recorded_in_its_order_and_nothing_else(workload: dict[str, bytes]) -> None:
    truth: dict[bytes, list[bytes]] = {}
    for line in workload["truth"].splitlines():
        pid, operation, path = line.split(b"\t")
        assert operation == b"open"
        truth.setdefault(pid, []).append(path)
    opens = recorded(workload, b"open")
    assert len(truth) == 1
    for pid, paths in truth.items():
        assert len(paths) > 46
        assert opens[pid] == paths


def test_opens_through_32_bit_system_calls_are_recorded(workload: dict[str, bytes]) -> None:
    assert [b"/w/compat-open", b"/w/compat-openat"] in recorded(workload, b"open").values()


def test_a_script_and_its_interpreter_are_recorded_and_a_failed_exec_is_not(
    workload: dict[str, bytes],
) -> None:
    executed = [path for paths in recorded(workload, b"exec").values() for path in paths]
    assert executed == [b"/w/script", b"/w/interpreter", b"/w/x/compat"]


def test_the_plain_list_has_each_path_once_in_order_of_first_access(
    workload: dict[str, bytes],
) -> None:
    plain = [line for line in workload["bootlog"].splitlines() if line.startswith(b"/w/")]
    assert len(set(plain)) == len(plain)
    assert plain[:3] == [b"/w/file-0", b"/w/file-1", b"/w/file-2"]
    for path in (
        b"/w/with space",
        b"/w/new\\012line",
        b"/w/back\\slash",
        b"/w/unit\\x2d.service",
        b"/w/escaped\\134012",
        b"/w/gone (deleted)",
    ):
        assert path in plain


def test_files_of_the_initramfs_are_not_in_the_plain_list(workload: dict[str, bytes]) -> None:
    assert b"\trootfs\t" in workload["events"]
    assert b"/bin/busybox" not in workload["bootlog"].splitlines()


def test_a_fork_storm_loses_nothing(built: tuple[GuestKernel, ModuleBuild], programs: Path) -> None:
    script = f"""
        mkdir /w
        mount -t tmpfs none /w
        insmod /bootprof.ko
        workload storm /w 200 1000
        echo stop > {DEBUGFS}/control
        echo "=== stats" > $OUT; cat {DEBUGFS}/stats > $OUT
        echo "=== count" > $OUT; grep -c '	open	.*/w/storm-' {DEBUGFS}/events > $OUT
        rmmod bootprof
    """
    parts = sections(guest(built, programs, script).output)
    assert b"\ndropped 0\n" in parts["stats"]
    assert int(parts["count"]) == 200 * 1000 + 23


def test_memory_is_bounded_and_what_is_dropped_is_counted_exactly(
    built: tuple[GuestKernel, ModuleBuild], programs: Path
) -> None:
    script = f"""
        mkdir /w
        mount -t tmpfs none /w
        insmod /bootprof.ko max_bytes=100000 autostart=0
        echo start > {DEBUGFS}/control
        workload storm /w 10 1000
        echo stop > {DEBUGFS}/control
        echo "=== stats" > $OUT; cat {DEBUGFS}/stats > $OUT
        echo "=== kept" > $OUT; grep -vc '^#' {DEBUGFS}/events > $OUT
        echo clear > {DEBUGFS}/control
        echo "=== cleared" > $OUT; cat {DEBUGFS}/stats > $OUT
        rmmod bootprof
    """
    parts = sections(guest(built, programs, script).output)
    stats = dict(line.split(b" ", 1) for line in parts["stats"].splitlines())
    assert int(stats[b"bytes"]) <= 100000
    assert int(parts["kept"]) == int(stats[b"events"]) > 100
    # Besides the storm: one exec and one map of the workload itself, and the same of cat.
    assert int(stats[b"events"]) + int(stats[b"dropped"]) - (10 * 1000 + 23) in range(10)
    assert b"\nevents 0\ndropped 0\nbytes 0\n" in parts["cleared"]


def test_loading_tracing_reading_and_unloading_a_hundred_times_leaves_no_trace(
    built: tuple[GuestKernel, ModuleBuild], programs: Path
) -> None:
    script = f"""
        mkdir /w
        mount -t tmpfs none /w
        (while [ ! -e /tmp/done ]; do workload storm /w 2 50; cat {DEBUGFS}/events; done) \\
            > /dev/null 2>&1 &
        i=0
        while [ $i -lt 100 ]; do
            insmod /bootprof.ko
            workload storm /w 2 10
            [ $(grep -c storm {DEBUGFS}/bootlog.list) -eq 23 ]
            # A reader may hold the module for a moment.
            while ! rmmod bootprof 2> /dev/null; do :; done
            i=$((i + 1))
            if [ $i -eq 20 ]; then grep -E '^(SUnreclaim|Percpu)' /proc/meminfo > /tmp/before; fi
        done
        touch /tmp/done
        wait
        echo "=== before" > $OUT; cat /tmp/before > $OUT
        echo "=== after" > $OUT; grep -E '^(SUnreclaim|Percpu)' /proc/meminfo > $OUT
    """
    result = guest(built, programs, script)
    parts = sections(result.output)
    before, after = (
        {line.split()[0]: int(line.split()[1]) for line in parts[name].splitlines()}
        for name in ("before", "after")
    )
    for key, kib in before.items():
        # Eighty more rounds of some hundred events each would be tens of megabytes.
        assert after[key] - kib < 4096, (before, after)


def test_compiler_and_sparse_have_no_complaint(built: tuple[GuestKernel, ModuleBuild]) -> None:
    log = built[1].log_file.read_text()
    assert re.search(r"^ *CHECK .*bootprof_main.c$", log, flags=re.M)
    assert "warning" not in log
