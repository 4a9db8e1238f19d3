# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""The BPF tracer in a machine of its own, from an initramfs with nothing mounted."""

import re
from pathlib import Path

import pytest

from bootprof.builder import store
from tests.ebpf.support import Log, build_tracer, compile_workloads, parse
from vmtest.guest import GuestRun, complaints, run_guest
from vmtest.kernels import GuestKernel, chosen_suites, fetch_kernel

pytestmark = [pytest.mark.vm, pytest.mark.root]

STORM = 200 * 1000 + 23

# As the first process of an initramfs finds it: neither sysfs nor tracefs.
BARE = """
umount /sys/kernel/debug
umount /sys
mkdir /w
mount -t tmpfs none /w
"""


@pytest.fixture(scope="module", params=chosen_suites())
def kernel(request: pytest.FixtureRequest, output: Path) -> GuestKernel:
    cache = output / "cache"
    with store.opened(cache):
        return fetch_kernel(request.param, cache)


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("programs")
    files = {f"bin/{path.name}": path for path in compile_workloads(folder / "workloads").iterdir()}
    return files | {"bin/bootprof-trace": build_tracer(folder / "build")}


def guest(kernel: GuestKernel, programs: dict[str, Path], script: str) -> dict[str, bytes]:
    """Run a script; return what it sent with ``send NAME FILE``, by name."""
    send = 'send() { echo "=== $1" > $OUT; cat $2 > $OUT; }\n'
    result: GuestRun = run_guest(
        kernel, send + BARE + script, files=programs, modules=["overlay"], memory_mib=1536
    )
    assert result.status == 0, result.console
    assert complaints(result.console) == [], result.console
    parts = re.split(rb"^=== (\w+)\n", result.output, flags=re.M)[1:]
    return dict(zip((name.decode() for name in parts[::2]), parts[1::2], strict=True))


def storm_opens(log: Log) -> int:
    return sum(event.path.startswith("/w/storm-") for event in log.events)


def test_opens_and_execs_are_recorded_in_their_order_and_nothing_else(
    kernel: GuestKernel, programs: dict[str, Path]
) -> None:
    script = """
        cp /bin/busybox /w/interpreter
        echo > /w/old; cp /bin/busybox /w/new
        mkdir /w/x; cp /bin/compat /w/x
        bootprof-trace -o /tmp/events -- sh -c 'workload files /w /tmp/truth; cd /w; x/compat'
        send events /tmp/events
        send truth /tmp/truth
    """
    parts = guest(kernel, programs, script)
    log = parse(parts["events"])
    assert log.lost == 0
    assert log.header["kernel"] == kernel.release
    lines = parts["truth"].decode(errors="surrogateescape").removesuffix("\n").split("\n")
    expected = [tuple(line.split("\t")[::2]) for line in lines]
    assert len(expected) > 46
    opened = [(str(event.process), event.path) for event in log.below("/w", "open")]
    assert opened[:-2] == expected
    # 32-bit system calls.
    assert [path for _, path in opened[-2:]] == ["/w/old", "/w/new"]
    assert [e.path for e in log.below("/w", "exec")] == [
        "/w/script",
        "/w/interpreter",
        "/w/x/compat",
    ]
    mapped = {event.path for event in log.below("/w", "map")}
    assert mapped == {"/w/new"}


def test_a_program_on_an_overlay_is_executed_and_not_its_own_interpreter(
    kernel: GuestKernel, programs: dict[str, Path]
) -> None:
    script = """
        mkdir /w/lower /w/upper /w/work /w/merged
        cp /bin/busybox /w/lower/true
        mount -t overlay -o lowerdir=/w/lower,upperdir=/w/upper,workdir=/w/work none /w/merged
        bootprof-trace -o /tmp/events -- /w/merged/true
        send events /tmp/events
    """
    log = parse(guest(kernel, programs, script)["events"])
    assert [event.path for event in log.below("/w", "exec")] == ["/w/merged/true"]
    # A static program has no interpreter. On 5.10 the kernel maps a struct file of its own.
    assert log.below("/w", "map") == []


