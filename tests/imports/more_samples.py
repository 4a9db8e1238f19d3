# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""Samples of the audit system, of lists and of logs of block reads; see samples.py."""

from __future__ import annotations

from tests.imports.sample import Sample, lines

CALL = (
    "type=SYSCALL msg=audit(1364481363.243:{}): arch=c000003e syscall={} success={} exit={} a0={} "
    'a1=7ffd19c5592 a2={} a3=7ffd items=1 ppid=2686 pid=3538 auid=1000 uid=0 comm="cat" '
    'exe="/bin/cat" key="boot"'
)
PATH = (
    "type=PATH msg=audit(1364481363.243:{}): item={} name={} inode=409248 dev=fd:00 mode={} ouid=0 "
    "ogid=0 rdev=00:00 nametype={}"
)
AUDITD = {
    # audit_log_exit() of kernel/auditsc.c, as audit.log and ausearch --raw have it.
    "raw": Sample(
        lines(
            CALL.format(1, 257, "yes", 3, "ffffff9c", 0),
            'type=CWD msg=audit(1364481363.243:1): cwd="/srv"',
            PATH.format(1, 0, '"/etc/a"', "0100600", "NORMAL"),
            "type=PROCTITLE msg=audit(1364481363.243:1): proctitle=636174",
            CALL.format(2, 257, "yes", 3, "ffffff9c", 0),
            'type=CWD msg=audit(1364481363.243:2): cwd="/srv"',
            PATH.format(2, 0, '"sub/b"', "0100600", "NORMAL"),
            CALL.format(3, 257, "no", -13, "ffffff9c", 0),
            PATH.format(3, 0, '"/etc/denied"', "0100600", "NORMAL"),
            CALL.format(4, 257, "yes", 3, "ffffff9c", "10000"),
            PATH.format(4, 0, '"/etc"', "040755", "NORMAL"),
            CALL.format(5, 257, "yes", 3, "5", 0),
            PATH.format(5, 0, '"unknown"', "0100600", "NORMAL"),
            CALL.format(6, 2, "yes", 3, "7ffd", 0),
            PATH.format(6, 0, "2F6574632F7720FF", "0100600", "NORMAL"),
            CALL.format(7, 59, "yes", 0, "55", 0),
            'type=EXECVE msg=audit(1364481363.243:7): argc=1 a0="x"',
            PATH.format(7, 0, '"/bin/x"', "0100755", "NORMAL"),
            PATH.format(7, 1, '"/lib64/ld.so"', "0100755", "NORMAL"),
            CALL.format(8, 257, "yes", 3, "ffffff9c", "241"),
            PATH.format(8, 0, '"/var"', "040755", "PARENT"),
            PATH.format(8, 1, '"/var/new"', "0100644", "CREATE"),
            CALL.format(9, 87, "yes", 0, "55", 0),
            PATH.format(9, 0, '"/etc/unlinked"', "0100600", "DELETE"),
        ),
        (
            *(b"/etc/a", b"/srv/sub/b", b"/etc/w \xff", b"/bin/x", b"/lib64/ld.so"),
            b"/var/new",
        ),
        lost=1,
    ),
    "enriched": Sample(
        lines(
            CALL.format(1, 257, "yes", 3, "ffffff9c", 0) + '\x1dARCH=x86_64 SYSCALL=openat UID="a"',
            PATH.format(1, 0, '"/etc/a"', "0100600", "NORMAL") + '\x1dOUID="root"',
        ),
        (b"/etc/a",),
    ),
    # ausearch -i: interpret() of auparse.
    "interpreted": Sample(
        lines(
            "----",
            "type=PROCTITLE msg=audit(03/28/2013 19:16:03.243:24287) : proctitle=cat /etc/a b",
            "type=PATH msg=audit(03/28/2013 19:16:03.243:24287) : item=0 name=/etc/a b inode=40924 "
            "dev=fd:00 mode=file,600 ouid=root ogid=root rdev=00:00 nametype=NORMAL",
            "type=CWD msg=audit(03/28/2013 19:16:03.243:24287) : cwd=/srv",
            "type=SYSCALL msg=audit(03/28/2013 19:16:03.243:24287) : arch=x86_64 syscall=openat "
            "success=yes exit=3 a0=AT_FDCWD a1=0x7ffd19c5592 a2=O_RDONLY a3=0x0 items=1 ppid=2686 "
            "pid=3538 comm=cat exe=/bin/cat",
        ),
        (b"/etc/a b",),
    ),
    "node": Sample(
        lines(
            "node=host " + CALL.format(1, 257, "yes", 3, "ffffff9c", 0),
            "node=host " + PATH.format(1, 0, '"/etc/a"', "0100600", "NORMAL"),
        ),
        (b"/etc/a",),
    ),
    # audit_printk_skb() of kernel/audit.c: types as numbers.
    "dmesg": Sample(
        lines(
            "[   12.345678] audit: type=1300 audit(1364481363.243:5): arch=c000003e syscall=257 "
            'success=yes exit=3 a0=ffffff9c a1=7f a2=0 a3=0 items=1 ppid=1 pid=2 comm="cat"',
            "[   12.345679] audit: type=1302 audit(1364481363.243:5): item=0 "
            'name="/etc/a" inode=2 dev=fd:00 mode=0100600 nametype=NORMAL',
        ),
        (b"/etc/a",),
    ),
    # journald prints the name of the type, and no serial number.
    "journal": Sample(
        lines(
            "Nov 25 01:02:03 host audit[3538]: SYSCALL arch=c000003e syscall=257 success=yes "
            'exit=3 a0=ffffff9c a1=7f a2=0 a3=0 items=1 ppid=1 pid=3538 comm="cat"',
            'Nov 25 01:02:03 host audit: CWD cwd="/srv"',
            'Nov 25 01:02:03 host audit: PATH item=0 name="a" inode=2 dev=fd:00 mode=0100600',
            'Nov 25 01:02:03 host audit: PROCTITLE proctitle="cat"',
        ),
        (b"/srv/a",),
    ),
}

