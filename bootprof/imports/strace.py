r"""Output of ``strace -f``: opens, executions and mappings that succeeded.

Format: strace(1), with any of ``-t -tt -ttt -r -T -y -yy -x -i`` and with pids in front, as
``-o FILE`` writes them (``123 openat(...``), or as they stand on a terminal
(``[pid 123] openat(...``). Relative paths are found by following the working directory and the
descriptors of each process; ``-y`` makes that unnecessary.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, BinaryIO, Final

from bootprof.backends import Backend
from bootprof.errors import FormatError
from bootprof.imports.processes import Processes, header_of, only_file

if TYPE_CHECKING:
    from bootprof.backends import Recording
    from optimizer.formats.events import Bootlog, Event

_DAY_NS: Final = 86_400_000_000_000
# Most lines are about other calls; this finds those that matter before anything else is looked at.
_MATTERS = re.compile(
    rb"\b(?:open|openat|openat2|creat|execve|execveat|chdir|fchdir|getcwd|dup|dup2|dup3|fcntl"
    rb"|mmap|mmap2|close|clone|clone3|fork|vfork)(?:\(| resumed>)|strace: Process \d+ attached"
    rb"|\+\+\+ (?:exited|killed)"
)
_PREFIX = re.compile(
    rb"(?:\[pid +(?P<bracketed>\d+)\] +|(?P<pid>\d+) +(?=\D|\d+[:.])| +)?"
    rb"(?:(?P<hour>\d\d):(?P<minute>\d\d):(?P<clock>\d\d(?:\.\d+)?) +|(?P<epoch>\d+\.\d+) +)?"
    rb"(?:\(\+ +(?P<since>\d+\.\d+)\) +)?(?:\[[0-9a-f?]{8,16}\] +)?"
)
_CALL = re.compile(rb"(?P<name>[a-z_0-9]+)\((?P<arguments>.*)", re.DOTALL)
_RESUMED = re.compile(rb"<\.\.\. (?P<name>[a-z_0-9]+) resumed>(?P<rest>.*)", re.DOTALL)
_ATTACHED = re.compile(rb"strace: Process (\d+) attached\s*\Z")
_RESULT = re.compile(
    rb"(?P<arguments>.*)\)\s*= (?P<value>-?\d+|\?|0x[0-9a-f]+)"
    rb"(?:<(?P<path>/(?:[^<>\\]|\\.)*)[<>])?",
    re.DOTALL,
)
_STRING = rb'"((?:[^"\\]|\\.)*)"'
_DIRECTORY = rb"(?:(AT_FDCWD|-?\d+)(?:<((?:[^<>\\]|\\.)*)(?:<[^>]*>)?>(?:\(deleted\))?)?)"
_PATH_ARGUMENT = re.compile(rb"\s*" + _STRING)
_AT_ARGUMENTS = re.compile(rb"\s*" + _DIRECTORY + rb",\s*" + _STRING, re.DOTALL)
_DESCRIPTOR = re.compile(rb"\s*" + _DIRECTORY)
_MAPPING = re.compile(
    rb"[^,]*, (?P<length>\d+), [^,]*, (?P<flags>[^,]*), (?P<descriptor>-?\d+)"
    rb"(?:<(?P<path>/(?:[^<>\\]|\\.)*)(?:<[^>]*>)?>(?:\(deleted\))?)?, (?P<offset>0x[0-9a-f]+|\d+)"
)
_ESCAPE = re.compile(rb"\\(?:([0-7]{1,3})|x([0-9a-f]{2})|(.))", re.DOTALL)
_LETTERS = {b"n": b"\n", b"t": b"\t", b"r": b"\r", b"f": b"\f", b"v": b"\v", b"a": b"\a"}
_FORKS = (b"clone", b"clone3", b"fork", b"vfork")


def unescape(text: bytes) -> bytes:
    """Undo the escapes of C, as strace writes them in strings and in paths of descriptors."""
    if b"\\" not in text:
        return text

    def decoded(found: re.Match[bytes]) -> bytes:
        if found[1]:
            return bytes([int(found[1], 8) & 0xFF])
        if found[2]:
            return bytes([int(found[2], 16)])
        return _LETTERS.get(found[3], found[3])

    return _ESCAPE.sub(decoded, text)


class _Trace:
    """Follows a trace, line by line."""

    def __init__(self) -> None:
        self.processes = Processes()
        self.calls = 0
        self.unresolved = 0
        self.names: dict[int, bytes] = {}
        self.pending: dict[int, bytes] = {}
        self.forking: list[tuple[int, bytes]] = []
        self.attached: set[int] = set()
        # On a terminal the first process has no pid in front, as long as it is the only one.
        self.first_pid = 0
        self.start_ns: int | None = None
        self.clock_ns = 0

    def parse(self, stream: BinaryIO) -> Iterator[Event]:
        """Yield the events in the order in which their calls returned."""
        for line in stream:
            if _MATTERS.search(line) is None:
                continue
            prefix = _PREFIX.match(line)
            assert prefix is not None  # all of it is optional
            given = prefix["bracketed"] or prefix["pid"]
            pid = self._pid(int(given) if given else 0)
            time_ns = self._time(prefix)
            text = line[prefix.end() :]
            attached = _ATTACHED.search(text) if b"strace: Process " in text else None
            if attached is not None:
                child = int(attached[1])
                self.attached.add(child)
                text = text[: attached.start()]
                if text:
                    # The call of the parent, cut in two by the message.
                    self._begin(pid, text)
                if child not in self.processes and self.forking:
                    self.processes.fork(*self._parent(child))
                continue
            if text.startswith(b"+++"):
                self.processes.end(pid)
                self.names.pop(pid, None)
                self.pending.pop(pid, None)
                self.attached.discard(pid)
                continue
            if text.rstrip().endswith(b"<unfinished ...>"):
                self._begin(pid, text.rstrip().removesuffix(b"<unfinished ...>").rstrip())
                continue
            resumed = _RESUMED.match(text) if text.startswith(b"<...") else None
            if resumed is not None:
                text = self.pending.pop(pid, b"") + resumed["rest"]
            call = _CALL.match(text)
            if call is None:
                continue
            result = _RESULT.match(call["arguments"])
            if result is None:
                continue
            self.calls += 1
            if call["name"] in _FORKS:
                self._forked(pid, result)
            elif not result["value"].startswith((b"-", b"?")):
                yield from self._returned(pid, time_ns, call["name"], result)

    def _pid(self, given: int) -> int:
        """Return the pid of a line, and find out that of the first process when it shows."""
        if not given:
            return self.first_pid
        if not self.first_pid and given not in self.attached and 0 in self.processes:
            self.processes.rename(0, given)
            self.names[given] = self.names.pop(0, b"")
            if 0 in self.pending:
                self.pending[given] = self.pending.pop(0)
            self.forking = [(given if pid == 0 else pid, text) for pid, text in self.forking]
            self.first_pid = given
        if given not in self.processes and self.forking:
            self.processes.fork(*self._parent(given))
        return given

    def _begin(self, pid: int, text: bytes) -> None:
        call = _CALL.match(text)
        if call is None:
            return
        self.pending[pid] = text
        if call["name"] in _FORKS:
            self.forking.append((pid, text))

    def _parent(self, child: int) -> tuple[int, int, bytes]:
        """Return who made a child that shows up before the call that made it has returned."""
        parent, text = self.forking[-1]
        return parent, child, text

    def _forked(self, pid: int, result: re.Match[bytes]) -> None:
        self.forking = [(parent, text) for parent, text in self.forking if parent != pid]
        if result["value"].isdigit() and int(result["value"]):
            child = int(result["value"])
            self.processes.fork(pid, child, result["arguments"])
            self.names.setdefault(child, self.names.get(pid, b""))

    def _time(self, prefix: re.Match[bytes]) -> int:
        """Return nanoseconds since the first line; 0 if the trace has no times."""
        if prefix["hour"]:
            seconds = int(prefix["hour"]) * 3600 + int(prefix["minute"]) * 60
            now = seconds * 1_000_000_000 + _nanoseconds(prefix["clock"])
        elif prefix["epoch"]:
            now = _nanoseconds(prefix["epoch"])
            if now < 1_000_000_000 * 1_000_000:
                # -r: since the line before, of any kind, so that lines of other calls are missing.
                self.clock_ns += now
                return self.clock_ns
        else:
            return 0
        if self.start_ns is None:
            self.start_ns = now
        elif prefix["hour"] and now - self.start_ns < self.clock_ns - _DAY_NS // 2:
            self.start_ns -= _DAY_NS  # midnight
        self.clock_ns = max(self.clock_ns, now - self.start_ns)
        return self.clock_ns

    def _returned(
        self, pid: int, time_ns: int, name: bytes, result: re.Match[bytes]
    ) -> Iterator[Event]:
        from optimizer.formats.events import Operation

        process = self.processes[pid]
        arguments = result["arguments"]
        returned = unescape(result["path"]) if result["path"] else None
        value = int(result["value"], 0)
        if name in (b"open", b"creat", b"openat", b"openat2"):
            path = returned or self._path(pid, name, arguments)
            if path is None:
                self.unresolved += 1
                process.descriptors.pop(value, None)
                return
            process.descriptors[value] = path
            if b"O_PATH" not in arguments and b"O_DIRECTORY" not in arguments:
                yield self._event(pid, time_ns, Operation.OPEN, path)
        elif name in (b"execve", b"execveat"):
            path = self._path(pid, name, arguments)
            if path is None:
                self.unresolved += 1
                return
            self.names[pid] = path.rpartition(b"/")[2][:15]
            yield self._event(pid, time_ns, Operation.EXEC, path)
        elif name in (b"mmap", b"mmap2"):
            mapping = _MAPPING.match(arguments)
            if mapping is None or b"MAP_ANONYMOUS" in mapping["flags"]:
                return
            path = (
                unescape(mapping["path"])
                if mapping["path"]
                else process.descriptors.get(int(mapping["descriptor"]))
            )
            if path is not None:
                offset, length = int(mapping["offset"], 0), int(mapping["length"])
                yield self._event(pid, time_ns, Operation.MAP, path, offset, length)
        elif name == b"chdir":
            process.directory[0] = self._path(pid, name, arguments)
        elif name == b"fchdir":
            process.directory[0] = self._descriptor(pid, arguments)
        elif name == b"getcwd":
            found = _PATH_ARGUMENT.match(arguments)
            if found is not None:
                process.directory[0] = unescape(found[1])
        elif name == b"close":
            found = _DESCRIPTOR.match(arguments)
            if found is not None and found[1].isdigit():
                process.descriptors.pop(int(found[1]), None)
        elif name != b"fcntl" or b"F_DUPFD" in arguments:
            path = self._descriptor(pid, arguments)
            if path is None:
                process.descriptors.pop(value, None)
            else:
                process.descriptors[value] = path

    def _path(self, pid: int, name: bytes, arguments: bytes) -> bytes | None:
        """Return the absolute path of a call's first arguments; None if it cannot be told."""
        process = self.processes[pid]
        if not name.endswith((b"at", b"at2")):
            found = _PATH_ARGUMENT.match(arguments)
            return process.absolute(unescape(found[1]), None) if found is not None else None
        found = _AT_ARGUMENTS.match(arguments)
        if found is None:
            return None
        path = unescape(found[3])
        if path.startswith(b"/"):
            return process.absolute(path, None)
        base = self._descriptor(pid, arguments)
        if found[1] != b"AT_FDCWD" and base is None:
            return None
        if not path:
            return base
        return process.absolute(path, base)

    def _descriptor(self, pid: int, arguments: bytes) -> bytes | None:
        """Return the path of the descriptor that stands first; of AT_FDCWD only with -y."""
        found = _DESCRIPTOR.match(arguments)
        if found is None:
            return None
        if found[2] is not None:
            path = unescape(found[2])
            return path if path.startswith(b"/") else None
        if found[1] == b"AT_FDCWD":
            return None
        return self.processes[pid].descriptors.get(int(found[1]))

    def _event(
        self,
        pid: int,
        time_ns: int,
        operation: int,
        path: bytes,
        offset_bytes: int = 0,
        length_bytes: int = 0,
    ) -> Event:
        from optimizer.formats.events import Event, Operation

        return Event(
            time_ns=time_ns,
            pid=pid,
            command=self.names.get(pid, b""),
            operation=Operation(operation),
            offset_bytes=offset_bytes,
            length_bytes=length_bytes,
            device_major=0,
            device_minor=0,
            inode=0,
            file_system=b"",
            path=path,
        )


def _nanoseconds(seconds: bytes) -> int:
    whole, _, fraction = seconds.partition(b".")
    return int(whole) * 1_000_000_000 + int(fraction[:9].ljust(9, b"0") or b"0")


def read(recording: Recording) -> Bootlog:
    """Read the output of strace.

    Raises:
        InputError: There is no such file.
        FormatError: It is not the output of strace, or has no calls that open files.
    """
    from optimizer.formats.events import Bootlog

    path = only_file(recording)
    trace = _Trace()
    with path.open("rb") as stream:
        bootlog = Bootlog.of(header_of("strace", path, {}), trace.parse(stream))
    if not trace.calls:
        raise FormatError(
            f"{path}: no line like 'openat(AT_FDCWD, \"/etc/fstab\", O_RDONLY) = 3'",
            hint="the output of strace -f is expected: strace -f -tt -y -o FILE COMMAND",
        )
    return dataclasses.replace(bootlog, lost=trace.unresolved)


BACKEND = Backend(
    name="strace",
    summary="output of strace -f: opens, executions and mappings, with relative paths resolved",
    starts="when strace was started",
    agent="",
    read=read,
)
