# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""A kernel with the module for it, and the programs that the tests run there."""

import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from bootprof.builder import store
from bootprof.builder.kernelmodule import ModuleBuild, build_module
from bootprof.errors import ToolError
from vmtest.guest import GuestRun, complaints, run_guest
from vmtest.kernels import GuestKernel, chosen_suites, fetch_kernel

HERE = Path(__file__).parent
DEBUGFS = "/sys/kernel/debug/bootprof"

# Suite, architecture and mode. The kernel of bullseye dispatches through the system call table, the
# others do not.
KERNELS = [
    ("bookworm", "amd64", "ftrace"),
    ("bullseye", "amd64", "table"),
    ("bullseye", "amd64", "ftrace"),
    ("trixie", "amd64", "ftrace"),
    ("sid", "amd64", "ftrace"),
    ("bookworm", "i386", "ftrace"),
]


@dataclass(frozen=True)
class Guest:
    """A kernel with the module for it, and the programs to run there."""

    kernel: GuestKernel
    module: ModuleBuild
    mode: str
    programs: Path
    images: Path

    def run(self, script: str, timeout_seconds: float = 300, accelerator: str = "tcg") -> GuestRun:
        """Run a script, in which ``load`` loads the module; the kernel must not complain."""
        files = {"bootprof.ko": self.module.module}
        files |= {path.name: path for path in self.images.iterdir()}
        files |= {f"bin/{path.name}": path for path in self.programs.iterdir()}
        result = run_guest(
            self.kernel,
            f"load() {{ insmod /bootprof.ko hook={self.mode} $*; }}\n" + script,
            files=files,
            modules=["overlay", "loop", "squashfs", "crc32c_generic", "ext4"],
            timeout_seconds=timeout_seconds,
            accelerator=accelerator,
        )
        assert result.status == 0, result.console
        assert complaints(result.console) == [], result.console
        return result


def compile_programs(folder: Path, architecture: str) -> Path:
    machine = ["-m32"] if architecture == "i386" else []
    for name, options in {
        "workload": ["-static", *machine],
        "compat": ["-m32", "-nostdlib", "-static"],
    }.items():
        command = ["gcc", *options, "-O1", "-Wall", "-Werror", "-D_FILE_OFFSET_BITS=64"]
        if name == "workload" and machine and not Path("/usr/lib32/libc.a").exists():
            pytest.skip("static 32-bit programs need the package gcc-multilib")
        subprocess.run([*command, "-o", folder / name, HERE / f"{name}.c"], check=True)
    return folder


def make_guest(
    suite: str, architecture: str, mode: str, output: Path, images: Path, folder: Path
) -> Guest:
    if suite not in chosen_suites():
        pytest.skip(f"{suite} is not in BOOTPROF_SUITES")
    programs = compile_programs(folder, architecture)
    cache = output / "cache"
    # For i386, the index of the security archive has not fitted its Release file for days on end.
    mirrors = (f"deb http://deb.debian.org/debian {suite} main",) if architecture == "i386" else ()
    try:
        with store.opened(cache):
            kernel = fetch_kernel(suite, cache, architecture=architecture, mirrors=mirrors)
            module = build_module(
                suite,
                cache,
                architecture=architecture,
                kernel_release=kernel.release,
                mirrors=mirrors,
            )
    except ToolError as error:
        # The archive is not always whole. What the sources themselves do wrong is no excuse.
        if "make" in error.message.split() or architecture == "amd64":
            raise
        pytest.skip(f"no {architecture} kernel of {suite} to be had: {error.hint}")
    return Guest(kernel, module, mode, programs, images)


def sections(output: bytes) -> dict[str, bytes]:
    """Take apart what the scripts below write: ``=== name`` before each part."""
    parts = re.split(rb"^=== (\w+)\n", output, flags=re.M)[1:]
    return dict(zip((name.decode() for name in parts[::2]), parts[1::2], strict=True))
