# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
r"""Output of strace: opens, executions and mappings that succeeded.

Format: strace(1), with any of ``-f -ff -t -tt -ttt -r -T -i -n -k -y -yy -Y -x -xx -X -v`` and
``--secontext``, as ``-o FILE`` writes it (``123 openat(...``), as it stands on a terminal
(``[pid 123] openat(...``) or in the journal. ``-ff`` writes a file for each process, whose name
ends with the pid. Relative paths are found by following the directories and the descriptors of each
process; ``-y`` makes that unnecessary.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Final

from bootprof.imports import Import
from bootprof.imports.common.clock import Clock
from bootprof.imports.common.processes import DESCRIPTOR_LIMIT, Processes
from bootprof.imports.common.source import (
    PID_LIMIT,
    Counts,
    RecordError,
    Source,
    access,
    gathered,
    guarded,
    header_of,
    number,
)
from bootprof.imports.common.strace_files import (
    EPOCH_NS,
    clock_of,
    pid_of_file,
    split_line,
    woven,
)

if TYPE_CHECKING:
    from optimizer.formats.events import Bootlog, Event

_O_DIRECTORY: Final = 0o200000
_O_PATH: Final = 0o10000000
# Most lines are about other calls; this finds those that matter before anything else is looked at.
_MATTERS = re.compile(
    rb"\b(?:open|openat|openat2|creat|execve|execveat|chdir|fchdir|chroot|pivot_root|mount|getcwd"
    rb"|dup|dup2|dup3|fcntl|fcntl64|mmap|mmap2|close|clone|clone3|fork|vfork)(?:\(| resumed>)"
    rb"|strace: Process \d{1,10} attached|\+\+\+ (?:exited|killed|superseded)"
)
_CALL = re.compile(rb"(?P<name>[a-z_0-9]{1,40}+)\(")
_RESUMED = re.compile(rb"<\.\.\. (?P<name>[a-z_0-9]{1,40}+) resumed> ?")
_ATTACHED = re.compile(rb"strace: Process (\d{1,10}+) attached\s*\Z")
_SUPERSEDED = re.compile(rb"\+\+\+ superseded by execve in pid (\d{1,10}+)")
_RESULT = re.compile(
    rb"\)\s*+= (?P<value>-?\d{1,20}+|\?|0x[0-9a-f]{1,16}+)(?!\d)"
    rb"(?:<(?P<path>(?:/|\\x2f)(?:[^<>\\]|\\.)*+)(?P<more>.{0,12}))?",
    re.DOTALL,
)
_STRING = rb'"(?P<string>[^"\\]*+(?:\\.[^"\\]*+)*+)"(?P<cut>\.\.\.)?(?: \[[^\]"]*+\])?'
_NOTE = rb"(?: /\*[^*]*+\*/)?"
_DIRECTORY = (
    rb"(?P<number>AT_FDCWD|-?\d{1,20}+|0x[0-9a-f]{1,16}+)" + _NOTE + rb"(?:<(?P<path>"
    rb"(?:[^<>\\]|\\.)*+)(?:<[^>]*+>)?>(?:\(deleted\))?)?(?: \[[^\]\"]*+\])?"
)
_NAMED = re.compile(rb"\s*+" + _STRING, re.DOTALL)
_NAMED_AT = re.compile(rb"\s*+" + _DIRECTORY + rb",\s*+" + _STRING, re.DOTALL)
_DESCRIPTOR = re.compile(rb"\s*+" + _DIRECTORY, re.DOTALL)
_MAPPING = re.compile(
    rb"[^,]*+, (?P<length>\d{1,20}+|0x[0-9a-f]{1,16}+)"
    + _NOTE
    + rb", [^,]*+, (?P<flags>[^,]*+), "
    + _DIRECTORY
    + rb", (?P<offset>0x[0-9a-f]{1,16}+|\d{1,20}+)",
    re.DOTALL,
)
_NO_FILE = re.compile(rb"\bO_(?:PATH|DIRECTORY)\b")
_ESCAPE = re.compile(rb"\\(?:([0-7]{1,3})|x([0-9a-f]{2})|(.))", re.DOTALL)
_LETTERS = {b"n": b"\n", b"t": b"\t", b"r": b"\r", b"f": b"\f", b"v": b"\v", b"a": b"\a"}
_FORKS: Final = frozenset((b"clone", b"clone3", b"fork", b"vfork"))
_OPENS: Final = frozenset((b"open", b"creat", b"openat", b"openat2"))
_EXECUTIONS: Final = frozenset((b"execve", b"execveat"))
_AT: Final = frozenset((b"openat", b"openat2", b"execveat"))
_UNFINISHED: Final = (b"<unfinished ...>", b"<detached ...>")
_LOOKS = re.compile(
    rb"(?:[a-z_][a-z_0-9]{1,39}+\((?![a-z_]{1,30}+: )"
    rb"(?:[^\n]*\)\s*+= (?:-?\d|0x|\?)|[^\n]*<unfinished \.\.\.>)"
    rb"|<\.\.\. [a-z_0-9]{1,40}+ resumed>|\+\+\+ (?:exited with|killed by|superseded by)"
    rb"|strace: Process \d{1,10}+ attached)"
)


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

    def __init__(self, counts: Counts) -> None:
        self.counts = counts
        self.processes = Processes()
        self.names: dict[int, bytes] = {}
        self.pending: dict[int, bytes] = {}
        # Calls that will make a child, by the pid of the parent, the latest last.
        self.forking: dict[int, bytes] = {}
        self.attached: set[int] = set()
        self.moved: set[int] = set()
        # On a terminal the first process has no pid in front, as long as it is the only one.
        self.first_pid = 0
        self.clock = Clock()
        self.made: list[int] = []
        """Children of the line before, for traces with a file for each process."""

    def parse(self, line: bytes, own_pid: int = 0) -> Iterator[Event]:
        """Yield the events of a line.

        Args:
            line: The line.
            own_pid: The process of lines that name none; 0 if it is not known.
        """
        self.made.clear()
        if _MATTERS.search(line) is None:
            return
        prefix, text = split_line(line)
        given = prefix["bracketed"] or prefix["pid"]
        pid = number(given, PID_LIMIT) if given else own_pid
        pid = self._pid(pid)
        command = prefix["named"] or prefix["called"]
        if command:
            self.names[pid] = unescape(command)
        time_ns = self._time(prefix)
        attached = _ATTACHED.search(text) if b"strace: Process " in text else None
        if attached is not None:
            child = number(attached[1], PID_LIMIT)
            self.attached.add(child)
            # The text before is the call of the parent, interrupted by the message.
            self._begin(pid, text[: attached.start()])
            self._born(child)
            return
        if text.startswith(b"+++"):
            self._ended(pid, text)
            return
        bare = text.rstrip()
        if bare.endswith(_UNFINISHED):
            self._begin(pid, bare[: bare.rindex(b"<")].rstrip())
            return
        resumed = _RESUMED.match(text)
        if resumed is not None:
            text = self.pending.pop(pid, b"") + text[resumed.end() :]
        call = _CALL.match(text)
        if call is None:
            return
        yield from self._called(pid, time_ns, call["name"], text[call.end() :])

    def _pid(self, given: int) -> int:
        """Return the pid of a line, and find out that of the first process when it shows."""
        if not given:
            return self.first_pid
        if not self.first_pid and given not in self.attached and 0 in self.processes:
            self.processes.rename(0, given)
            self.names[given] = self.names.pop(0, b"")
            for pending in (self.pending, self.forking):
                if 0 in pending:
                    pending[given] = pending.pop(0)
            self.first_pid = given
        self._born(given)
        return given

    def _born(self, child: int) -> None:
        """Note a child that shows up before the call that made it has returned."""
        if child not in self.processes and self.forking:
            parent = next(reversed(self.forking))
            self.processes.fork(parent, child, self.forking[parent])
            self.names.setdefault(child, self.names.get(parent, b""))

    def _begin(self, pid: int, text: bytes) -> None:
        call = _CALL.match(text)
        if call is None:
            return
        self.pending[pid] = text
        if call["name"] in _FORKS:
            self.forking.pop(pid, None)
            self.forking[pid] = text

    def _ended(self, pid: int, text: bytes) -> None:
        """Forget a process that has ended, or that a thread has taken the place of."""
        self.processes.end(pid)
        self.names.pop(pid, None)
        self.pending.pop(pid, None)
        self.forking.pop(pid, None)
        self.attached.discard(pid)
        superseded = _SUPERSEDED.match(text)
        if superseded is not None:
            # The thread that called execve continues under the pid of the process.
            thread = number(superseded[1], PID_LIMIT)
            self.processes.rename(thread, pid)
            self.names[pid] = self.names.pop(thread, b"")
            if thread in self.pending:
                self.pending[pid] = self.pending.pop(thread)

    def _time(self, prefix: re.Match[bytes]) -> int:
        """Return nanoseconds since the first line; 0 if the trace has no times."""
        now = clock_of(prefix)
        if now is None:
            return 0
        if not prefix["hour"] and now < EPOCH_NS:
            # Since the line before, of any kind, so that lines of other calls are missing.
            self.clock.now_ns += now
            return self.clock.now_ns
        return self.clock.since_start(now, wraps=prefix["hour"] is not None)

    def _called(self, pid: int, time_ns: int, name: bytes, text: bytes) -> Iterator[Event]:
        """Handle a complete call: its arguments, and its result."""
        named = (_NAMED_AT if name in _AT else _NAMED).match(text)
        result: re.Match[bytes] | None = None
        if named is not None and name not in _EXECUTIONS:
            # The first end of the arguments behind the name; the name itself may look like one.
            result = _RESULT.search(text, named.end())
        else:
            place = text.rfind(b") ")
            while result is None and place >= 0:
                result = _RESULT.match(text, place)
                place = text.rfind(b")", 0, place) if result is None else -1
        if result is None:
            return
        self.counts.records += 1
        if named is not None and name in _AT and _is_directory(named["number"]) and named["path"]:
            # With -y every such call says where the process is.
            self.processes[pid].directory[0] = self._descriptor(pid, named)
        value = result["value"]
        if name in _FORKS:
            self._forked(pid, value, text[: result.start()])
            return
        if value.startswith((b"-", b"?")):
            return
        returned = number(value, 1 << 64, 16 if value.startswith(b"0x") else 10)
        process = self.processes[pid]
        if name in _OPENS:
            yield from self._opened(pid, time_ns, name, named, result, returned, text)
        elif name in _EXECUTIONS:
            path = self._path(pid, name, named)
            self.names[pid] = path.rpartition(b"/")[2][:15]
            yield self._event(pid, time_ns, "EXEC", path)
        elif name in (b"mmap", b"mmap2"):
            yield from self._mapped(pid, time_ns, text)
        elif name in (b"chdir", b"fchdir", b"chroot"):
            self._moved(pid, name, named, text)
        elif name == b"getcwd":
            if named is not None and not named["cut"]:
                process.directory[0] = unescape(named["string"])
        elif name == b"mount":
            if b", MS_MOVE" in text and re.search(rb'", "/", ', text):
                self.moved.add(pid)
        elif name == b"pivot_root":
            process.enter_root(b"")
            process.directory[0] = None
        elif name == b"close":
            descriptor = _DESCRIPTOR.match(text)
            if descriptor is not None:
                process.descriptors.set(_index(descriptor["number"]), None)
        elif not name.startswith(b"fcntl") or b"F_DUPFD" in text or b" 0x406" in text:
            process.descriptors.set(returned, self._descriptor(pid, _DESCRIPTOR.match(text)))

    def _forked(self, pid: int, value: bytes, flags: bytes) -> None:
        self.forking.pop(pid, None)
        if value.isdigit() and int(value):
            child = number(value, PID_LIMIT)
            self.processes.fork(pid, child, flags)
            self.names.setdefault(child, self.names.get(pid, b""))
            self.made.append(child)

    def _opened(
        self,
        pid: int,
        time_ns: int,
        name: bytes,
        named: re.Match[bytes] | None,
        result: re.Match[bytes],
        returned: int,
        text: bytes,
    ) -> Iterator[Event]:
        descriptors = self.processes[pid].descriptors
        descriptors.set(returned, None)
        path = unescape(result["path"]) if result["path"] else None
        if path is None or b"(deleted)" in result["more"] or path.endswith(b" (deleted)"):
            path = self._path(pid, name, named)
        descriptors.set(returned, path)
        flags = text[named.end() : result.start()] if named is not None else b""
        if not _looks_only(flags):
            yield self._event(pid, time_ns, "OPEN", path)

    def _mapped(self, pid: int, time_ns: int, text: bytes) -> Iterator[Event]:
        found = _MAPPING.match(text)
        if found is None or b"MAP_ANONYMOUS" in found["flags"]:
            return
        path = self._descriptor(pid, found)
        if path is not None:
            offset, length = (
                number(part, base=16 if part.startswith(b"0x") else 10)
                for part in (found["offset"], found["length"])
            )
            yield self._event(pid, time_ns, "MAP", path, offset, length)

    def _moved(self, pid: int, name: bytes, named: re.Match[bytes] | None, text: bytes) -> None:
        """Handle a change of the working directory or of the root directory."""
        process = self.processes[pid]
        if name == b"fchdir":
            process.directory[0] = self._descriptor(pid, _DESCRIPTOR.match(text))
            return
        if name == b"chroot" and pid in self.moved:
            # mount --move . /; chroot .: what was mounted there is the root now.
            self.moved.discard(pid)
            process.enter_root(b"")
            process.directory[0] = b"/"
            return
        path: bytes | None = None
        try:
            path = self._path(pid, name, named)
        finally:
            # Where the process is now is not known if the path is not.
            if name == b"chroot":
                process.enter_root(path)
            else:
                process.directory[0] = path

    def _path(self, pid: int, name: bytes, named: re.Match[bytes] | None) -> bytes:
        """Return the absolute path of a call's first arguments.

        Raises:
            RecordError: It is unknown.
        """
        if named is None or named["cut"]:
            raise RecordError
        process = self.processes[pid]
        path = unescape(named["string"])
        base: bytes | None = None
        if name in _AT and not path.startswith(b"/"):
            base = self._descriptor(pid, named)
            if base is None and not _is_directory(named["number"]):
                raise RecordError
            if not path and base is not None:
                return base
        found = process.absolute(path, base)
        if found is None:
            raise RecordError
        return found

    def _descriptor(self, pid: int, found: re.Match[bytes] | None) -> bytes | None:
        """Return the path of a descriptor; of AT_FDCWD only with -y."""
        if found is None:
            return None
        if found["path"] is not None:
            path = unescape(found["path"]).removesuffix(b" (deleted)")
            return path if path.startswith(b"/") else None
        if _is_directory(found["number"]):
            return None
        return self.processes[pid].descriptors.get(_index(found["number"]))

    def _event(
        self,
        pid: int,
        time_ns: int,
        operation: str,
        path: bytes,
        offset_bytes: int = 0,
        length_bytes: int = 0,
    ) -> Event:
        from optimizer.formats.events import Operation

        return access(
            path,
            Operation[operation],
            time_ns=time_ns,
            pid=pid,
            command=self.names.get(pid, b""),
            offset_bytes=offset_bytes,
            length_bytes=length_bytes,
        )


def _is_directory(number_text: bytes) -> bool:
    """Return whether a descriptor means the working directory."""
    return number_text in (b"AT_FDCWD", b"-100", b"0xffffff9c", b"0xffffffffffffff9c")


def _index(text: bytes) -> int:
    """Return a descriptor; -1 for one that no process has."""
    value = number(text, 1 << 64, 16 if text.startswith(b"0x") else 10)
    return value if 0 <= value < DESCRIPTOR_LIMIT else -1


def _looks_only(flags: bytes) -> bool:
    """Return from the flags of an open whether it is of a directory, or for its name only."""
    words = flags.lstrip(b", ")
    if words[:1] == b"{":
        words = words[1:].removeprefix(b"flags=")
    raw = re.match(rb"0x([0-9a-f]{1,16}+)(?! /\*)", words)
    if raw is not None:
        return bool(int(raw[1], 16) & (_O_PATH | _O_DIRECTORY))
    return _NO_FILE.search(words) is not None


def _events(sources: Sequence[Source], counts: Counts) -> Iterator[Event]:
    """Yield the events in the order in which their calls returned."""
    trace = _Trace(counts)
    several = len(sources) > 1
    if several:
        lines = woven(sources, counts, trace.made)
    else:
        own = pid_of_file(sources[0], False)
        lines = ((line, own) for line in sources[0].lines(counts))
    for line, pid in lines:
        yield from guarded(counts, trace.parse(line, pid))


def read(sources: Sequence[Source]) -> Bootlog:
    """Read the output of strace.

    Raises:
        FormatError: It is not the output of strace, or has no calls that open files.
    """
    counts = Counts()
    return gathered(
        header_of("strace", sources),
        _events(sources, counts),
        counts,
        "no line like 'openat(AT_FDCWD, \"/etc/fstab\", O_RDONLY) = 3'",
        "the output of strace -f is expected: strace -f -tt -y -o FILE COMMAND",
    )


IMPORT = Import(
    name="strace",
    summary="output of strace, one file or those of -ff: relative paths are resolved",
    gives="open, exec, map",
    record="strace -f -tt -y -o FILE COMMAND",
    looks_like=lambda source: source.has_line(lambda line: _LOOKS.match(split_line(line)[1])),
    read=read,
    takes_several=True,
)
