# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""The kernel module on real kernels: what it records, and that it comes and goes in peace."""

import os
from pathlib import Path

import pytest

from tests.kmod.guests import DEBUGFS, Guest, sections
from vmtest.kernels import table_offset

pytestmark = [pytest.mark.vm, pytest.mark.root]


@pytest.fixture(scope="module")
def workload(guest: Guest) -> dict[str, bytes]:
    script = """
        mkdir /w
        mount -t tmpfs none /w
        cp /bin/busybox /w/interpreter
        mkdir /w/x; cp /bin/compat /w/x/compat
        touch /w/compat-open /w/compat-openat
        load ranges=1
        workload files /w /tmp/truth
        /w/x/compat
        mkdir -p /s /m /u /debug /root/etc
        mount -t squashfs -o loop /big.squashfs /s
        mount -t tmpfs none /u
        mkdir /u/upper /u/work
        mount -t overlay -o lowerdir=/s,upperdir=/u/upper,workdir=/u/work none /m
        workload ranges /m/big
        mount -t tmpfs none /root
        mkdir /root/etc /root/bin
        cp /bin/busybox /root/bin/
        touch /root/etc/before /root/etc/inside
        chroot /root /bin/busybox cat /etc/inside
        mount -t debugfs none /debug
        echo stop > /debug/bootprof/control
        for name in stats events bootlog.list; do
            echo "=== ${name%.*}" > $OUT; cat /debug/bootprof/$name > $OUT
        done
        echo "=== truth" > $OUT; cat /tmp/truth > $OUT
        rmmod bootprof
    """
    return sections(guest.run(script).output)


def recorded(parts: dict[str, bytes], operation: bytes) -> dict[bytes, list[bytes]]:
    """Return the paths below /w that each process touched, in order."""
    found: dict[bytes, list[bytes]] = {}
    for line in parts["events"].splitlines():
        fields = line.split(b"\t")
        if len(fields) == 10 and fields[3] == operation and fields[9].startswith(b"/w/"):
            found.setdefault(fields[1], []).append(fields[9])
    return found


def test_the_mode_is_the_one_that_was_asked_for(guest: Guest, workload: dict[str, bytes]) -> None:
    assert workload["stats"].startswith(f"mode {guest.mode}\n".encode())
    assert f"#backend: kmod ({guest.mode})\n".encode() in workload["events"]
    assert b"\ndropped 0\n" in workload["stats"]


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
    assert all(line.startswith(b"/") for line in workload["bootlog"].splitlines())
    assert b"nowhere" not in workload["bootlog"]
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
    assert b"\trootfs\t/bin/workload\n" in workload["events"]
    assert b"/bin/workload" not in workload["bootlog"].splitlines()


def test_the_first_read_and_fault_of_each_range_of_pages_is_recorded(
    workload: dict[str, bytes],
) -> None:
    lines = [line.split(b"\t") for line in workload["events"].splitlines() if b"/big" in line]
    found = [
        (fields[3].decode(), int(fields[4]), int(fields[5]), fields[8].decode())
        for fields in lines
        if fields[9] == b"/m/big"
    ]
    assert found == [
        ("open", 0, 0, "overlay"),
        ("read", 12288, 4096, "squashfs"),
        ("read", 0, 12288, "squashfs"),
        ("read", 20480, 4096, "squashfs"),
        ("read", 16384, 4096, "squashfs"),
        ("read", 24576, 40960, "squashfs"),
        ("map", 0, 0, "overlay"),
        ("fault", 819200, 4096, "squashfs"),
    ]


def test_what_is_read_of_a_file_that_is_cut_meanwhile_lies_within_its_former_size(
    guest: Guest,
) -> None:
    # tmpfs has no medium, so the file has to be on a disk.
    script = f"""
        mkdir /d
        mount -t ext4 -o loop /disk.ext2 /d
        load ranges=1
        workload cut /d 3000
        echo stop > {DEBUGFS}/control
        echo "=== events" > $OUT; grep '	read	.*	/d/cut' {DEBUGFS}/events > $OUT
        rmmod bootprof
    """
    parts = sections(guest.run(script).output)
    reads = [tuple(map(int, line.split(b"\t")[4:6])) for line in parts["events"].splitlines()]
    assert len(reads) > 300
    assert {offset for offset, _ in reads} <= {1 << 18, 1 << 19}
    assert all(0 < length <= 1 << 16 for _, length in reads), sorted(set(reads))


def test_paths_seen_from_the_initramfs_are_those_after_switch_root(
    workload: dict[str, bytes],
) -> None:
    plain = workload["bootlog"].splitlines()
    assert {b"/etc/before", b"/etc/inside", b"/bin/busybox"} <= set(plain)
    assert not any(path.startswith(b"/root/") for path in plain)