E4RAT = {"detailed": Sample(lines("2049 42 /bin/sh", "1048832 7 /a b"), (b"/bin/sh", b"/a b"))}
# pack_dump() of ureadahead's pack.c.
UREADAHEAD = {
    "dump": Sample(
        lines(
            "/var/lib/ureadahead/pack: created Tue, 14 Nov 2023 22:13:20 +0000 for hdd 8:1",
            "2 inode groups, 2 files, 1 blocks (4 kB)",
            "/usr/lib/libc.so.6 (1860 kB), 1 blocks (4 kB)",
            "  [@......................]",
            "",
            "\t0, 4096 bytes (at 0)",
            "",
            "/etc/with space (0 kB), 0 blocks (0 kB)",
            "",
        ),
        (b"/usr/lib/libc.so.6", b"/etc/with space"),
    )
}
SORTFILE = {
    "mksquashfs": Sample(
        lines("bin/sed      32767", "etc/ld.so.cache\t32766", r"usr/lib/with\ space -3"),
        (b"/bin/sed", b"/etc/ld.so.cache", b"/usr/lib/with space"),
    ),
    "mksquashfs out of order": Sample(
        lines("# comment", "b 1", "a 2", "./c\t\t2"), (b"/a", b"/c", b"/b")
    ),
    "gensquashfs": Sample(
        lines(
            "-3 bin/sed", '-1 "usr/a \\"b\\" c"', "-2 etc/x y", "5 [dont_compress] z", "7 [glob] *"
        ),
        (b"/bin/sed", b"/etc/x y", b'/usr/a "b" c', b"/z"),
    ),
    "draklive": Sample(
        lines("32767 /bin/sed", "32766 /etc/a b", "32765 /c"), (b"/bin/sed", b"/etc/a b", b"/c")
    ),
    "genisoimage": Sample(lines("/iso/a 10", "/iso/b 20"), (b"/iso/b", b"/iso/a")),
}

READ_LINES = {
    "block_dump": {
        "plain": b"cat(42): READ block 64 on vda (8 sectors)\n",
        "dmesg": b"[    2.327955] cat(42): READ block 64 on vda (8 sectors)\n",
        "journal": b"Nov 23 07:07:11 live kernel: cat(42): READ block 64 on vda (8 sectors)\n",
        "old": b"Feb  8 01:42:19 box kernel: [   13.9] init(1): READ block 8 on loop0\n",
    },
    "tracepoints": {
        "pipe": b"  sh-42 [001] d..1. 12.345678: block_bio_queue: 7,0 RA 64 + 8 [sh]\n",
        "report": b"  sh-42     [001]     12.345678: block_bio_queue:      7,0 R 64 + 8 [sh]\n",
        "script": b"sh 42 [001] 12.345678: block:block_bio_queue: 7,0 R 64 + 8 [sh]\n",
    },
    "blkparse": {
        "plain": b"  8,0    3        1     0.000000000   697  Q   R 223490 + 8 [kjournald]\n",
    },
    "block": {"plain": b"#bootprof-blocktrace 1\n"},
}
"""Logs of block reads: recognised without an image."""