def test_it_records_where_even_proc_is_not_mounted(
    kernel: GuestKernel, programs: dict[str, Path]
) -> None:
    script = """
        echo > /w/old; echo > /w/new; cp /bin/compat /w
        umount /proc
        bootprof-trace -o /tmp/events -- sh -c 'cd /w; ./compat'
        mount -t proc none /proc
        send events /tmp/events
    """
    log = parse(guest(kernel, programs, script)["events"])
    assert [event.path for event in log.below("/w", "open")] == ["/w/old", "/w/new"]


@pytest.mark.parametrize("buffer", ["", "--perf-buffer"], ids=["ring", "perf"])
def test_a_fork_storm_is_recorded_whole_or_its_losses_counted_exactly(
    kernel: GuestKernel, programs: dict[str, Path], buffer: str
) -> None:
    script = f"""
        bootprof-trace {buffer} -p open -o /tmp/whole -- workload storm /w 200 1000
        send whole /tmp/whole
        # A tracer that does not get to read loses for certain, however fast the machine is.
        bootprof-trace {buffer} -b 16 -p open -o /tmp/small -- \\
            sh -c 'kill -STOP $PPID; workload storm /w 20 1000; kill -CONT $PPID'
        send small /tmp/small
    """
    parts = guest(kernel, programs, script)
    whole, small = parse(parts["whole"]), parse(parts["small"])
    assert (storm_opens(whole), whole.lost) == (STORM, 0)
    assert small.lost > 0
    # Nothing else opens a file in this machine.
    assert storm_opens(small) + small.lost == 20 * 1000 + 23


def test_a_storm_of_execs_is_recorded_whole(kernel: GuestKernel, programs: dict[str, Path]) -> None:
    script = """
        echo > /w/old; echo > /w/new; cd /w
        cat > /tmp/storm <<'END'
for j in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
    (i=0; while [ $i -lt 50 ]; do compat; i=$((i + 1)); done) &
done
wait
END
        bootprof-trace -p exec -o /tmp/events -- sh /tmp/storm
        send events /tmp/events
    """
    log = parse(guest(kernel, programs, script)["events"])
    executed = sum(event.path == "/bin/compat" for event in log.events)
    assert executed == 1000
    # Where the kernel skips runs: of the program for scripts, and none of these is one.
    assert log.lost == int(log.header.get("skipped", "0"))


def test_it_goes_on_when_the_root_is_switched_and_its_own_files_are_gone(
    kernel: GuestKernel, programs: dict[str, Path]
) -> None:
    script = """
        mkdir -p /root /fifo
        mount -t tmpfs none /root
        mkdir -p /root/bin /root/etc
        cp /bin/busybox /root/bin
        echo early > /root/etc/early; echo late > /root/etc/late
        mkfifo /fifo/ready /fifo/log
        bootprof-trace --ready-fd 3 3> /fifo/ready > /fifo/log &
        tracer=$!
        cat /fifo/log > /tmp/log &
        reader=$!
        read ready < /fifo/ready
        [ "$ready" = ready ]
        cat /root/etc/early
        cat /bin/../script > /dev/null
        rm /bin/bootprof-trace
        # What switch_root does, by a process that need not be the first.
        sh -c 'cd /root; mount --move . /; exec chroot . /bin/busybox sh -c "busybox cat /etc/late"'
        kill -TERM $tracer
        wait $tracer
        wait $reader
        send log /tmp/log
    """
    log = parse(guest(kernel, programs, script)["log"])
    assert log.lost == 0
    by_path = {event.path: event for event in log.events if event.operation == "open"}
    # Opened as /root/etc/early.
    assert by_path["/etc/early"].file_system == "tmpfs"
    assert by_path["/etc/late"].file_system == "tmpfs"
    assert by_path["/script"].file_system == "rootfs"
    assert not [path for path in by_path if path.startswith("/root/")]