def test_a_path_that_does_not_start_at_the_real_root_is_marked(guest: Guest) -> None:
    script = f"""
        mkdir -p /w
        mount -t tmpfs none /w
        mkdir -p /w/jail/bin /w/jail/etc /w/name-space
        cp /bin/busybox /w/jail/bin/
        touch /w/jail/etc/jailed /w/name-space/inside
        load
        chroot /w/jail /bin/busybox cat /etc/jailed
        unshare -m cat /w/name-space/inside
        workload detached /w/name-space
        echo stop > {DEBUGFS}/control
        echo "=== events" > $OUT; cat {DEBUGFS}/events > $OUT
        echo "=== bootlog" > $OUT; cat {DEBUGFS}/bootlog.list > $OUT
        rmmod bootprof
    """
    parts = sections(guest.run(script).output)
    fields = [line.split(b"\t") for line in parts["events"].splitlines() if b"\t" in line]
    opened = [field[9] for field in fields if field[3] == b"open" and field[8] == b"tmpfs"]
    assert opened == [
        b"(unreachable)/etc/jailed",
        b"/w/name-space/inside",
        b"(unreachable)/inside",
    ]
    assert b"unreachable" not in parts["bootlog"]
    assert b"/w/name-space/inside" in parts["bootlog"].splitlines()


def test_a_fork_storm_loses_nothing(guest: Guest) -> None:
    script = f"""
        mkdir /w
        mount -t tmpfs none /w
        load
        workload storm /w 200 1000
        echo stop > {DEBUGFS}/control
        echo "=== stats" > $OUT; cat {DEBUGFS}/stats > $OUT
        echo "=== count" > $OUT; grep -c '	open	.*/w/storm-' {DEBUGFS}/events > $OUT
        rmmod bootprof
    """
    parts = sections(guest.run(script).output)
    assert b"\ndropped 0\n" in parts["stats"]
    assert int(parts["count"]) == 200 * 1000 + 23


def test_memory_is_bounded_and_what_is_dropped_is_counted_exactly(
    guest: Guest,
) -> None:
    script = f"""
        mkdir /w
        mount -t tmpfs none /w
        load max_bytes=100000 autostart=0
        echo start > {DEBUGFS}/control
        workload storm /w 10 1000
        echo stop > {DEBUGFS}/control
        echo "=== stats" > $OUT; cat {DEBUGFS}/stats > $OUT
        echo "=== kept" > $OUT; grep -vc '^#' {DEBUGFS}/events > $OUT
        echo clear > {DEBUGFS}/control
        echo "=== cleared" > $OUT; cat {DEBUGFS}/stats > $OUT
        rmmod bootprof
    """
    parts = sections(guest.run(script).output)
    stats = dict(line.split(b" ", 1) for line in parts["stats"].splitlines())
    assert int(stats[b"bytes"]) <= 100000
    assert int(parts["kept"]) == int(stats[b"events"]) > 100
    # Besides the storm: one exec and one map of the workload itself, and the same of cat.
    assert int(stats[b"events"]) + int(stats[b"dropped"]) - (10 * 1000 + 23) in range(10)
    assert b"\nevents 0\ndropped 0\nbytes 0\n" in parts["cleared"]


def test_loading_tracing_reading_and_unloading_again_and_again_leaves_no_trace(
    guest: Guest,
) -> None:
    # "make soak" sets the number. Without it: a hundred times where it matters most.
    usual = 100 if guest.kernel.release.startswith("6.1.") else 30
    rounds = int(os.environ.get("BOOTPROF_SOAK_CYCLES", usual))
    accelerator = os.environ.get("BOOTPROF_SOAK_ACCELERATOR", "tcg")
    script = f"""
        mkdir /w
        mount -t tmpfs none /w
        (while [ ! -e /tmp/done ]; do workload storm /w 2 50; cat {DEBUGFS}/events; done) \\
            > /dev/null 2>&1 &
        i=0
        while [ $i -lt {rounds} ]; do
            load ranges=1
            workload storm /w 2 2000
            [ $(grep -c storm {DEBUGFS}/bootlog.list) -eq 23 ]
            # A reader, or a call in table mode, may hold the module for a moment.
            while ! rmmod bootprof 2> /dev/null; do :; done
            i=$((i + 1))
            if [ $((i % 100)) -eq 0 ]; then echo "$i cycles"; fi
            if [ $i -eq 10 ]; then grep -E '^(SUnreclaim|Percpu)' /proc/meminfo > /tmp/before; fi
        done
        touch /tmp/done
        wait
        echo "=== before" > $OUT; cat /tmp/before > $OUT
        echo "=== after" > $OUT; grep -E '^(SUnreclaim|Percpu)' /proc/meminfo > $OUT
    """
    # A cycle takes some 2 s under emulation.
    result = guest.run(script, timeout_seconds=max(300, 5 * rounds), accelerator=accelerator)
    parts = sections(result.output)
    before, after = (
        {line.split()[0]: int(line.split()[1]) for line in parts[name].splitlines()}
        for name in ("before", "after")
    )
    for key, kib in before.items():
        # Each round has more than four thousand events, of some 200 bytes.
        assert after[key] - kib < 200 * (rounds - 10), (before, after)


