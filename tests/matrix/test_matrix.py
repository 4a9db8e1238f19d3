"""Every recorder against the workload's own list, on the kernels that Debian serves.

One boot a kernel, with all recorders at once: they only watch, and each has to cope with the
others. docs/matrix.md has the figures of boots with one recorder each (bench/matrix.py).
"""

import os
import re
from dataclasses import dataclass
from pathlib import Path

import pytest
from matrix.guest import RECORDERS, LiveSystem, Run, build_live_system, run_workload
from matrix.score import Access, Result, evaluate, kendall_tau, read_truth

from bootprof import backends
from bootprof.builder import store
from bootprof.builder.kernelmodule import build_module, fetch_kernel

# All that Debian serves: BOOTPROF_SUITES="bullseye bookworm trixie sid"
SUITES = os.environ.get("BOOTPROF_SUITES", "bookworm").split()
PARTS = {
    *("early", "order", "calls", "relative", "links", "names", "deep", "deleted", "bind"),
    *("overlay", "mmap", "unread", "exec", "failed", "32bit", "tmpfs", "storm"),
}
TRACERS = ("kmod", "ebpf")


@dataclass(frozen=True)
class Outcome:
    run: Run
    truth: list[Access]
    results: dict[str, Result]


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> LiveSystem:
    return build_live_system(tmp_path_factory.mktemp("live"))


@pytest.fixture(scope="module", params=SUITES)
def outcome(
    request: pytest.FixtureRequest,
    live: LiveSystem,
    output: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Outcome:
    cache = output / "cache"
    with store.locked(cache):
        kernel = fetch_kernel(request.param, cache)
        module = build_module(request.param, cache, kernel_release=kernel.release)
    folder = tmp_path_factory.mktemp(request.param)
    run = run_workload(live, kernel, list(RECORDERS.values()), folder, module=module)
    truth = read_truth(run.truth)
    results = {name: evaluate(truth, backends.load(name).read(run.recording)) for name in RECORDERS}
    return Outcome(run, truth, results)


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
    missed = {part: score.missed for part, score in outcome.results[name].parts.items()}
    assert missed == dict.fromkeys(missed, ())


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
        assert result.in_order == result.processes == 207
    else:
        assert missing == result.lost


@pytest.mark.vm
@pytest.mark.root
def test_the_block_trace_tells_each_file_that_was_read_whole_and_has_blocks_of_its_own(
    outcome: Outcome,
) -> None:
    parts = outcome.results["block"].parts
    whole = ("early", "order", "relative", "names", "deep", "deleted", "mmap")
    assert {part: parts[part].missed for part in whole} == dict.fromkeys(whole, ())


@pytest.mark.vm
@pytest.mark.root
def test_the_block_trace_lists_nothing_that_is_not_on_the_medium(outcome: Outcome) -> None:
    listed = outcome.results["block"].total.invented
    assert [path for path in listed if path.startswith(b"/w/tmpfs/mounted/")] == []


def test_kendalls_tau_is_what_its_definition_says() -> None:
    assert kendall_tau([1, 2, 3, 4], [10, 20, 30, 40]) == 1
    assert kendall_tau([1, 2, 3, 4], [4, 3, 2, 1]) == -1
    assert kendall_tau([1, 2, 3], [1, 3, 2]) == pytest.approx(1 / 3)
    # Ties: (concordant - discordant) / sqrt(pairs not tied in x * pairs not tied in y).
    assert kendall_tau([1, 2, 3], [1, 1, 2]) == pytest.approx(2 / 6**0.5)
    assert kendall_tau([1], [1]) is None


def test_the_names_of_the_parts_are_those_of_the_workload() -> None:
    source = (Path(__file__).parent / "workload.c").read_text()
    assert set(re.findall(r'\tstart\("(\w+)"\)', source)) == PARTS
