# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""What tests of several folders share, and how the suite is spread over processors."""

import os
import re
import signal
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import settings
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

TOP = Path(__file__).parent.parent
# Build images for minutes: they start first, one on each processor.
LONGEST = (
    "tests/test_whole_loop.py",
    "tests/builder/test_desktop_vm.py",
    "tests/builder/test_roots_vm.py",
    "tests/builder/test_whole_builds.py",
)
# The kernel of a guest, in the name of a test.
KERNEL = re.compile(
    r"\[.*?\b((?:bullseye|bookworm|trixie|sid)(?:-(?:amd64|i386)-(?:ftrace|table))?)"
)

# What runs tests in the background lets them ignore it; a shell could not change that, and tests
# interrupt shells.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# A deadline would measure the machine's load. In CI, the same examples each time: a failure there
# is of the change, and a developer's runs look for new ones.
settings.register_profile(
    "bootprof", deadline=None, print_blob=True, derandomize=bool(os.environ.get("CI"))
)
settings.load_profile("bootprof")


@pytest.fixture(scope="session")
def output() -> Path:
    """Folder for what takes long to make and is kept from run to run."""
    return Path(os.environ.get("BOOTPROF_OUTPUT", TOP / "out")).resolve()


def group_of(node: str) -> str:
    """Return the group of a test: one process runs a whole group, because it shares fixtures.

    A group is a file, and where its guests are of several kernels, one of these.

    Args:
        node: The test, as pytest names it.
    """
    kernel = KERNEL.search(node)
    return node.partition("::")[0] + (f" {kernel[1]}" if kernel else "")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the tests in order: the longest builds, then what needs no guest, then the guests.

    Of the guests, groups of many tests come first, so that all processors are in use to the end.

    A test with a guest that fails is run once more, and the summary lists it: under load, QEMU's
    emulator sometimes runs code that the guest has replaced (docs/kmod.md). Not in a soak, which
    counts failures.
    """
    guests = {group_of(item.nodeid) for item in items if item.get_closest_marker("vm")}
    for item in items:
        if item.get_closest_marker("vm") and "BOOTPROF_SOAK_CYCLES" not in os.environ:
            item.add_marker(pytest.mark.flaky(reruns=1))

    sizes = Counter(group_of(item.nodeid) for item in items)

    def place(item: pytest.Item) -> tuple[int, int, str]:
        group = group_of(item.nodeid)
        file = item.nodeid.partition("::")[0]
        if file in LONGEST:
            return LONGEST.index(file), 0, group
        if group in guests:
            return len(LONGEST) + 1, -sizes[group], group
        return len(LONGEST), 0, group

    items.sort(key=place)


class GroupScheduling(LoadScopeScheduling):  # type: ignore[misc]
    """Hands out groups in their order. (``--dist=loadgroup`` of xdist 3.8 fails in pytest 9.2.)"""

    def _split_scope(self, nodeid: str) -> str:
        return group_of(nodeid)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> GroupScheduling:
    """Spread the suite with ``pytest -n 2``."""
    return GroupScheduling(config, log)
