# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""The drive emulator against the model, over a real connection."""

import contextlib
import os
import random
import re
import signal
import socket
import struct
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from bootprof.boot.nbd import (
    LOG_LIMIT_BYTES,
    Emulation,
    Statistics,
    failed_reads,
    plugin_arguments,
    read_statistics,
    served,
)
from bootprof.errors import BootprofError, InputError, ToolError
from bootprof.process import program, wait_for
from bootprof.sources import DRIVE_PLUGIN
from optimizer.drives.models import CD_24X, DRIVES, NVME, Drive
from optimizer.drives.seek import modelled_seconds
from optimizer.formats.blocktrace import READ_DTYPE
from tests.guest.programs import CHECKS, COMPLAINTS, ENVIRONMENT

MIB = 1 << 20


class Client:
    """As much of the NBD protocol as reading takes (NetworkBlockDevice/nbd, doc/proto.md)."""

    def __init__(self, path: Path) -> None:
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.connect(str(path))
        assert self.receive(16) == b"NBDMAGICIHAVEOPT"
        (flags,) = struct.unpack(">H", self.receive(2))
        # Fixed newstyle, no zeroes; then NBD_OPT_EXPORT_NAME with an empty name.
        self.socket.sendall(struct.pack(">I", flags & 3) + b"IHAVEOPT" + struct.pack(">II", 1, 0))
        self.size_bytes, _ = struct.unpack(">QH", self.receive(10))

    def receive(self, length: int) -> bytes:
        data = b""
        while len(data) < length:
            part = self.socket.recv(length - len(data))
            assert part, "the server hung up"
            data += part
        return data

    def read(self, offset: int, length: int) -> bytes:
        self.socket.sendall(struct.pack(">IHHQQI", 0x25609513, 0, 0, 7, offset, length))
        magic, error, handle = struct.unpack(">IIQ", self.receive(16))
        assert (magic, error, handle) == (0x67446698, 0, 7)
        return self.receive(length)

    def error(self, offset: int) -> int:
        """Read what cannot be read; return the error."""
        self.socket.sendall(struct.pack(">IHHQQI", 0x25609513, 0, 0, 7, offset, 512))
        _, error, _ = struct.unpack(">IIQ", self.receive(16))
        return int(error)

    def close(self) -> None:
        self.socket.sendall(struct.pack(">IHHQQI", 0x25609513, 0, 2, 8, 0, 0))
        self.socket.close()


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("emulator") / "image"
    path.write_bytes(random.Random(1).randbytes(8 * MIB))
    return path


@contextlib.contextmanager
def connected(image: Path, folder: Path, emulation: Emulation) -> Iterator[Client]:
    """A client of the emulator; its statistics are in ``folder`` afterwards."""
    with served(image, folder / "log", emulation, folder / "statistics") as server:
        client = Client(server.socket_path)
        try:
            yield client
        finally:
            client.close()


