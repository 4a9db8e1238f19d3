# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
import contextlib
import io
import shutil
import socket
import struct
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from optimizer.errors import FormatError
from optimizer.formats.blocktrace import (
    READ_DTYPE,
    BlockTrace,
    parse_nbdkit_log,
    read_block_trace,
    write_block_trace,
)

EPOCH_NS = 1_795_407_554_000_000_000  # 2026-11-23 04:19:14 UTC

# The first lines that nbdkit 1.32 wrote for a boot.
LOG = b"""\
2026-11-23 04:19:14.540878 Ready thread_model=3
2026-11-23 04:19:14.576719 Preconnect id=1 readonly=1 ...
2026-11-23 04:19:14.576748 ...Preconnect id=1 return=0
2026-11-23 04:19:14.576956 connection=1 Connect export="" tls=0 size=0xcd3f800 minsize=0x0\
 prefsize=0x0 maxsize=0x0 write=0 flush=1 rotational=0 trim=0 zero=0 fua=0 extents=1 cache=2\
 fast_zero=0
2026-11-23 04:19:14.597656 connection=1 Read id=1 offset=0x0 count=0x200 ...
2026-11-23 04:19:14.597697 connection=1 ...Read id=1 return=0
2026-11-23 04:19:14.600000 connection=1 Flush id=2 ...
2026-11-23 04:19:14.600010 connection=1 ...Flush id=2 return=0
2026-11-23 04:19:15.000001 connection=1 Read id=3 offset=0x14000 count=0x8000 ...
2026-11-23 04:19:15.000002 connection=1 Read id=4 offset=0x1c000 count=0x800 ...
2026-11-23 04:19:15.000009 connection=1 ...Read id=4 return=0
2026-11-23 04:19:15.000012 connection=1 ...Read id=3 return=-1 error=EIO
2026-11-23 04:19:16.000000 connection=1 Disconnect transactions=4
"""


def reads_of(*rows: tuple[int, int, int]) -> NDArray[np.void]:
    return np.array(list(rows), dtype=READ_DTYPE)


def lines_of(content: bytes) -> io.BytesIO:
    return io.BytesIO(content)


def written(trace: BlockTrace) -> bytes:
    stream = io.BytesIO()
    write_block_trace(stream, trace)
    return stream.getvalue()


def test_the_file_is_as_documented() -> None:
    trace = BlockTrace(reads_of((12345678, 32768, 2048)), "live.iso", 300000000, 61000000000)
    assert written(trace) == (
        b"#bootprof-blocktrace 1\n"
        b"#image: live.iso\n"
        b"#image_bytes: 300000000\n"
        b"#target_ns: 61000000000\n"
        b"12345678\t32768\t2048\n"
    )


@given(
    rows=st.lists(
        st.tuples(st.integers(0, 10**17), st.integers(0, 10**17), st.integers(1, 10**9)),
        max_size=30,
    ),
    image=st.binary(max_size=30).filter(lambda name: b"\0" not in name),
    digest=st.sampled_from(["", "0123456789abcdef" * 4]),
)
def test_what_is_written_is_read_back(
    rows: list[tuple[int, int, int]], image: bytes, digest: str
) -> None:
    name = image.decode("utf-8", "surrogateescape")
    trace = BlockTrace(reads_of(*sorted(rows)), name, 10**18 - 1, 7, digest)
    back = read_block_trace(lines_of(written(trace)), "x")
    assert back.reads.dtype == READ_DTYPE
    assert back.reads.tolist() == trace.reads.tolist()
    assert (back.image, back.image_bytes, back.target_ns) == (name, 10**18 - 1, 7)
    assert back.image_sha256 == digest


def test_header_keys_of_later_writers_are_passed_over() -> None:
    content = written(BlockTrace(reads_of((1, 2, 3)), "a", 10, 5))
    content = content.replace(b"#target_ns", b"#medium: cdrom\n#target_ns")
    assert len(read_block_trace(lines_of(content), "x").reads) == 1


HEADER = b"#bootprof-blocktrace 1\n#image: a.iso\n#image_bytes: 100000\n#target_ns: 9\n"


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", "t.tsv: line 1: not a block trace"),
        (b"#bootprof-bootlog 1\n", "t.tsv: line 1: not a block trace"),
        (b"#bootprof-blocktrace 2\n", "t.tsv: line 1: not a block trace"),
        (HEADER + b"1\t2\n", "t.tsv: line 5: not a read"),
        (HEADER + b"1\t2\t3\t4\n", "t.tsv: line 5: not a read"),
        (HEADER + b"1\t-2\t3\n", "t.tsv: line 5: not a read"),
        (HEADER + b"1\t2\t3\n\n", "t.tsv: line 6: not a read"),
        (HEADER + b"1\t2\t3\n#image: b\n", "t.tsv: line 6: not a read"),
        (HEADER + b"9" * 40 + b"\t2\t3\n", "t.tsv: line 5: not a read"),
        (HEADER + b"1\t2\t0\n", "t.tsv: line 5: a read of 0 bytes"),
        (HEADER + b"5\t2\t1\n4\t2\t1\n", "t.tsv: line 6: earlier than"),
        (HEADER + b"5\t2\t1\n6\t2\t10", "t.tsv: line 6: cut off"),
        (HEADER + b"1\t99999\t2\n", "t.tsv: read 1 ends at byte 100001"),
        (b"#bootprof-blocktrace 1\n#image: a\n", "t.tsv: the header has no line #image_bytes"),
        (HEADER.replace(b"9", b"x"), "t.tsv: header: target_ns is not a number"),
    ],
)
def test_a_bad_file_is_an_error_that_says_where(content: bytes, expected: str) -> None:
    with pytest.raises(FormatError) as caught:
        read_block_trace(lines_of(content), "t.tsv")
    assert caught.value.message.startswith(expected)
    assert "\n" not in caught.value.message