def test_a_module_that_is_refused_leaves_nothing_behind(guest: Guest) -> None:
    script = f"""
        mount -t tracefs none /sys/kernel/tracing
        hooks() {{ cat /sys/kernel/debug/kprobes/list /sys/kernel/tracing/enabled_functions; }}
        before="$(hooks)"
        no_hooks() {{ [ "$(hooks)" = "$before" ]; }}
        for parameters in hook=nonsense max_bytes=many "hook=table table_offset=8"; do
            if insmod /bootprof.ko $parameters; then exit 1; fi
            [ ! -e {DEBUGFS} ]
            if grep -q bootprof /proc/modules; then exit 1; fi
            no_hooks
        done
        load
        cat /bootprof.ko > /tmp/copy
        grep -q /bootprof.ko {DEBUGFS}/events
        if no_hooks; then exit 1; fi
        rmmod bootprof
        no_hooks
    """
    guest.run(script)


def test_in_ftrace_mode_the_module_goes_while_an_open_sleeps(ftrace_guest: Guest) -> None:
    script = """
        mkfifo /pipe
        load
        (cat /pipe > /tmp/got) &
        sleep 0.5
        rmmod bootprof
        echo word > /pipe
        wait
        echo "=== got" > $OUT; cat /tmp/got > $OUT
    """
    assert sections(ftrace_guest.run(script).output)["got"] == b"word\n"


def test_in_table_mode_the_module_stays_while_an_open_sleeps(table_guest: Guest) -> None:
    script = """
        mkfifo /pipe
        load
        (cat /pipe > /tmp/got) &
        sleep 0.5
        echo "=== first" > $OUT
        rmmod bootprof 2> $OUT && echo gone > $OUT
        echo word > /pipe
        wait
        echo "=== second" > $OUT
        rmmod bootprof && echo gone > $OUT
        cat /tmp/got > $OUT
    """
    parts = sections(table_guest.run(script).output)
    assert b"gone" not in parts["first"]
    assert parts["second"] == b"gone\nword\n"


@pytest.mark.parametrize(("how", "said"), [("", "kallsyms"), ("table_scan=1", "scan")])
def test_the_table_is_found(table_guest: Guest, how: str, said: str) -> None:
    script = f"""
        load {how}
        cat /bootprof.ko > /dev/null
        [ $(grep -c bootprof.ko {DEBUGFS}/events) -eq 1 ]
        rmmod bootprof
    """
    console = table_guest.run(script).console
    assert f"bootprof: sys_call_table found by {said}" in console
    assert f"bootprof: ia32_sys_call_table found by {said}" in console


def test_the_table_is_found_from_system_map_and_a_wrong_place_is_refused(
    table_guest: Guest, tmp_path: Path
) -> None:
    # Debian's System.map is a stub, so the test makes one; the next boot has other addresses.
    system_map = tmp_path / "System.map"
    system_map.write_bytes(table_guest.run("grep -v '\\[' /proc/kallsyms > $OUT").output)
    offset = table_offset(system_map)
    script = f"""
        if load table_offset={offset + 8}; then exit 1; fi
        load table_offset={offset}
        rmmod bootprof
    """
    console = table_guest.run(script).console
    assert f"bootprof: no sys_call_table at table_offset={offset + 8}" in console
    assert "bootprof: sys_call_table found by parameter" in console


def test_auto_takes_the_table_only_where_the_kernel_uses_it(
    table_guest: Guest, ftrace_guest: Guest
) -> None:
    script = "insmod /bootprof.ko; rmmod bootprof"
    assert "bootprof: mode table" in table_guest.run(script).console
    assert "bootprof: mode ftrace" in ftrace_guest.run(script).console
    refused = ftrace_guest.run("if insmod /bootprof.ko hook=table; then exit 1; fi").console
    assert "bootprof: hook=table needs a kernel before 5.18 that uses sys_call_table" in refused