def requests(seed: int) -> list[tuple[int, int]]:
    """Reads of every kind: on from the last one, a little ahead, back, and anywhere."""
    source = random.Random(seed)
    found = []
    end = 0
    for _ in range(60):
        length = source.choice((512, 4096, 65536))
        offset = source.choice(
            (end, end + 8192, max(0, end - 65536), source.randrange(8 * MIB // 512) * 512)
        )
        offset = min(offset, 8 * MIB - length)
        found.append((offset, length))
        end = offset + length
    return found


@pytest.mark.parametrize("drive", DRIVES.values(), ids=lambda drive: drive.name)
def test_every_drive_takes_the_time_of_the_model_and_never_less(
    drive: Drive, image: Path, tmp_path: Path
) -> None:
    scale = 0.01
    wanted = requests(2)
    with connected(image, tmp_path, Emulation(drive, scale)) as client:
        for offset, length in wanted:
            client.read(offset, length)
    done = read_statistics(tmp_path / "statistics")
    reads = np.array([(0, offset, length) for offset, length in wanted], READ_DTYPE)
    assert done.requests == len(wanted)
    # Each request is rounded to a nanosecond.
    assert done.modelled_ns == pytest.approx(
        scale * 1e9 * modelled_seconds(reads, drive), abs=len(wanted)
    )
    assert done.waited_ns >= done.modelled_ns


def test_what_is_read_is_what_is_in_the_image(image: Path, tmp_path: Path) -> None:
    content = image.read_bytes()
    with connected(image, tmp_path, Emulation(NVME)) as client:
        assert client.size_bytes == len(content)
        for offset, length in [*requests(3), (0, MIB), (8 * MIB - 512, 512)]:
            assert client.read(offset, length) == content[offset : offset + length]


def test_a_drive_logs_requests_like_a_plain_server(image: Path, tmp_path: Path) -> None:
    with connected(image, tmp_path, Emulation(NVME)) as client:
        client.read(4096, 512)
    assert "offset=0x1000 count=0x200" in (tmp_path / "log").read_text()


def test_an_image_that_is_too_large_for_the_drive_is_refused(tmp_path: Path) -> None:
    image = tmp_path / "image"
    with image.open("wb") as stream:
        stream.truncate(CD_24X.capacity_bytes + 1)
    with pytest.raises(InputError, match="do not fit on CD 24x"):
        plugin_arguments(Emulation(CD_24X), image, tmp_path, tmp_path / "statistics")


@pytest.mark.parametrize("words", [["scale=fast"], ["speed=1"], ["capacity_bytes=0"]])
def test_wrong_parameters_are_refused_on_one_line(
    words: list[str], image: Path, tmp_path: Path
) -> None:
    plugin, *arguments = plugin_arguments(Emulation(NVME), image, tmp_path, tmp_path / "s")
    done = subprocess.run(
        [program("nbdkit"), "-f", "-U", tmp_path / "nbd", plugin, *arguments, *words],
        capture_output=True,
        text=True,
        timeout=10,
    )
    assert done.returncode != 0
    assert words[0].split("=")[0] in done.stderr


def test_a_server_that_cannot_serve_is_an_error_with_its_own_words(tmp_path: Path) -> None:
    with (
        pytest.raises(ToolError, match=r"nbdkit does not serve .*: nbdkit: error: "),
        served(tmp_path, tmp_path / "log"),
    ):
        pass


def test_a_server_that_dies_is_noticed_with_its_last_words(image: Path, tmp_path: Path) -> None:
    with served(image, tmp_path / "log") as server:
        server.check()
        server.process.kill()
        server.process.wait()
        with pytest.raises(ToolError, match="nbdkit ended while it served"):
            server.check()


def test_reads_that_fail_are_counted_and_never_hang_the_server(tmp_path: Path) -> None:
    image = tmp_path / "image"
    image.write_bytes(bytes(MIB))
    with served(image, tmp_path / "log") as server:
        client = Client(server.socket_path)
        os.truncate(image, 512)
        # More errors than the buffer of a pipe (64 KiB) holds, at some 53 bytes each.
        for _ in range(3000):
            assert client.error(65536) != 0
        assert "unexpected end of file" in server.last_words()
        client.close()
    assert failed_reads(tmp_path / "log") == (3000, "EIO")


def test_a_log_without_end_is_noticed(image: Path, tmp_path: Path) -> None:
    with served(image, tmp_path / "log") as server:
        os.truncate(server.log.fileno(), LOG_LIMIT_BYTES + 1)
        with pytest.raises(BootprofError, match="exceeds the limit of 128 MiB"):
            server.check()


def test_a_long_name_of_the_temporary_folder_is_no_obstacle(
    image: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / ("long" * 40)
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    with served(image, tmp_path / "log") as server, server.connect() as connection:
        assert connection.recv(8) == b"NBDMAGIC"


@pytest.mark.root
def test_a_server_of_root_is_nobody_and_serves_an_image_that_only_root_reads(
    tmp_path: Path,
) -> None:
    image = tmp_path / "image"
    content = random.Random(4).randbytes(MIB)
    image.write_bytes(content)
    image.chmod(0o600)
    with served(image, tmp_path / "log") as server:
        status = Path(f"/proc/{server.process.pid}/status").read_text()
        # CAP_DAC_READ_SEARCH (2) alone: it reads what it wants, and writes nothing.
        assert re.search(r"^Uid:\t(\d+)\t\1\t\1\t\1$", status, re.MULTILINE)
        assert "Uid:\t0" not in status
        assert "CapEff:\t0000000000000004" in status
        assert Client(server.socket_path).read(4096, 512) == content[4096:4608]
    assert (tmp_path / "log").stat().st_uid == 0


def test_a_server_that_is_told_to_end_still_says_what_it_did(image: Path, tmp_path: Path) -> None:
    statistics = tmp_path / "statistics"
    words = plugin_arguments(Emulation(NVME), image, tmp_path, statistics)
    unix_socket, listens = tmp_path / "nbd", tmp_path / "pid"
    # nbdkit writes its process identifier once it takes connections.
    command: list[str | Path] = [program("nbdkit"), "-f", "-U", unix_socket, "-P", listens, *words]
    server = subprocess.Popen(command)
    assert wait_for(listens.exists, 10)
    Client(unix_socket).read(0, 512)
    server.send_signal(signal.SIGTERM)
    server.wait(10)
    done = read_statistics(statistics)
    assert isinstance(done, Statistics)
    assert done.requests == 1


def test_the_plugin_has_no_wrong_access_or_undefined_operation(image: Path, tmp_path: Path) -> None:
    statistics, copy = tmp_path / "statistics", tmp_path / "copy"
    _, *arguments = plugin_arguments(Emulation(NVME, 0.001), image, tmp_path, statistics)
    plugin = tmp_path / "checked.so"
    build: list[str | Path] = [
        "gcc",
        "-shared",
        "-fPIC",
        "-O1",
        "-g",
        *CHECKS,
        "-o",
        plugin,
        DRIVE_PLUGIN,
        "-lm",
    ]
    subprocess.run(build, check=True)
    library = subprocess.check_output(["gcc", "-print-file-name=libasan.so"], text=True).strip()
    words = ["nbdkit", "--foreground", "--readonly", "-U", "-", str(plugin), *arguments]
    done = subprocess.run(
        [*words, "--run", f'nbdcopy "$uri" {copy}'],
        env=os.environ | ENVIRONMENT | {"PATH": os.environ["PATH"], "LD_PRELOAD": library},
        capture_output=True,
        check=False,
    )
    assert not any(complaint in done.stderr for complaint in COMPLAINTS), done.stderr.decode()
    assert done.returncode == 0, done.stderr.decode()
    assert copy.read_bytes() == image.read_bytes()
    assert int(statistics.read_text().split()[0]) > 0
