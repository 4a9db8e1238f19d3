# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""Records of the kernel's audit system: opens and executions.

One event has several records with one serial number: SYSCALL with what was called and by whom, CWD
with the working directory, PATH with each name. They are read from ``/var/log/audit/audit.log`` and
``ausearch --raw``, from the output of ``ausearch`` (also with ``-i``), and from the kernel log and
the journal, which write types as numbers. Names that are not plain text are in hexadecimal.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from bootprof.imports import Import
from bootprof.imports.common.clock import Clock
from bootprof.imports.common.prefix import kernel_text
from bootprof.imports.common.processes import Process
from bootprof.imports.common.source import (
    PID_LIMIT,
    Counts,
    RecordError,
    Source,
    access,
    gathered,
    guarded,
    header_of,
    nanoseconds,
    number,
)

if TYPE_CHECKING:
    from optimizer.formats.events import Bootlog, Event

# linux/audit.h.
_TYPES: Final = {b"1300": b"SYSCALL", b"1302": b"PATH", b"1307": b"CWD", b"1320": b"EOE"}
_RECORD = re.compile(
    rb"(?:node=\S{1,255}+ )?(?:audit: )?type=(?:UNKNOWN\[)?(?P<type>[A-Z_]{2,30}+|\d{4})\]? "
    rb"(?:msg=)?audit\((?P<time>[^):]{1,30}+(?::\d\d:\d\d\.\d{1,6}+)?):(?P<serial>\d{1,20}+)\) ?: ?"
)
_JOURNAL = re.compile(rb"(?P<type>SYSCALL(?= arch=)|CWD(?= cwd=)|PATH(?= item=)) ")
_VALUE = rb'(?:^| )%b=("[^"]*+"|\S++)'
_WORDS: Final = {
    word: re.compile(_VALUE % word)
    for word in (b"arch", b"syscall", b"success", b"exit", b"a0", b"a1", b"a2", b"pid", b"comm")
}
_CWD = re.compile(rb"(?:^| )cwd=(.*)\Z", re.DOTALL)
_NAME = re.compile(rb"(?:^| )name=(.*?)(?: (?:inode|nametype|objtype)=|\Z)", re.DOTALL)
_MODE = re.compile(rb" mode=(?P<type>0?\d{1,7}+|[a-z]+)")
_KIND = re.compile(rb" (?:nametype|objtype)=([A-Z]+)")
_INODE = re.compile(rb" inode=(\d{1,20}+) dev=([0-9a-f]{1,8}+):([0-9a-f]{1,8}+)")
_HEX = re.compile(rb"(?:[0-9A-F]{2})+\Z")
_SECONDS = re.compile(rb"\d{1,11}\.\d{1,3}\Z")
_OPENS: Final = frozenset((b"open", b"openat", b"openat2", b"creat"))
_EXECUTIONS: Final = frozenset((b"execve", b"execveat"))
_NUMBERS: Final = {
    # asm/unistd_64.h, unistd_32.h, and asm-generic/unistd.h, by AUDIT_ARCH_* of linux/audit.h.
    b"c000003e": {2: b"open", 85: b"creat", 257: b"openat", 59: b"execve", 322: b"execveat"},
    b"40000003": {5: b"open", 8: b"creat", 295: b"openat", 11: b"execve", 358: b"execveat"},
    b"c00000b7": {56: b"openat", 221: b"execve", 281: b"execveat"},
}
_OPENAT2: Final = 437  # Everywhere.
_AT_FDCWD: Final = (b"ffffff9c", b"ffffffffffffff9c", b"AT_FDCWD")
_O_DIRECTORY: Final = 0o200000
_O_PATH: Final = 0o10000000
_HELD: Final = 64
"""How many events are kept waiting for more of their records."""


@dataclass
class _Group:
    """The records of one event."""

    time_ns: int
    interpreted: bool
    call: bytes = b""
    directory: bytes | None = None
    paths: list[bytes] = field(default_factory=list)