@given(st.binary(max_size=300))
def test_any_bytes_after_a_header_give_a_trace_or_a_format_error(content: bytes) -> None:
    with contextlib.suppress(FormatError):
        read_block_trace(lines_of(HEADER + content), "x")


def test_the_log_of_nbdkit_gives_the_reads_as_they_were_asked_for() -> None:
    assert parse_nbdkit_log(lines_of(LOG), EPOCH_NS).tolist() == [
        (597_656_000, 0x0, 0x200),
        (1_000_001_000, 0x14000, 0x8000),
        (1_000_002_000, 0x1C000, 0x800),
    ]


@given(st.integers(0, len(LOG)))
def test_a_log_cut_off_anywhere_gives_the_reads_before_the_cut(length: int) -> None:
    whole = parse_nbdkit_log(lines_of(LOG), EPOCH_NS).tolist()
    part = parse_nbdkit_log(lines_of(LOG[:length]), EPOCH_NS).tolist()
    assert part == whole[: len(part)]
    assert len(part) >= LOG[:length].count(b" Read id=") - 1


def test_time_never_goes_back_when_the_clock_was_set_back() -> None:
    log = (
        b"2026-11-23 04:19:13.999999 connection=1 Read id=1 offset=0x0 count=0x200 ...\n"
        b"2026-11-23 04:19:15.000000 connection=1 Read id=2 offset=0x0 count=0x200 ...\n"
        b"2026-11-23 04:19:14.500000 connection=2 Read id=1 offset=0x400 count=0x200 ...\n"
    )
    times = parse_nbdkit_log(lines_of(log), EPOCH_NS)["time_ns"]
    assert times.tolist() == [0, 1_000_000_000, 1_000_000_000]


@pytest.mark.parametrize(
    "bad",
    [
        b"hello\n",
        b"\n",
        b"2026-11-23 04:19:15.000000 connection=1 Read id=2 offset=zero count=0x200 ...\n",
        b"2026-11-23 04:19:15.000000 connection=1 Read id=2 offset=0x0\n",
        b"2026-13-23 04:19:15.000000 connection=1 Read id=2 offset=0x0 count=0x200 ...\n",
    ],
)
def test_a_line_of_no_log_is_an_error_with_its_number(bad: bytes) -> None:
    with pytest.raises(FormatError, match=r"^n\.log: line 2: "):
        parse_nbdkit_log(lines_of(LOG.splitlines(True)[0] + bad + LOG), EPOCH_NS, "n.log")


def test_an_empty_log_has_no_reads() -> None:
    reads = parse_nbdkit_log(lines_of(b""), EPOCH_NS)
    assert reads.shape == (0,)
    assert reads.dtype == READ_DTYPE


@contextlib.contextmanager
def nbd_client(unix_socket: Path) -> Iterator[socket.socket]:
    """The least that is a client: the newstyle handshake of the NBD protocol, no options."""
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(unix_socket))
        receive(client, 18)
        client.sendall(struct.pack(">I", 3))
        client.sendall(b"IHAVEOPT" + struct.pack(">II", 1, 0))
        receive(client, 10)
        yield client
        client.sendall(struct.pack(">IHHQQI", 0x25609513, 0, 2, 0, 0, 0))


def receive(client: socket.socket, length_bytes: int) -> bytes:
    content = b""
    while len(content) < length_bytes:
        more = client.recv(length_bytes - len(content))
        assert more
        content += more
    return content


def nbd_read(client: socket.socket, offset_bytes: int, length_bytes: int) -> bytes:
    request = struct.pack(">IHHQQI", 0x25609513, 0, 0, 1, offset_bytes, length_bytes)
    client.sendall(request)
    receive(client, 16)
    return receive(client, length_bytes)


@pytest.mark.skipif(shutil.which("nbdkit") is None, reason="nbdkit is not installed")
def test_reads_of_a_client_are_found_in_the_log_of_the_real_nbdkit(tmp_path: Path) -> None:
    image = tmp_path / "image"
    image.write_bytes(bytes(range(256)) * 4096)
    log, unix_socket = tmp_path / "log", tmp_path / "nbd"
    wanted = [(0, 512), (4096, 65536), (100, 3), (1048064, 512), (4096, 65536)]
    started_ns = time.time_ns()
    server = subprocess.Popen(
        ["nbdkit", "-f", "-r", "-U", unix_socket, "--filter=log", "file", image, f"logfile={log}"]
    )
    try:
        while not unix_socket.exists():
            assert server.poll() is None
            time.sleep(0.01)
        with nbd_client(unix_socket) as client:
            for offset_bytes, length_bytes in wanted:
                assert len(nbd_read(client, offset_bytes, length_bytes)) == length_bytes
        took_ns = time.time_ns() - started_ns
    finally:
        server.terminate()
        server.wait(10)
    with log.open("rb") as stream:
        reads = parse_nbdkit_log(stream, started_ns)
    assert reads[["offset_bytes", "length_bytes"]].tolist() == wanted
    assert 0 < reads["time_ns"][0] <= reads["time_ns"][-1] <= took_ns
