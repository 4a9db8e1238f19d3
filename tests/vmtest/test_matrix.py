# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""Every recorder against the workload's own list, on the kernels that Debian serves.

Two boots a kernel, with several recorders each, which only watch. Those of file system events have
one of their own, with a small storm: there the tracers would see each open of them, and 200,000
events take minutes on a busy machine. docs/matrix.md has the figures of boots with one recorder
each and the whole storm (bench/matrix.py).
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from bootprof import backends
from bootprof.builder import store
from bootprof.builder.kernelmodule import ModuleBuild, build_module
from optimizer.formats.events import Bootlog, Operation
from vmtest.kernels import GuestKernel, chosen_suites, fetch_kernel
from vmtest.matrix.guest import RECORDERS, LiveSystem, build_live_system, run_workload
from vmtest.matrix.score import Access, Result, evaluate, kendall_tau, read_truth, score

PARTS = {
    *("early", "order", "calls", "relative", "links", "names", "deep", "deleted", "bind"),
    *("overlay", "mmap", "unread", "exec", "failed", "32bit", "tmpfs", "storm"),
    *("handle", "iouring"),
}
DOCUMENT = Path(__file__).parents[2] / "docs/matrix.md"
TRACERS = ("kmod", "ebpf")
BLOCKS = ("block", "tracepoints", "block_dump")
# Opened at once when something is mounted, which recorders of file system events have to notice.
AT_ONCE = ("early", "tmpfs", "handle")


@dataclass(frozen=True)
class Outcome:
    truth: list[Access]
    results: dict[str, Result]
    headers: dict[str, Mapping[str, str]]
    opened: dict[str, set[bytes]]


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> LiveSystem:
    return build_live_system(tmp_path_factory.mktemp("live"))


@pytest.fixture(scope="module", params=chosen_suites())
def machine(request: pytest.FixtureRequest, output: Path) -> tuple[str, GuestKernel, ModuleBuild]:
    cache = output / "cache"
    with store.opened(cache):
        kernel = fetch_kernel(request.param, cache)
        module = build_module(request.param, cache, kernel_release=kernel.release)
    return request.param, kernel, module


def observe(
    machine: tuple[str, GuestKernel, ModuleBuild],
    live: LiveSystem,
    names: Sequence[str],
    folder: Path,
    storm: tuple[int, int],
) -> Outcome:
    suite, kernel, module = machine
    recorders = [RECORDERS[name] for name in names if RECORDERS[name].runs_on(suite)]
    run = run_workload(live, kernel, recorders, folder, module=module, storm=storm)
    truth = read_truth(run.truth)
    logs = {item.name: backends.load(item.name).read(run.recording) for item in recorders}
    results = {name: evaluate(truth, log) for name, log in logs.items()}
    headers = {name: log.header for name, log in logs.items()}
    return Outcome(truth, results, headers, {name: opened(log) for name, log in logs.items()})


def opened(log: Bootlog) -> set[bytes]:
    numbers = log.events["path"][log.events["operation"] == Operation.OPEN]
    return {log.paths[number] for number in set(numbers.tolist())}


@pytest.fixture(scope="module")
def outcome(
    machine: tuple[str, GuestKernel, ModuleBuild],
    live: LiveSystem,
    tmp_path_factory: pytest.TempPathFactory,
) -> Outcome:
    folder = tmp_path_factory.mktemp("tracers")
    return observe(machine, live, (*TRACERS, *BLOCKS), folder, (200, 1000))


@pytest.fixture(scope="module")
def file_events(
    machine: tuple[str, GuestKernel, ModuleBuild],
    live: LiveSystem,
    tmp_path_factory: pytest.TempPathFactory,
) -> Outcome:
    folder = tmp_path_factory.mktemp("events")
    return observe(machine, live, ("fanotify", "inotify"), folder, (10, 100))


@pytest.mark.vm
@pytest.mark.root
def test_the_workload_did_all_of_its_parts(outcome: Outcome) -> None:
    assert {access.part for access in outcome.truth} == PARTS
    storm = [access for access in outcome.truth if access.part == "storm"]
    assert len(storm) == 200 * 1000
    assert len({access.pid for access in storm}) == 200


@pytest.mark.vm
@pytest.mark.root
@pytest.mark.parametrize("name", TRACERS)
def test_tracers_find_each_file_that_was_opened_or_executed(outcome: Outcome, name: str) -> None:
    parts = outcome.results[name].parts.values()
    assert [path for part in parts for path in part.missed] == []


@pytest.mark.vm
@pytest.mark.root
def test_the_bpf_tracer_sees_io_uring_open_where_it_watches_the_function(outcome: Outcome) -> None:
    if "fentry" not in outcome.headers["ebpf"]["backend"]:
        pytest.skip("on this kernel the ends of system calls are watched")
    ring = {access.path for access in outcome.truth if access.part == "iouring"}
    assert ring
    assert ring <= outcome.opened["ebpf"]