class _Log:
    """Follows a text, line by line."""

    def __init__(self, counts: Counts) -> None:
        self.counts = counts
        self.clock = Clock()
        self.groups: dict[bytes, _Group] = {}

    def parse(self, source: Source) -> Iterator[Event]:
        """Yield the events in the order in which they began."""
        yield from source.records(self.counts, self._line)
        for key in list(self.groups):
            yield from guarded(self.counts, self._counted(key))

    def _line(self, line: bytes) -> Iterator[Event]:
        line = line.partition(b"\x1d")[0]  # What auditd adds for people.
        found = _RECORD.match(line)
        if found is None:
            line = kernel_text(line)[1]
            found = _RECORD.match(line) or _JOURNAL.match(line)
            if found is None:
                return
        kind = _TYPES.get(found["type"], found["type"])
        parts = found.groupdict()
        key = (parts.get("time") or b"") + b":" + (parts.get("serial") or b"")
        if kind == b"SYSCALL" and key == b":":
            # The journal leaves the serial number out: the records of an event stand together.
            yield from self._counted(key)
        text = line[found.end() :]
        group = self.groups.get(key)
        if group is None:
            group = self.groups[key] = self._group(parts.get("time"))
        if kind == b"SYSCALL":
            group.call = text
        elif kind == b"CWD" and (cwd := _CWD.search(text)) is not None:
            group.directory = _text(cwd[1].strip(), interpreted=group.interpreted)
        elif kind == b"PATH":
            group.paths.append(text)
        if kind == b"EOE" or len(self.groups) > _HELD:
            yield from self._counted(next(iter(self.groups)))

    def _group(self, time: bytes | None) -> _Group:
        if time is None or not _SECONDS.match(time):
            return _Group(0, interpreted=time is not None)
        return _Group(self.clock.since_start(nanoseconds(time), wraps=False), interpreted=False)

    def _counted(self, key: bytes) -> Iterator[Event]:
        """Yield the accesses of an event; count those that cannot be resolved."""
        group = self.groups.pop(key, None)
        if group is None or not group.call:
            return
        self.counts.records += 1
        words = {
            word.decode(): found[1].strip(b'"') if (found := pattern.search(group.call)) else b""
            for word, pattern in _WORDS.items()
        }
        call = _call(words["arch"], words["syscall"])
        if call not in _OPENS | _EXECUTIONS or words["success"] == b"no":
            return
        if words["exit"].startswith(b"-") or (call in _OPENS and _looks_only(call, words)):
            return
        kept = [text for text in group.paths if not _passed_over(text)]
        # Without types of names (before Linux 3.12) the last one is the file.
        if call in _OPENS and kept and _KIND.search(kept[-1]) is None:
            kept = kept[-1:]
        if not kept:
            self.counts.lost += bool(not group.paths)
        for text in kept:
            yield from guarded(self.counts, self._access(group, call, words, text))

    def _access(
        self, group: _Group, call: bytes, words: dict[str, bytes], text: bytes
    ) -> Iterator[Event]:
        from optimizer.formats.events import Operation

        name = _NAME.search(text)
        if name is None:
            raise RecordError
        path = _text(name[1], interpreted=group.interpreted)
        at = call in (b"openat", b"openat2", b"execveat")
        if not path.startswith(b"/") and at and words["a0"] not in _AT_FDCWD:
            raise RecordError
        whole = Process([group.directory]).absolute(path, None)
        if whole is None:
            raise RecordError
        place = _INODE.search(text)
        device, inode = (0, 0), 0
        if place is not None:
            device = number(place[2], base=16), number(place[3], base=16)
            inode = number(place[1], 1 << 64)
        yield access(
            whole,
            Operation.EXEC if call in _EXECUTIONS else Operation.OPEN,
            time_ns=group.time_ns,
            pid=number(words["pid"], PID_LIMIT),
            command=_command(group.call, words["comm"]),
            device=device,
            inode=inode,
        )


def _call(architecture: bytes, call: bytes) -> bytes:
    """Return the name of a system call; empty if it is not one that matters."""
    if not call.isdigit():
        return call
    value = number(call)
    if value == _OPENAT2:
        return b"openat2"
    return _NUMBERS.get(architecture, {}).get(value, b"")


def _looks_only(call: bytes, words: dict[str, bytes]) -> bool:
    """Return whether a directory was opened, or a file for its name only."""
    flags = {b"open": words["a1"], b"openat": words["a2"]}.get(call, b"")
    if re.fullmatch(rb"[0-9a-f]{1,16}", flags):
        return bool(int(flags, 16) & (_O_DIRECTORY | _O_PATH))
    return b"O_DIRECTORY" in flags or b"O_PATH" in flags


def _passed_over(text: bytes) -> bool:
    """Return whether a PATH record is of a directory, or of the parent of a missing or new file."""
    kind, mode = _KIND.search(text), _MODE.search(text)
    if kind is not None and kind[1] in (b"PARENT", b"UNKNOWN", b"DELETE"):
        return True
    if mode is None:
        return False
    if mode["type"].isdigit():
        return number(mode["type"], base=8) >> 12 == 0o4
    return mode["type"].startswith(b"dir")


def _text(value: bytes, *, interpreted: bool) -> bytes:
    """Return a name: in quotes, or in hexadecimal unless ausearch has interpreted it.

    Raises:
        RecordError: The kernel does not know it.
    """
    if value.startswith(b'"'):
        return value[1:].partition(b'"')[0]
    if value == b"(null)":
        raise RecordError
    if not interpreted and _HEX.match(value):
        return bytes.fromhex(value.decode())
    return value


def _command(call: bytes, comm: bytes) -> bytes:
    quoted = b'comm="' in call
    return comm if quoted or not _HEX.match(comm) else bytes.fromhex(comm.decode())


def read(sources: Sequence[Source]) -> Bootlog:
    """Read audit records.

    Raises:
        FormatError: There are none about system calls.
    """
    counts = Counts()
    return gathered(
        header_of("auditd", sources),
        _Log(counts).parse(sources[0]),
        counts,
        "no record like 'type=SYSCALL msg=audit(1700000000.123:45): arch=c000003e syscall=257 ...'",
        "audit.log or the output of ausearch --raw is expected: "
        "auditctl -a always,exit -F arch=b64 -S open,openat,openat2,execve",
    )


def _is_record(line: bytes) -> bool:
    """Return whether a line has an audit record."""
    if _RECORD.match(line):
        return True
    if b"audit" not in line:
        return False
    text = kernel_text(line)[1]
    return bool(_RECORD.match(text) or _JOURNAL.match(text))


IMPORT = Import(
    name="auditd",
    summary="records of the audit system: audit.log, ausearch, or the kernel's log",
    gives="open, exec",
    record="auditctl -a always,exit -F arch=b64 -S open,openat,openat2,execve",
    looks_like=lambda source: source.has_line(_is_record),
    read=read,
)
