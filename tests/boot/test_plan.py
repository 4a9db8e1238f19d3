# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""What is chosen to record a boot, and what is said of it; the boots are in test_whole_loop.py."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bootprof import backends
from bootprof.boot.plan import (
    Attempt,
    RecordingPlan,
    parse_agent_log,
    plan_recording,
    settle,
)
from bootprof.errors import InputError, UnsupportedError

AUTO = RecordingPlan(backends.AUTOMATIC, "auto", "")


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "foreign.img"
    path.write_bytes(bytes(4096))
    return path


def test_an_image_without_profiler_is_profiled_by_its_reads(image: Path) -> None:
    plan = plan_recording(image, "auto")
    assert (plan.names, plan.agent) == (("block",), "none")
    assert "contains no profiler" in plan.reason


def test_several_backends_run_on_one_boot_and_the_first_one_counts(image: Path) -> None:
    plan = plan_recording(image, "ebpf+kmod")
    assert (plan.names, plan.agent) == (("ebpf", "kmod"), "ebpf+kmod")


@pytest.mark.parametrize("wanted", ["kmod+", "nothing", "kmod,ebpf"])
def test_an_unknown_backend_is_refused_with_those_that_there_are(image: Path, wanted: str) -> None:
    with pytest.raises(InputError) as raised:
        plan_recording(image, wanted)
    assert "fanotify" in raised.value.hint


def test_the_agent_says_line_by_line_what_became_of_each_backend() -> None:
    text = b"kmod\tfailed\tbootprof.ko: EPERM\nmodule\tstarted\tmine.ko: loaded\nebpf\tstarted\t\n"
    assert parse_agent_log(text) == [
        Attempt("kmod", False, "bootprof.ko: EPERM"),
        Attempt("module", True, "mine.ko: loaded"),
        Attempt("ebpf", True, ""),
    ]


@given(st.lists(st.one_of(st.binary(max_size=30), st.sampled_from([b"\t", b"\n", b"kmod"]))))
def test_whatever_a_guest_says_of_its_backends_is_read_and_printable(parts: list[bytes]) -> None:
    for attempt in parse_agent_log(b"".join(parts)):
        assert (attempt.backend + attempt.reason).isprintable()


def test_auto_takes_the_best_backend_that_started_and_says_why_not_a_better_one() -> None:
    attempts = [Attempt("kmod", False, "bootprof.ko: EPERM"), Attempt("ebpf", True, "")]
    backend, reason = settle(AUTO, attempts)
    assert backend == "ebpf"
    assert reason == "kmod did not start: bootprof.ko: EPERM"


def test_auto_falls_back_to_the_reads_of_the_medium() -> None:
    assert settle(AUTO, [Attempt("kmod", False, "x")])[0] == "block"


def test_a_recorder_that_did_not_end_its_log_does_not_count() -> None:
    attempts = [Attempt("ebpf", True, ""), Attempt("ebpf", False, "its log has no end")]
    assert settle(AUTO, attempts) == ("block", "ebpf did not finish: its log has no end")
    plan = RecordingPlan(("ebpf",), "ebpf", "as asked for")
    with pytest.raises(UnsupportedError, match="ebpf did not finish"):
        settle(plan, attempts)


@pytest.mark.parametrize(
    ("reason", "hint"),
    [
        ("bootprof.ko: ENOEXEC", "another kernel"),
        ("bootprof.ko: EKEYREJECTED", "signed"),
        ("this kernel has no debugfs to read from", "debugfs=on"),
    ],
)
def test_a_backend_that_was_asked_for_and_did_not_start_is_an_error_with_a_way_out(
    reason: str, hint: str
) -> None:
    plan = RecordingPlan(("kmod",), "kmod", "as asked for")
    with pytest.raises(UnsupportedError, match=reason) as raised:
        settle(plan, [Attempt("kmod", False, reason)])
    assert hint in raised.value.hint


def test_a_backend_that_the_guest_does_not_know_is_an_error() -> None:
    plan = RecordingPlan(("kmod", "ebpf"), "kmod+ebpf", "as asked for")
    with pytest.raises(UnsupportedError, match="ebpf"):
        settle(plan, [Attempt("kmod", True, "")])
