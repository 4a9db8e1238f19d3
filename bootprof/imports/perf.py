# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
r"""Text of ``perf trace`` and of ``perf script``: opens and executions.

``perf trace -o FILE`` prints calls with their results::

     0.356 ( 0.015 ms): cat/123 openat(dfd: CWD, filename: "/etc/fstab", flags: RDONLY) = 3

Without the duration where a BPF program augments the tracepoints, without the process with
``--no-inherit``, without its name with ``--no-comm``. Times count from the start of the recording,
and those of other processors may lie before it.

``perf script`` prints the tracepoints ``syscalls:sys_enter_*`` and ``sys_exit_*``, and the probe
``probe:vfs_getname`` with the name::

    cat 123 [000] 14785.299074: syscalls:sys_enter_openat: dfd: ..., filename: 0x7f4b "/etc/fstab"

Whether there are names, or only where in memory they stood, is a matter of the kernel and of perf:
with addresses alone there is nothing to import.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

from bootprof.errors import InputError
from bootprof.imports import Import
from bootprof.imports.common.processes import Processes
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

_NAMES = rb"(?P<name>openat2?|open|creat|execveat|execve|chdir|fchdir|clone3?|v?fork|close)"
_TRACE = re.compile(
    rb" *+(?P<milliseconds>-?\d{1,15}+\.\d{1,9}+|\?) (?P<duration>\([^)]{0,20}+\): )?"
)
_CALL = re.compile(rb"(?:^|(?<= ))(?P<continued>\.\.\. \[continued\]: )?" + _NAMES + rb"\(")
_ANY_CALL = re.compile(
    rb"(?:[^\n]{0,64}/)?(?:\d{1,10}+ +)?(?:\.\.\. \[continued\]: )?[a-z_][a-z_0-9]{1,40}+\("
    rb"(?P<named>[a-z_]{1,30}+: )?"
)
_RESULT = re.compile(rb"\)\s*+= (?P<value>-?\d{1,20}+)(?!\d)")
_SCRIPT = re.compile(rb"[ \t](?P<event>(?:syscalls|probe):[a-z_0-9]{1,60}+): ?")
_ENTER = re.compile(rb"syscalls:sys_(?P<end>enter|exit)_" + _NAMES + rb"\Z")
_TIME = re.compile(rb"(?P<time>\d{1,12}+\.\d{1,9}+):\Z")
_PROCESS = re.compile(rb"(?:\d{1,10}+/)?(?P<pid>\d{1,10}+)\Z")
_EXIT_VALUE = re.compile(rb"(?:ret: )?(?P<value>0x[0-9a-f]{1,16}+|-?\d{1,20}+)")
_QUOTED = rb'"(?P<%b>[^"\\]*+(?:\\.[^"\\]*+)*+)"'
# With quotes or without, as versions of perf differ; 0x...: the address of a name.
_FILE_NAME = re.compile(
    rb"\b(?:file|path)?name: ?(?:0x[0-9a-f]{1,16}+(?: " + _QUOTED % b"after" + rb")?"
    rb"|" + _QUOTED % b"quoted" + rb'|(?P<bare>[^",][^,)]*+))',
    re.DOTALL,
)
_PROBED_NAME = re.compile(rb'\bpathname="(?P<path>.*)"\s*\Z', re.DOTALL)
_DIRECTORY = re.compile(
    rb"\bf?dfd?: (?:(?P<cwd>CWD|AT_FDCWD|0x(?:f{8})?ffffff9c|-100)|(?P<number>\w{1,20}+))"
)
_NUMBER = re.compile(rb"0x[0-9a-f]{1,16}\Z|\d{1,20}\Z")
_FORKS = frozenset((b"clone", b"clone3", b"fork", b"vfork"))


class _Call(NamedTuple):
    """A call that has not returned yet, or of which nothing else is known."""

    time_ns: int
    pid: int
    command: bytes
    name: bytes
    arguments: bytes


class _Log:
    """Follows a text, line by line."""

    def __init__(self, counts: Counts) -> None:
        self.counts = counts
        self.processes = Processes()
        self.pending: dict[tuple[int, bytes], _Call] = {}
        # Calls whose results were not recorded.
        self.entered: list[_Call] = []
        # Of each call that has not returned, its position in `entered`.
        self.places: dict[tuple[int, bytes], int] = {}
        self.latest: dict[int, tuple[int, bytes]] = {}
        self.exits = 0
        self.named = 0
        self.nameless = 0

    def parse(self, source: Source) -> Iterator[Event]:
        """Yield the events in the order in which their calls returned."""
        yield from source.records(self.counts, self._line)
        if not self.exits:
            for call in self.entered:
                yield from guarded(self.counts, self._returned(call, 0))

    def _line(self, line: bytes) -> Iterator[Event]:
        trace = _TRACE.match(line)
        if trace is not None:
            yield from self._traced(trace["milliseconds"], line[trace.end() :])
            return
        script = _SCRIPT.search(line)
        if script is not None:
            yield from self._scripted(line[: script.start()], script["event"], line[script.end() :])

    def _traced(self, milliseconds: bytes, text: bytes) -> Iterator[Event]:
        """Handle a line of perf trace."""
        call = _CALL.search(text)
        if call is None:
            return
        self.counts.records += 1
        command, _, last = text[: call.start()].strip().rpartition(b"/")
        pid, name = number(last, PID_LIMIT) if last.isdigit() else 0, call["name"]
        time_ns = 0
        if milliseconds != b"?":
            whole, _, fraction = milliseconds.partition(b".")
            time_ns = nanoseconds(whole) // 1000 + number(fraction[:6].ljust(6, b"0"))
        # Of calls that began before the recording, only the beginning is known.
        time_ns = max(time_ns, 0)
        arguments = text[call.end() :]
        # The first end behind the name of the file, which may look like one.
        quoted = _FILE_NAME.search(arguments)
        result = _RESULT.search(arguments, quoted.end() if quoted is not None else 0)
        if result is not None:
            arguments = arguments[: result.start()]
        earlier = self.pending.pop((pid, name), None) if call["continued"] else None
        this = earlier or _Call(time_ns, pid, command, name, arguments)
        if result is None:
            self.pending[pid, name] = this
            return
        self.exits += 1
        yield from self._returned(this, number(result["value"]))

    def _scripted(self, head: bytes, event_name: bytes, fields: bytes) -> Iterator[Event]:
        """Handle a line of perf script."""
        time_ns, pid, command = _head(head)
        if event_name.startswith(b"probe:"):
            name = _PROBED_NAME.search(fields)
            if name is not None:
                self._probed(pid, name["path"])
            return
        event = _ENTER.match(event_name)
        if event is None:
            return
        self.counts.records += 1
        key = pid, event["name"]
        if event["end"] == b"enter":
            call = _Call(time_ns, pid, command, event["name"], fields)
            self.pending[key] = call
            self.latest[pid] = key
            if not self.exits:
                self.places[key] = len(self.entered)
                self.entered.append(call)
            return
        if not self.exits:
            self.exits = 1
            self.entered.clear()
        value = _EXIT_VALUE.match(fields)
        earlier = self.pending.pop(key, None)
        if value is None or earlier is None:
            return
        base = 16 if value["value"].startswith(b"0x") else 10
        returned = number(value["value"], 1 << 64, base)
        yield from self._returned(earlier, returned - 2**64 if returned >= 2**63 else returned)

    def _probed(self, pid: int, path: bytes) -> None:
        """Give the call that a process is in the name that the probe saw, if it has none yet."""
        key = self.latest.get(pid)
        call = self.pending.get(key) if key is not None else None
        if key is None or call is None or _name(call.arguments):
            return
        address_free = _FILE_NAME.sub(b"", call.arguments)
        call = call._replace(arguments=b'%b, name: "%b"' % (address_free, path))
        self.pending[key] = call
        if not self.exits:
            self.entered[self.places[key]] = call

    def _returned(self, call: _Call, value: int) -> Iterator[Event]:
        if value < 0:
            return
        process = self.processes[call.pid]
        if call.name in _FORKS:
            if value:
                self.processes.fork(call.pid, value, call.arguments)
            return
        directory = _DIRECTORY.search(call.arguments)
        given = directory["number"] if directory is not None else None
        base = None
        if given is not None and _NUMBER.match(given):
            base = process.descriptors.get(
                number(given, 1 << 64, 16 if given.startswith(b"0x") else 10)
            )
        if call.name == b"close":
            return
        if call.name == b"fchdir":
            process.directory[0] = base
            return
        name = _name(call.arguments)
        if not name:
            self.nameless += 1
            raise RecordError
        self.named += 1
        path: bytes | None = None
        if name.startswith(b"/") or given is None or base is not None:
            path = process.absolute(name, base)
        if call.name == b"chdir":
            process.directory[0] = path
        elif call.name.startswith(b"exec"):
            yield self._event(call, "EXEC", path)
        else:
            if self.exits:
                process.descriptors.set(value, path)
            yield self._event(call, "OPEN", path)

    def _event(self, call: _Call, operation: str, path: bytes | None) -> Event:
        from optimizer.formats.events import Operation

        if path is None:
            raise RecordError
        return access(
            path, Operation[operation], time_ns=call.time_ns, pid=call.pid, command=call.command
        )


def _name(arguments: bytes) -> bytes:
    """Return the file name of a call's arguments, empty if there is only its address."""
    found = _FILE_NAME.search(arguments)
    if found is None:
        return b""
    return found["after"] or found["quoted"] or (found["bare"] or b"").strip()


