"""The drive emulator against the model, over a real connection."""

import contextlib
import random
import signal
import socket
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from bootprof.boot.nbd import Emulation, Statistics, plugin_arguments, read_statistics, served
from bootprof.errors import InputError, ToolError
from bootprof.process import program, wait_for
from optimizer.drives.models import CD_24X, DRIVES, NVME, Drive
from optimizer.drives.seek import modelled_seconds
from optimizer.formats.blocktrace import READ_DTYPE

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
    with served(image, folder / "log", emulation, folder / "statistics") as path:
        client = Client(path)
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


def test_the_log_of_requests_is_written_as_without_the_emulator(
    image: Path, tmp_path: Path
) -> None:
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
        pytest.raises(ToolError, match="nbdkit does not serve"),
        served(tmp_path, tmp_path / "log"),
    ):
        pass


def test_a_server_that_is_told_to_end_still_says_what_it_did(image: Path, tmp_path: Path) -> None:
    statistics = tmp_path / "statistics"
    words = plugin_arguments(Emulation(NVME), image, tmp_path, statistics)
    unix_socket = tmp_path / "nbd"
    server = subprocess.Popen([program("nbdkit"), "-f", "-U", unix_socket, *words])
    assert wait_for(unix_socket.exists, 10)
    Client(unix_socket).read(0, 512)
    server.send_signal(signal.SIGTERM)
    server.wait(10)
    done = read_statistics(statistics)
    assert isinstance(done, Statistics)
    assert done.requests == 1
