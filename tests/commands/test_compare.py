# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from bootprof.cli import main
from optimizer.drives.models import DRIVES
from optimizer.drives.names import COMPARED_DRIVES, DRIVE_NAMES
from optimizer.formats.blocktrace import READ_DTYPE, BlockTrace, write_block_trace

TOP = Path(__file__).parent.parent.parent


def write_profile(folder: Path, starts: list[int], target_ns: int = 60 * 10**9) -> None:
    reads = np.zeros(len(starts), dtype=READ_DTYPE)
    reads["time_ns"] = np.arange(len(starts)) * 10**9
    reads["offset_bytes"] = starts
    reads["length_bytes"] = 32768
    folder.mkdir()
    with (folder / "blocktrace.tsv").open("wb") as stream:
        write_block_trace(stream, BlockTrace(reads, "live.iso", 233_000_000, target_ns))


@pytest.fixture
def profiles(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A current folder that has the profiles ``unsorted`` and ``sorted``."""
    starts = np.random.default_rng(1).permutation(50) * 4_000_000
    write_profile(tmp_path / "unsorted", starts.tolist())
    write_profile(tmp_path / "sorted", (np.arange(50) * 32768).tolist(), 57 * 10**9)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_every_drive_of_the_help_is_described_under_its_name() -> None:
    assert [drive.name for drive in DRIVES.values()] == list(DRIVE_NAMES) == list(DRIVES)
    assert set(COMPARED_DRIVES) <= set(DRIVES)


def test_the_table_has_every_metric_and_all_files_go_to_the_output_folder(
    profiles: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["compare", "unsorted", "sorted", "--output", "."]) == 0
    said = capsys.readouterr()
    rows = {line.split("  ")[0].strip(): line for line in said.out.splitlines() if line.strip()}
    for title in (
        *("reads", "bytes read", "unique bytes", "non-contiguous reads", "seek distance"),
        *("time to boot target (host's clock)", "modelled I/O on CD 24x", "modelled I/O on USB 2"),
        *("modelled I/O on hard disk 5400 rpm", "modelled I/O on NVMe"),
    ):
        assert title in rows, said.out
    assert rows["reads"].split() == ["reads", "50", "50", "same"]
    assert rows["time to boot target (host's clock)"].endswith("60.0 s    57.0 s   not comparable")
    assert rows["seek distance"].endswith("none left")
    assert "bound" not in said.out
    assert "seek.png" in said.err
    assert (profiles / "seek.png").read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
    assert (profiles / "seek.svg").read_bytes().startswith(b"<?xml")
    assert "wrote compare.html" in said.err
    assert (profiles / "compare.html").read_bytes().startswith(b"<!DOCTYPE html>")


def test_bounds_are_shown_when_asked_for(
    profiles: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["compare", "unsorted", "sorted", "--no-plot", "--bounds"]) == 0
    assert capsys.readouterr().out.count("bound (") == len(COMPARED_DRIVES)


def test_a_piped_table_is_plain_and_never_cut(profiles: Path) -> None:
    label = "a-name-of-a-build-that-is-much-longer-than-any-column-should-be" * 2
    program = [sys.executable, "-m", "bootprof", "compare", "unsorted", "sorted", "--no-plot"]
    said = subprocess.run(
        [*program, "-l", label, "-l", "[bold]b[/bold]"],
        capture_output=True,
        check=True,
        env={**os.environ, "PYTHONPATH": str(TOP), "COLUMNS": "20"},
    )
    text = said.stdout.decode()
    assert label in text
    assert "[bold]b[/bold]" in text
    assert "\x1b" not in text
    assert "…" not in text


def test_json_is_the_whole_of_standard_output(
    profiles: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["compare", "--json", "unsorted", "sorted", "-o", "plots", "-p", "p"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["plots"] == ["plots/p.png", "plots/p.svg"]
    assert found["report"] == "plots/compare.html"
    assert (profiles / found["report"]).is_file()
    assert [build["label"] for build in found["builds"]] == ["unsorted", "sorted"]
    metrics = found["builds"][1]["metrics"]
    assert (metrics["boot-time"]["value"], metrics["boot-time"]["ratio"]) == (57.0, None)
    assert 0 < metrics["cd-24x"]["ratio"] < 0.5
    assert all((profiles / plot).exists() for plot in found["plots"])


def test_the_report_goes_where_it_is_wanted_or_nowhere(
    profiles: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wanted = ["compare", "unsorted", "sorted", "--no-plot"]
    assert main([*wanted, "--report", "r/boot.html", "-o", "out"]) == 0
    assert (profiles / "out" / "r" / "boot.html").is_file()
    assert main([*wanted, "--report", "boot.html"]) == 0
    assert (profiles / "boot.html").is_file()
    capsys.readouterr()
    assert main([*wanted, "--report", "-"]) == 0
    assert capsys.readouterr().out == (profiles / "boot.html").read_text()
    assert main([*wanted, "--no-report", "--json", "-o", "nowhere"]) == 0
    said = capsys.readouterr()
    found = json.loads(said.out)
    assert found["report"] is None
    assert "report" not in said.err
    assert not (profiles / "nowhere").exists()
    assert "does not exist" in found["builds"][0]["absent"]["image_map"]


@pytest.mark.parametrize("options", [[], ["--json"], ["--no-plot"], ["--theme", "both"]])
def test_no_file_is_written_unless_a_place_for_it_is_named(
    profiles: Path, options: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["compare", "unsorted", "sorted", *options]) == 0
    assert sorted(path.name for path in profiles.iterdir()) == ["sorted", "unsorted"]
    assert "wrote" not in capsys.readouterr().err


def test_a_block_trace_can_come_from_standard_input(profiles: Path) -> None:
    # Nothing in the current folder belongs to it.
    (profiles / "profile.json").write_text("noise")
    program = [sys.executable, "-m", "bootprof", "compare", "unsorted", "-", "--json"]
    ran = subprocess.run(
        program,
        input=(profiles / "sorted" / "blocktrace.tsv").read_bytes(),
        capture_output=True,
        check=True,
        env={**os.environ, "PYTHONPATH": str(TOP)},
    )
    first, second = json.loads(ran.stdout)["builds"]
    assert (second["label"], second["path"]) == ("standard input", "-")
    assert second["metrics"]["seek-distance"]["value"] == 0
    assert set(second["absent"].values()) == {
        "nothing lies beside a block trace from standard input"
    }
    assert "image" in first["absent"]["image_map"]


def test_warnings_of_matplotlib_are_not_shown_as_ours(profiles: Path) -> None:
    home = profiles / "no-home"
    home.write_text("")
    ran = subprocess.run(
        [*(sys.executable, "-m", "bootprof", "compare", "unsorted", "sorted"), "--plot", "seek"],
        capture_output=True,
        check=True,
        env={**os.environ, "PYTHONPATH": str(TOP), "HOME": str(home), "MPLCONFIGDIR": str(home)},
    )
    assert b"WARNING" not in ran.stderr and b"atplotlib" not in ran.stderr
    assert (profiles / "seek.png").is_file()


def test_a_report_that_would_replace_a_folder_is_one_line_and_status_2(
    profiles: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (profiles / "compare.html").mkdir()
    assert main(["compare", "unsorted", "sorted", "--report", "compare.html"]) == 2
    assert (
        "bootprof: error: compare.html: not written, because it is a folder"
        in capsys.readouterr().err
    )


def test_both_themes_can_be_written(profiles: Path) -> None:
    assert main(["compare", "unsorted", "sorted", "--theme", "both", "--plot", "seek"]) == 0
    assert len(list(profiles.glob("seek*.png"))) == len(list(profiles.glob("seek*.svg"))) == 2


@pytest.mark.parametrize(
    ("limit", "status"),
    [
        ("seek-distance=1", 0),
        ("cd-24x=0.5", 0),
        ("boot-time=0.95", 0),
        ("boot-time=0.94", 1),
        ("reads=0.99", 1),
    ],
)
def test_fail_above_ends_with_1_exactly_when_the_ratio_is_above_the_limit(
    profiles: Path, limit: str, status: int, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--no-plot", "--fail-above", limit]
    assert main(["compare", "unsorted", "sorted", *options]) == status
    said = capsys.readouterr()
    assert "modelled I/O" in said.out
    assert ("more than" in said.err) == bool(status)
    assert ("not comparable" in said.err) == (bool(status) and limit.startswith("boot-time"))


def test_fail_above_judges_the_clock_of_the_guest_by_name(
    profiles: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    limit = ["--fail-above", "guest-time=1.1", "--fail-above", "10%"]
    for name, seconds in (("sorted", 10.0), ("unsorted", 12.0)):
        described = {"accelerator": "icount", "guest_clock": {"uptime_seconds": seconds}}
        (profiles / name / "profile.json").write_text(json.dumps(described))
    (profiles / "lone.tsv").write_bytes((profiles / "sorted" / "blocktrace.tsv").read_bytes())
    assert main(["compare", "unsorted", "sorted", *limit]) == 0
    assert main(["compare", "sorted", "unsorted", *limit[:2]]) == 1
    assert "unsorted: guest-time is 1.2 times that of sorted" in capsys.readouterr().err
    assert main(["compare", "sorted", "lone.tsv", *limit[2:]]) == 0
    assert main(["compare", "sorted", "lone.tsv", *limit]) == 2
    assert "guest-time: missing from some of the profiles" in capsys.readouterr().err


def test_fail_above_judges_every_build_after_the_first(
    profiles: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--no-plot", "--fail-above", "seek-distance=1.1", "--fail-above", "cd-24x=1.1"]
    assert main(["compare", "sorted", "sorted", "unsorted", *options]) == 1
    errors = capsys.readouterr().err
    assert "unsorted: seek-distance is inf times" in errors
    assert "unsorted: cd-24x is" in errors


@pytest.mark.parametrize(
    ("limit", "old", "new", "status"),
    [
        ("10", "sorted", "sorted", 0),
        ("0%", "sorted", "sorted", 0),
        ("1000%", "unsorted", "sorted", 0),
        ("1000%", "sorted", "unsorted", 1),
        ("boot-time=5%", "sorted", "unsorted", 1),
        ("boot-time=6%", "sorted", "unsorted", 0),
        # A percentage alone judges every metric but the time to the boot target.
        ("5", "sorted", "later", 0),
    ],
)
def test_fail_above_takes_percentages(
    profiles: Path,
    limit: str,
    old: str,
    new: str,
    status: int,
    capsys: pytest.CaptureFixture[str],
) -> None:
    write_profile(profiles / "later", (np.arange(50) * 32768).tolist(), 90 * 10**9)
    options = ["--no-plot", "--no-report", "--fail-above", limit]
    assert main(["compare", old, new, *options]) == status
    assert ("more than" in capsys.readouterr().err) == bool(status)


def test_an_image_that_fits_no_more_is_worse(
    profiles: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trace = (profiles / "sorted" / "blocktrace.tsv").read_text()
    (profiles / "larger.tsv").write_text(trace.replace("233000000", "900000000"))
    options = ["--no-plot", "--no-report", "--fail-above", "10%"]
    assert main(["compare", "sorted", "larger.tsv", *options]) == 1
    assert "larger: does not fit on cd-24x, but sorted does" in capsys.readouterr().err
    assert main(["compare", "larger.tsv", "sorted", *options]) == 0


def test_a_drive_of_the_user_is_modelled_too(
    profiles: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (profiles / "mine.toml").write_text(
        'name = "mine"\ntitle = "my\\u001b[31m drive"\ncapacity_bytes = 1_000_000_000\n'
        "overhead_ms = 1000\n"
        "seek_track_ms = 0\nseek_average_ms = 0\nseek_full_ms = 0\n"
        "first_rate_bytes_per_second = 1e15\nlast_rate_bytes_per_second = 1e15\n"
    )
    assert main(["compare", "unsorted", "sorted", "--no-plot", "-d", "mine.toml"]) == 0
    out = capsys.readouterr().out
    assert ["modelled", "I/O", "on", r"my\x1b[31m", "drive", "50.0", "s", "50.0", "s", "same"] in [
        line.split() for line in out.splitlines()
    ]
    assert "NVMe" not in out


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["unsorted"], "only one profile is given: unsorted"),
        (["unsorted", "nowhere"], "nowhere: no such file or folder"),
        (["unsorted", "empty"], "empty: contains no block trace (blocktrace.tsv)"),
        (["unsorted", "noise"], "noise: line 1: not a block trace"),
        (["-", "-"], "- is given twice"),
        (["unsorted", "sorted", "--json", "--report", "-"], "--json and --report -"),
        (["unsorted", "sorted", "--plot", "-"], "--plot -: "),
        (["unsorted", "sorted", "-l", "one"], "1 labels for 2 profiles"),
        (["unsorted", "sorted", "-d", "floppy"], "no such drive: floppy"),
        (["unsorted", "sorted", "-d", "nvme", "-d", "nvme"], "two metrics are called nvme"),
        (["unsorted", "sorted", "--fail-above", "speed=1"], "--fail-above: no such metric: speed"),
    ],
)
def test_wrong_input_is_one_line_and_status_2(
    profiles: Path, arguments: list[str], expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (profiles / "empty").mkdir()
    (profiles / "noise").write_bytes(bytes(range(256)))
    assert main(["compare", "--no-plot", *arguments]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    errors = [line for line in said.err.splitlines() if "hint:" not in line]
    assert len(errors) == 1
    assert errors[0].startswith(f"bootprof: error: {expected}")


def test_a_limit_on_a_drive_that_is_too_small_is_an_error(
    profiles: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (profiles / "tiny.toml").write_text(
        'name = "tiny"\ntitle = "tiny"\ncapacity_bytes = 1\noverhead_ms = 1\n'
        "seek_track_ms = 0\nseek_average_ms = 0\nseek_full_ms = 0\n"
        "first_rate_bytes_per_second = 1\nlast_rate_bytes_per_second = 1\n"
    )
    options = ["--no-plot", "-d", "tiny.toml"]
    assert main(["compare", "unsorted", "sorted", *options]) == 0
    assert "does not fit" in capsys.readouterr().out
    assert main(["compare", "unsorted", "sorted", *options, "--fail-above", "tiny=2"]) == 2


@pytest.mark.parametrize(
    "limit",
    ["seek-distance", "=1", "reads=x", "reads=0", "reads=nan", "reads=inf", "-5", "reads=-5%", "%"],
)
def test_a_limit_that_is_none_is_wrong_usage(
    limit: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["compare", "a", "b", "--fail-above", limit])
    assert caught.value.code == 2
    assert "give METRIC=RATIO" in capsys.readouterr().err


def test_a_missing_drive_file_is_an_error_that_names_it(
    profiles: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["compare", "unsorted", "sorted", "--no-plot", "-d", "gone.toml"]) != 0
    assert "bootprof: error: gone.toml: No such file" in capsys.readouterr().err