def _head(head: bytes) -> tuple[int, int, bytes]:
    """Return time, pid and command of what perf script prints in front of an event.

    Any of them may be missing (``-F``), and the period of the event may stand behind the time.
    """
    words = head.split()
    time_ns = pid = 0
    if len(words) > 1 and words[-1].isdigit() and words[-2].endswith(b":"):
        words.pop()
    if words and (time := _TIME.match(words[-1])) is not None:
        time_ns = nanoseconds(time["time"])
        words.pop()
    if words and words[-1].startswith(b"[") and words[-1].endswith(b"]"):
        words.pop()
    if words and (process := _PROCESS.match(words[-1])) is not None:
        pid = number(process["pid"], PID_LIMIT)
        words.pop()
    return time_ns, pid, b" ".join(words)


def read(sources: Sequence[Source]) -> Bootlog:
    """Read the text of perf trace or perf script.

    Raises:
        InputError: It has addresses where names should be.
        FormatError: It is not such text, or has no calls that open files.
    """
    counts = Counts()
    log = _Log(counts)
    bootlog = gathered(
        header_of("perf", sources),
        log.parse(sources[0]),
        counts,
        "no line of perf trace or perf script about openat, open or execve",
        "make one with perf trace -o FILE COMMAND, or perf script > FILE",
    )
    if log.nameless and not log.named:
        raise InputError(
            f"{sources[0].name}: perf recorded the addresses of file names, not the names",
            hint="record the probe vfs_getname too (perf probe), or use strace",
        )
    note = {} if log.exits else {"results": "not recorded, so failed calls are included"}
    return dataclasses.replace(bootlog, header={**bootlog.header, **note})


def _is_event(line: bytes) -> bool:
    """Return whether perf wrote a line."""
    trace = _TRACE.match(line)
    if trace is not None:
        call = _ANY_CALL.match(line, trace.end())
        return call is not None and bool(call["named"] or trace["duration"])
    script = _SCRIPT.search(line)
    return script is not None and bool(_head(line[: script.start()])[1])


IMPORT = Import(
    name="perf",
    summary="text of perf trace or perf script, if perf recorded the names of files",
    gives="open, exec",
    record="perf trace -o FILE COMMAND",
    looks_like=lambda source: source.has_line(_is_event),
    read=read,
)
