# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""What tools print, and the paths that have to be found in it.

Where the machine that this was written on runs a tool, the lines are what it printed there (strace
6.1, perf 6.1, fatrace 0.17, inotify-tools 3.22.6, bcc 0.26, bpftrace 0.17, blkparse 1.2), cut.
The others follow the format strings of the tool's source, which the comment names.
"""

from __future__ import annotations

from tests.imports.more_samples import AUDITD, E4RAT, READ_LINES, SORTFILE, UREADAHEAD
from tests.imports.sample import Sample, lines

__all__ = ["READ_LINES", "SAMPLES", "Sample"]


EXEC = 'execve("/bin/sh", ["sh"], 0x7ffc0e9a0a80 /* 3 vars */) = 0'
OPEN = 'openat(AT_FDCWD, "/etc/a", O_RDONLY|O_CLOEXEC) = 3'
FOUND = (b"/bin/sh", b"/etc/a")


def strace(prefix: str) -> Sample:
    """Both calls with something in front."""
    return Sample(lines(prefix + EXEC, prefix + OPEN), FOUND)


STRACE = {
    "plain": strace(""),
    "-f -o": strace("100 "),
    "-f": strace("[pid   100] "),
    "-t": strace("100 01:58:06 "),
    "-tt": strace("01:58:06.649312 "),
    "-ttt": strace("100 1795571887.319877 "),
    "unix ns": strace("21445 1795571887.319877126 "),
    "unix s": strace("21445 1795571887 "),
    "unix s without pid": strace("1795571887 "),
    "-r": strace("21195      0.000043 "),
    "-r without pid": strace("     0.000043 "),
    "-r and -tt": strace("21319 01:58:06.649312 (+     0.000077) "),
    "-r and -ttt": strace("21372 1795571886.941459 (+     0.000097) "),
    "-i": strace("21216 [00007fed9f54ab1d] "),
    "-i unknown": strace("21216 [????????????????] "),
    "-n": strace("100 [  59] "),
    "-n -i": strace("100 [  59] [00007fed9f54ab1d] "),
    "-Y": strace("100<sh> "),
    "-Y on a terminal": strace("[pid 101<CPU 0/KVM>] "),
    "-Y -tt -n": strace("21302<sh> 01:58:06.573464 [ 257] "),
    "--secontext": Sample(
        lines(
            '9 [unconfined_t] openat(AT_FDCWD, "/etc/a" [etc_t], O_RDONLY) = 3</etc/a> [etc_t]',
            '9 [unconfined_t] openat(3</etc> [etc_t], "b" [etc_t], O_RDONLY) = 4',
        ),
        (b"/etc/a", b"/etc/b"),
    ),
    "syslog": strace("Nov 25 01:02:03 host strace[123]: "),
    "syslog with pid": strace("Nov  5 01:02:03 host prog[123]: [pid 7] "),
    "journal iso": strace("2026-11-25T01:02:03+0000 host prog[123]: 100 "),
    "journal monotonic": strace("[    5.123456] host prog[123]: "),
    "journal full": strace("Wed 2026-11-25 01:02:03 UTC host prog[123]: "),
    "journal unix": strace("1795571887.319877 host prog[123]: "),
    "-T": Sample(lines(EXEC + " <0.000032>", OPEN + " <0.000032058>"), FOUND),
    "-y": Sample(
        lines(
            'openat(AT_FDCWD</srv>, "a", O_RDONLY) = 3</srv/a>',
            'openat(3</srv/sub>, "b", O_RDONLY) = 4',
            'openat(AT_FDCWD</srv (deleted)>, "c", O_RDONLY) = 5',
            'openat(AT_FDCWD</srv>(deleted), "d", O_RDONLY) = 6</srv/d>(deleted)',
        ),
        (b"/srv/a", b"/srv/sub/b", b"/srv/c", b"/srv/d"),
    ),
    "-yy": Sample(
        lines('openat(AT_FDCWD</srv>, "/dev/sda", O_RDONLY) = 3</dev/sda<block 8:0>>'),
        (b"/dev/sda",),
    ),
    "-xx": Sample(
        lines(r'openat(AT_FDCWD<\x2f\x74>, "\x61\xff", O_RDONLY) = 3<\x2f\x74\x2f\x61\xff>'),
        (b"/t/a\xff",),
    ),
    "-X raw": Sample(
        lines(
            'openat(-100, "/etc/a", 0x80000) = 3',
            'openat(-100, "/etc", 0x90000) = 4',
            'openat(4, "b", 0) = 5',
        ),
        (b"/etc/a", b"/etc/b"),
    ),
    "-X verbose": Sample(
        lines(
            'openat(-100 /* AT_FDCWD */, "/etc/a", 0x80000 /* O_RDONLY|O_CLOEXEC */) = 3',
            'openat(-100 /* AT_FDCWD */, "/etc", 0x90000 /* O_RDONLY|O_DIRECTORY */) = 4',
            'openat(4, "b", 0 /* O_RDONLY */) = 5',
        ),
        (b"/etc/a", b"/etc/b"),
    ),
    "-e raw": Sample(
        lines("execve(0x55, 0x56, 0x57) = 0", "openat(0xffffff9c, 0x7f75, 0x80000, 0) = 0x3"),
        (),
        lost=2,
    ),
    "-k": Sample(
        lines(OPEN, " > /lib/ld-linux-x86-64.so.2(open+0xd) [0x27b1d]", " > unexpected"),
        (b"/etc/a",),
    ),
    "32 bits": Sample(
        lines(
            "[ Process PID=9 runs in 32 bit mode. ]",
            'openat(AT_FDCWD, "/etc/a", O_RDONLY|O_LARGEFILE) = 3',
            "mmap2(NULL, 4096, PROT_READ, MAP_PRIVATE, 3, 0x1000) = 0xf7f00000",
            "fcntl64(3, F_DUPFD, 4) = 4",
        ),
        (b"/etc/a",),
    ),
    "failed": Sample(
        lines(
            OPEN,
            'openat(AT_FDCWD, "/none", O_RDONLY) = -1 ENOENT (No such file or directory)',
            'openat(AT_FDCWD, "/cut", O_RDONLY) = ? ERESTARTSYS (To be restarted)',
            'open("/injected", O_RDONLY) = -1 ENOENT (No such file or directory) (INJECTED)',
        ),
        (b"/etc/a",),
    ),
    "cut names": Sample(
        lines(OPEN, 'openat(AT_FDCWD, "/etc/lo"..., O_RDONLY) = 4'), (b"/etc/a",), 1
    ),
    "names like flags and results": Sample(
        lines(
            '1 openat(AT_FDCWD, "/etc/NO_PATH", O_RDONLY) = 3',
            '1 openat(AT_FDCWD, "/etc/O_DIRECTORY", O_RDONLY) = 3',
            '1 open("/a) = -1 ENOENT", O_RDONLY) = 3',
            r'1 openat(AT_FDCWD, "/q\"uote, O_PATH", O_RDONLY) = 3',
            '1 openat(AT_FDCWD, "/x <unfinished ...>", O_RDONLY) = 3',
            '1 openat2(AT_FDCWD, "/y", {flags=O_RDONLY|O_PATH, resolve=0}, 24) = 3',
            '1 openat2(AT_FDCWD, "/z", {flags=O_RDONLY, resolve=RESOLVE_BENEATH}, 24) = 3',
            '1 execve("/bin/e", ["e", ") = -1 EINVAL"], 0x7f /* 1 var */) = 0',
        ),
        (
            *(b"/etc/NO_PATH", b"/etc/O_DIRECTORY", b"/a) = -1 ENOENT", b'/q"uote, O_PATH'),
            *(b"/x <unfinished ...>", b"/z", b"/bin/e"),
        ),
    ),
    "execveat": Sample(
        lines(
            '1 open("/bin", O_RDONLY|O_PATH) = 3',
            '1 execveat(3, "ls", ["ls"], 0x7f /* 1 var */, 0) = 0',
            '1 open("/bin/cat", O_RDONLY|O_PATH) = 4',
            '1 execveat(4, "", ["cat"], 0x7f /* 1 var */, AT_EMPTY_PATH) = 0',
        ),
        (b"/bin/ls", b"/bin/cat"),
    ),
    "exec from a thread": Sample(
        lines(
            '100 chdir("/srv") = 0',
            "100 clone(child_stack=0x7f, flags=CLONE_VM|CLONE_FS|CLONE_FILES|CLONE_THREAD) = 101",
            '101 execve("./new", ["new"], 0x7ffe /* 3 vars */ <unfinished ...>',
            "100 +++ superseded by execve in pid 101 +++",
            "100 <... execve resumed>) = 0",
            '100 openat(AT_FDCWD, "after", O_RDONLY) = 3',
        ),
        (b"/srv/new", b"/srv/after"),
    ),
    "chroot": Sample(
        lines(
            '9 chroot("/mnt/new") = 0',
            '9 chdir("/") = 0',
            '9 open("../../etc/a", O_RDONLY) = 3',
            '9 open("/etc/b", O_RDONLY) = 3',
        ),
        (b"/mnt/new/etc/a", b"/mnt/new/etc/b"),
    ),
    "switch_root": Sample(
        lines(
            '1 chdir("/root") = 0',
            '1 mount(".", "/", NULL, MS_MOVE, NULL) = 0',
            '1 chroot(".") = 0',
            '1 open("etc/a", O_RDONLY) = 3',
        ),
        (b"/etc/a",),
    ),
    "old resumed": Sample(
        lines(
            '10 open("/a", O_RDONLY <unfinished ...>',
            "11 getpid() = 11",
            "10 <... open resumed> ) = 3",
            "10 exit_group(0) = ?",
        ),
        (b"/a",),
    ),
}

A = 'openat(dfd: CWD, filename: "/etc/a", flags: RDONLY|CLOEXEC) = 3'
PERF = {
    "trace": Sample(lines("     0.356 ( 0.015 ms): cat/123 " + A), (b"/etc/a",)),
    "trace of a name with spaces": Sample(
        lines("     0.356 ( 0.015 ms): CPU 0/KVM/123 " + A), (b"/etc/a",)
    ),
    "--no-comm": Sample(lines("     0.272 ( 0.006 ms): 2764 " + A), (b"/etc/a",)),
    "--no-inherit": Sample(lines("     0.272 ( 0.006 ms): " + A), (b"/etc/a",)),
    "no duration": Sample(lines("     0.000 systemd-oomd/952 " + A), (b"/etc/a",)),
    "no duration, no comm": Sample(lines("     0.000 952 " + A), (b"/etc/a",)),
    "below zero": Sample(lines("    -0.012 ( 0.006 ms): cat/1 " + A), (b"/etc/a",)),
    "-T": Sample(lines("1172417.096 ( 0.014 ms): sh/13694 " + A), (b"/etc/a",)),
    "results in names": Sample(
        lines('     0.1 ( 0.0 ms): sh/1 openat(dfd: CWD, filename: "/a) = -1 E", flags: 0) = 3'),
        (b"/a) = -1 E",),
    ),
    "script": Sample(
        lines(
            "    sh 13795 [000]  1174.705156: syscalls:sys_enter_openat: dfd: 0xffffff9c, "
            "filename: "
            '0x7fb6791cd0b1 "/etc/a", flags: 0x00080000, mode: 0x00000000',
            "    sh 13795 [000]  1174.705161:  syscalls:sys_exit_openat: 0x3",
        ),
        (b"/etc/a",),
    ),
    "script -F pid,tid --ns": Sample(
        lines(
            "  my sh 13795/13796 [000]  1174.705156759: syscalls:sys_enter_openat: dfd: 0xf, "
            'filename: 0x7fb6791cd0b1 "/etc/a", flags: 0x00080000',
            "  my sh 13795/13796 [000]  1174.705161497:  syscalls:sys_exit_openat: 0x3",
        ),
        (b"/etc/a",),
    ),
    "script without a processor, with a period": Sample(
        lines(
            "  sh 13795  1174.705156:          1 syscalls:sys_enter_openat: dfd: 0xffffff9c, "
            'filename: 0x7fb6791cd0b1 "/etc/a", flags: 0x00080000',
            "  sh 13795  1174.705161:          1  syscalls:sys_exit_openat: 0x3",
        ),
        (b"/etc/a",),
    ),
}

FATRACE = {
    "plain": Sample(
        lines(
            "cat(123): RCO /etc/a",
            "sh(5): O   /etc/b c",
            "sh(5): C   /etc/closed",
            "my (tool): x(7): R   /etc/d",
            "unknown(9): O   (deleted)",
            "tool(9): W   /var/log/w",
        ),
        (b"/etc/a", b"/etc/b c", b"/etc/d"),
        lost=1,
    ),
    "-t": Sample(lines("01:58:17.282610 mypy(27256): RCO /etc/a"), (b"/etc/a",)),
    "-t -t": Sample(lines("1795571905.305567 cp(1964): O   /etc/a"), (b"/etc/a",)),
    # 0.16 and before: one space. Later than 0.17: --user, --parents, --exe, --json.
    "0.16": Sample(lines("cat(123): RO /etc/a"), (b"/etc/a",)),
    "--user": Sample(lines("head(12) [0:0]: RO  /etc/a"), (b"/etc/a",)),
    "--parents": Sample(
        lines("touch(12): RO /etc/a, parents=(pid=3 comm=bash),(pid=1 comm=init)"), (b"/etc/a",)
    ),
    "--exe": Sample(lines("touch(12): O /etc/a exe=/bin/touch, parents=(pid=3)"), (b"/etc/a",)),
    "--json": Sample(
        lines(
            '{"timestamp":1795571905.305567,"comm":"cat","pid":12,"types":"RO","path":"/etc/a"}',
            '{"comm_raw":[7],"pid":12,"types":"O","path_raw":[47,255]}',
        ),
        (b"/etc/a", b"/\xff"),
    ),
}

OPENSNOOP = {
    "libbpf": Sample(
        lines(
            "PID    COMM              FD ERR PATH",
            "11711  python3            3   0 /etc/a",
            "12085  cat                3   0 tree/relative",
            "12085  cat               -1   2 /etc/none",
            "12085  Web Content       12   0 /etc/b c",
        ),
        (b"/etc/a", b"/etc/b c"),
        lost=1,
    ),
    "libbpf -T -U": Sample(
        lines(
            "TIME     UID     PID    COMM              FD ERR PATH",
            "02:00:09 0       12311  unshare            3   0 /etc/a",
        ),
        (b"/etc/a",),
    ),
    "libbpf -e": Sample(
        lines(
            "PID    COMM              FD ERR FLAGS    PATH",
            "12757  python             3   0 02000000 /etc/a",
            "12757  ls                 3   0 02200000 /etc",
        ),
        (b"/etc/a",),
    ),
    "bpftrace": Sample(
        lines(
            "Attaching 6 probes...",
            "Tracing open syscalls... Hit Ctrl-C to end.",
            "PID    COMM               FD ERR PATH",
            "12887  bootprof-watch     16   0 /etc/a",
        ),
        (b"/etc/a",),
    ),
    # print_event() of tools/opensnoop.py.
    "bcc -T -U": Sample(
        lines(
            "TIME(s)       UID   PID    COMM               FD ERR PATH",
            "0.000000000   0     1576   snmpd              11   0 /etc/a",
            "0.000289000   0     1576   snmpd              -1   2 /etc/none",
        ),
        (b"/etc/a",),
    ),
    "bcc -t": Sample(
        lines("TID    COMM               FD ERR PATH", "1576   snmpd              11   0 /etc/a"),
        (b"/etc/a",),
    ),
    "bcc -e": Sample(
        lines(
            "PID    COMM               FD ERR FLAGS    PATH",
            "28512  sshd               10   0 00101101 /etc/a",
        ),
        (b"/etc/a",),
    ),
}

INOTIFYWAIT = {
    "plain": Sample(
        lines(
            "Setting up watches.  Beware: since -r was given, this may take a while!",
            "Watches established.",
            "/etc/ OPEN,ISDIR ",
            "/etc/ OPEN a b",
            "/etc/ ACCESS a b",
            "/etc/ CLOSE_NOWRITE,CLOSE a b",
            "/etc/my dir/ OPEN f",
            "/etc/fstab OPEN ",
        ),
        (b"/etc/a b", b"/etc/my dir/f", b"/etc/fstab"),
    ),
    "relative": Sample(lines("tree/ OPEN f", "tree/ CLOSE_NOWRITE,CLOSE f"), (), lost=1),
    "--csv": Sample(
        lines("/etc/,OPEN,a b", '/etc/,"CLOSE_NOWRITE,CLOSE",a b', '/etc/,OPEN,"c,d"'),
        (b"/etc/a b", b"/etc/c,d"),
    ),
    "--format %T %w%f %e": Sample(lines("2026-11-25 01:59:01 /etc/a b OPEN"), (b"/etc/a b",)),
    "--format %e %w%f": Sample(
        lines("OPEN /etc/a b", "CLOSE_NOWRITE,CLOSE /etc/a b"), (b"/etc/a b",)
    ),
    "--format %T %w %f %,e": Sample(lines("1795571965 /etc/ a b OPEN"), (b"/etc/a b",)),
    "--format %T %w %e %f": Sample(lines("01:59:01 /etc/ OPEN a"), (b"/etc/a",)),
}

SAMPLES = {
    "strace": STRACE,
    "perf": PERF,
    "fatrace": FATRACE,
    "opensnoop": OPENSNOOP,
    "inotifywait": INOTIFYWAIT,
    "auditd": AUDITD,
    "e4rat": E4RAT,
    "ureadahead": UREADAHEAD,
    "sortfile": SORTFILE,
}
"""By the name of the import, then by what is particular about the sample."""
