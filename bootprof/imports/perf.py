r"""Text of ``perf trace`` and of ``perf script``: opens and executions.

``perf trace -o FILE`` prints calls with their results::

     0.356 ( 0.015 ms): cat/123 openat(dfd: CWD, filename: "/etc/fstab", flags: RDONLY) = 3

``perf script`` prints the tracepoints ``syscalls:sys_enter_*`` and ``sys_exit_*``, and the probe
``probe:vfs_getname`` with the name::

    cat 123 [000] 14785.299074: syscalls:sys_enter_openat: dfd: ..., filename: 0x7f4b "/etc/fstab"

Whether there are names, or only where in memory they stood, is a matter of the kernel and of perf:
with addresses alone there is nothing to import.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, BinaryIO, NamedTuple

from bootprof.backends import Backend
from bootprof.errors import FormatError, InputError
from bootprof.imports.processes import Processes, header_of, only_file

if TYPE_CHECKING:
    from bootprof.backends import Recording
    from optimizer.formats.events import Bootlog, Event, Operation

_TRACE = re.compile(
    rb" *(?P<milliseconds>\d+\.\d+|\?) \([^)]*\): (?P<command>.*)/(?P<pid>\d+) +(?P<call>.*)\Z",
    re.DOTALL,
)
_SCRIPT = re.compile(
    rb" *(?P<command>.*?) +(?:\d+/)?(?P<pid>\d+) +(?:\[\d+\] +)?"
    rb"(?P<second>\d+)\.(?P<fraction>\d+): +(?:\d+ +)?"
    rb"(?P<event>(?:syscalls|probe):[a-z_0-9]+): ?(?P<fields>.*)\Z",
    re.DOTALL,
)
_NAMES = rb"(?P<name>openat2?|open|creat|execveat|execve|chdir|fchdir|clone3?|v?fork|close)"
_CALL = re.compile(rb"(?:\.\.\. \[continued\]: )?" + _NAMES + rb"\((?P<arguments>.*)", re.DOTALL)
_RESULT = re.compile(rb"(?P<arguments>.*)\)\s+= (?P<value>-?\d+)", re.DOTALL)
_ENTER = re.compile(rb"syscalls:sys_(?P<end>enter|exit)_" + _NAMES + rb"\Z")
_EXIT_VALUE = re.compile(rb"(?:ret: )?(?P<value>0x[0-9a-f]+|-?\d+)")
# With quotes or without, as versions of perf differ; 0x...: the address of a name.
_FILE_NAME = re.compile(
    rb'\b(?:file|path)?name: ?(?:0x[0-9a-f]+(?: "(?P<after>(?:[^"\\]|\\.)*)")?'
    rb'|"(?P<quoted>(?:[^"\\]|\\.)*)"|(?P<bare>[^",][^,)]*))'
)
_PROBED_NAME = re.compile(rb'\bpathname="(?P<path>.*)"\s*\Z', re.DOTALL)
_DIRECTORY = re.compile(
    rb"\bf?dfd?: (?:(?P<cwd>CWD|AT_FDCWD|0x(?:f{8})?ffffff9c|-100)|(?P<number>\w+))"
)


class _Call(NamedTuple):
    """A call that has not returned yet, or of which nothing else is known."""

    time_ns: int
    pid: int
    command: bytes
    name: bytes
    arguments: bytes


class _Log:
    """Follows a text, line by line."""

    def __init__(self) -> None:
        self.processes = Processes()
        self.pending: dict[tuple[int, bytes], _Call] = {}
        # Calls whose results nobody recorded.
        self.entered: list[_Call] = []
        # Of each call that has not returned, its position in `entered`.
        self.places: dict[tuple[int, bytes], int] = {}
        self.latest: dict[int, tuple[int, bytes]] = {}
        self.exits = 0
        self.calls = 0
        self.nameless = 0
        self.unresolved = 0

    def parse(self, stream: BinaryIO) -> Iterator[Event]:
        """Yield the events in the order in which their calls returned."""
        for line in stream:
            trace = _TRACE.match(line)
            if trace is not None:
                yield from self._traced(trace)
                continue
            script = _SCRIPT.match(line)
            if script is not None:
                yield from self._scripted(script)
        if not self.exits:
            for call in self.entered:
                yield from self._returned(call, 0)

    def _traced(self, found: re.Match[bytes]) -> Iterator[Event]:
        """Handle a line of perf trace."""
        call = _CALL.match(found["call"])
        if call is None:
            return
        pid, name = int(found["pid"]), call["name"]
        known = found["milliseconds"] != b"?"
        time_ns = round(float(found["milliseconds"]) * 1e6) if known else 0
        result = _RESULT.match(call["arguments"])
        arguments = result["arguments"] if result is not None else call["arguments"]
        earlier = None
        if b"[continued]" in found["call"]:
            earlier = self.pending.pop((pid, name), None)
        this = earlier or _Call(time_ns, pid, found["command"], name, arguments)
        if result is None:
            self.pending[pid, name] = this
            return
        self.exits += 1
        yield from self._returned(this, int(result["value"]))

    def _scripted(self, found: re.Match[bytes]) -> Iterator[Event]:
        """Handle a line of perf script."""
        pid = int(found["pid"])
        if found["event"].startswith(b"probe:"):
            name = _PROBED_NAME.search(found["fields"])
            if name is not None:
                self._probed(pid, name["path"])
            return
        event = _ENTER.match(found["event"])
        if event is None:
            return
        key = pid, event["name"]
        if event["end"] == b"enter":
            fraction = int(found["fraction"][:9].ljust(9, b"0"))
            time_ns = int(found["second"]) * 1_000_000_000 + fraction
            call = _Call(time_ns, pid, found["command"], event["name"], found["fields"])
            self.pending[key] = call
            self.latest[pid] = key
            if not self.exits:
                self.places[key] = len(self.entered)
                self.entered.append(call)
            return
        if not self.exits:
            self.exits = 1
            self.entered.clear()
        value = _EXIT_VALUE.match(found["fields"])
        earlier = self.pending.pop(key, None)
        if value is None or earlier is None:
            return
        number = int(value["value"], 0)
        yield from self._returned(earlier, number - 2**64 if number >= 2**63 else number)

    def _probed(self, pid: int, path: bytes) -> None:
        """Give the call that a process is in the name that the probe saw, if it has none yet."""
        key = self.latest.get(pid)
        call = self.pending.get(key) if key is not None else None
        if key is None or call is None or self._name(call.arguments):
            return
        address_free = _FILE_NAME.sub(b"", call.arguments)
        call = call._replace(arguments=b'%b, name: "%b"' % (address_free, path))
        self.pending[key] = call
        if not self.exits:
            self.entered[self.places[key]] = call

    def _name(self, arguments: bytes) -> bytes:
        """Return the file name of a call's arguments, empty if there is only its address."""
        found = _FILE_NAME.search(arguments)
        if found is None:
            return b""
        return found["after"] or found["quoted"] or (found["bare"] or b"").strip()

    def _returned(self, call: _Call, value: int) -> Iterator[Event]:
        from optimizer.formats.events import Operation

        if value < 0:
            return
        process = self.processes[call.pid]
        if call.name in (b"clone", b"clone3", b"fork", b"vfork"):
            if value:
                self.processes.fork(call.pid, value, call.arguments)
            return
        directory = _DIRECTORY.search(call.arguments)
        number = directory["number"] if directory is not None else None
        base = None
        if number is not None and re.fullmatch(rb"0x[0-9a-f]+|\d+", number):
            base = process.descriptors.get(int(number, 0))
        if call.name == b"close":
            return
        if call.name == b"fchdir":
            process.directory[0] = base
            return
        self.calls += 1
        name = self._name(call.arguments)
        if not name:
            self.nameless += 1
            return
        path: bytes | None = None
        if name.startswith(b"/") or number is None or base is not None:
            path = process.absolute(name, base)
        if call.name == b"chdir":
            process.directory[0] = path
        elif call.name.startswith(b"exec"):
            yield from self._event(call, Operation.EXEC, path)
        else:
            if self.exits:
                process.descriptors.pop(value, None)
                if path is not None:
                    process.descriptors[value] = path
            yield from self._event(call, Operation.OPEN, path)

    def _event(self, call: _Call, operation: Operation, path: bytes | None) -> Iterator[Event]:
        from optimizer.formats.events import Event

        if path is None:
            self.unresolved += 1
            return
        yield Event(
            time_ns=call.time_ns,
            pid=call.pid,
            command=call.command,
            operation=operation,
            offset_bytes=0,
            length_bytes=0,
            device_major=0,
            device_minor=0,
            inode=0,
            file_system=b"",
            path=path,
        )


def read(recording: Recording) -> Bootlog:
    """Read the text of perf trace or perf script.

    Raises:
        InputError: There is no such file, or it has addresses where names should be.
        FormatError: It is not such a text, or has no calls that open files.
    """
    from optimizer.formats.events import Bootlog

    path = only_file(recording)
    log = _Log()
    with path.open("rb") as stream:
        bootlog = Bootlog.of(header_of("perf", path, {}), log.parse(stream))
    if not log.calls:
        raise FormatError(
            f"{path}: no line of perf trace or perf script about openat, open or execve",
            hint="make one with perf trace -o FILE COMMAND, or perf script > FILE",
        )
    if log.nameless == log.calls:
        raise InputError(
            f"{path}: perf recorded where the names of files stood in memory, not the names",
            hint="record the probe vfs_getname too (perf probe), or use strace",
        )
    note = {} if log.exits else {"results": "not recorded: calls that failed are in it too"}
    return dataclasses.replace(
        bootlog, header={**bootlog.header, **note}, lost=log.nameless + log.unresolved
    )


BACKEND = Backend(
    name="perf",
    summary="text of perf trace or perf script: opens and executions",
    starts="when perf was started",
    agent="",
    read=read,
)