@pytest.mark.vm
@pytest.mark.root
def test_the_module_lists_nothing_that_was_not_accessed(outcome: Outcome) -> None:
    assert outcome.results["kmod"].total.invented == ()


@pytest.mark.vm
@pytest.mark.root
def test_the_bpf_tracer_lists_nothing_else_but_the_names_below_a_bind_mount(
    outcome: Outcome,
) -> None:
    # What entered the page cache has its name on the squashfs, which knows of no mount.
    assert set(outcome.results["ebpf"].total.invented) <= {
        b"/w/bind/source/inside",
        b"/w/bind/file",
    }


@pytest.mark.vm
@pytest.mark.root
@pytest.mark.parametrize("name", TRACERS)
def test_tracers_have_the_order_of_first_access(outcome: Outcome, name: str) -> None:
    assert outcome.results[name].total.tau == 1


@pytest.mark.vm
@pytest.mark.root
@pytest.mark.parametrize("name", TRACERS)
def test_tracers_have_each_open_and_execution_of_each_process_in_order_or_count_what_they_lost(
    outcome: Outcome, name: str
) -> None:
    result = outcome.results[name]
    missing = result.storm_opens - result.storm_recorded
    if result.lost == 0 or result.skipped:
        # Skipped runs may have been events of other kinds: none of the opens is missing.
        assert missing == 0
        assert result.processes == 207
        assert result.in_order == 207
    else:
        assert missing == result.lost


@pytest.mark.vm
@pytest.mark.root
@pytest.mark.parametrize(("name", "beyond"), [("fanotify", ()), ("inotify", ("bind",))])
def test_recorders_of_file_system_events_find_each_file_in_order_on_what_was_mounted_before(
    file_events: Outcome, name: str, beyond: tuple[str, ...]
) -> None:
    parts = file_events.results[name].parts
    calm = [part for part in parts if part not in (*AT_ONCE, *beyond)]
    assert {part: parts[part].missed for part in calm} == dict.fromkeys(calm, ())
    taus = {part: parts[part].tau for part in calm if part != "storm"}
    assert set(taus.values()) <= {1, None}


@pytest.mark.vm
@pytest.mark.root
@pytest.mark.parametrize("name", BLOCKS)
def test_block_recorders_tell_each_file_that_was_read_whole_and_has_blocks_of_its_own(
    outcome: Outcome, name: str
) -> None:
    if name not in outcome.results:
        pytest.skip("this kernel has no block_dump")
    parts = outcome.results[name].parts
    whole = ("early", "order", "relative", "names", "deep", "deleted", "mmap", "iouring")
    assert {part: parts[part].missed for part in whole} == dict.fromkeys(whole, ())


@pytest.mark.vm
@pytest.mark.root
@pytest.mark.parametrize("name", BLOCKS)
def test_block_recorders_list_nothing_that_is_not_on_the_medium(
    outcome: Outcome, name: str
) -> None:
    if name not in outcome.results:
        pytest.skip("this kernel has no block_dump")
    listed = outcome.results[name].total.invented
    assert [path for path in listed if path.startswith(b"/w/tmpfs/mounted/")] == []


def test_kendalls_tau_is_what_its_definition_says() -> None:
    assert kendall_tau([1, 2, 3, 4], [10, 20, 30, 40]) == 1
    assert kendall_tau([1, 2, 3, 4], [4, 3, 2, 1]) == -1
    assert kendall_tau([1, 2, 3], [1, 3, 2]) == pytest.approx(1 / 3)
    # Ties: (concordant - discordant) / sqrt(pairs not tied in x * pairs not tied in y).
    assert kendall_tau([1, 2, 3], [1, 1, 2]) == pytest.approx(2 / 6**0.5)
    assert kendall_tau([1], [1]) is None


def test_recall_and_precision_count_distinct_paths() -> None:
    result = score([b"a", b"b", b"a", b"c"], [b"b", b"x", b"a", b"b"])
    assert result.recall == pytest.approx(2 / 3)
    assert result.precision == pytest.approx(2 / 3)
    assert (result.missed, result.invented, result.tau) == ((b"c",), (b"x",), -1)
    assert score([], []).recall is None


def test_the_document_explains_each_figure_below_1() -> None:
    assert "not explained" not in DOCUMENT.read_text()


def test_the_names_of_the_parts_are_those_of_the_workload() -> None:
    source = (DOCUMENT.parents[1] / "vmtest/matrix/workload.c").read_text()
    assert set(re.findall(r'\tstart\("(\w+)"\)', source)) == PARTS
