# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""Every form that a tool prints is recognised as its own, and its files are found."""

from __future__ import annotations

import io

import pytest

from bootprof.errors import BootprofError
from bootprof.imports import Source, candidates, load, names, recognise
from tests.foreign import imported
from tests.imports.samples import READ_LINES, SAMPLES, Sample

EACH = [
    pytest.param(name, sample, id=f"{name}: {label}")
    for name, samples in SAMPLES.items()
    for label, sample in samples.items()
]
CONTENTS = [
    *(
        (name, label, sample.content)
        for name, of in SAMPLES.items()
        for label, sample in of.items()
    ),
    *((name, label, line) for name, of in READ_LINES.items() for label, line in of.items()),
]


def source(content: bytes, name: str = "log") -> Source:
    return Source(name, io.BytesIO(content))


@pytest.mark.parametrize(("name", "sample"), EACH)
def test_the_files_of_a_sample_are_found(name: str, sample: Sample) -> None:
    bootlog = imported(name, sample.content)
    assert tuple(bootlog.paths) == sample.paths
    assert bootlog.lost == sample.lost
    assert (bootlog.events["time_ns"] >= 0).all()


@pytest.mark.parametrize(("name", "sample"), EACH)
def test_lines_that_end_with_carriage_returns_are_read_too(name: str, sample: Sample) -> None:
    bootlog = imported(name, sample.content.replace(b"\n", b"\r\n"))
    assert tuple(bootlog.paths) == sample.paths


@pytest.mark.parametrize(
    ("name", "content"), [pytest.param(n, c, id=f"{n}: {label}") for n, label, c in CONTENTS]
)
def test_each_sample_is_taken_for_its_own_tool_and_no_other(name: str, content: bytes) -> None:
    assert [item.name for item in candidates(source(content))] == [name]
    assert recognise([source(content)]).name == name


def test_every_import_has_samples() -> None:
    assert {*SAMPLES, *READ_LINES} == set(names())


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", "an empty file"),
        (b"/etc/a\n/etc/b c\n", "a list of paths, which is a bootlog already"),
        (b"#bootprof-bootlog 1\n#backend: kmod\n", "a bootlog with events already"),
        (b"\x7fELF\2\1\1" + bytes(900), "a program"),
        (b"PERFILE2" + bytes(90), "perf script"),
        (b"\x1f\x8b\x08\0\0", "zcat"),
        (b"hsqs" + bytes(90), "--image"),
        (b"\x07taea\0\0", "blkparse"),
        (bytes(5000), "binary"),
        (b"Lorem ipsum dolor sit amet,\nconsectetur (adipisici) elit = 3.\n", "Lorem ipsum"),
        (b"int main(void) { return open(name) == 3; }\n\x1b[31m", "int main"),
        (b"import os\nprint(os.open('x', 0))\nx = open('y')\n", "import os"),
        (
            b"[    0.000000] Linux version 6.1.0\n[    1.0] systemd[1]: Started x.\n",
            "Linux version",
        ),
        (b"\xff\xfe\n" * 9, "--formats"),
        (b"a,b,c\n1,2,3\n", "a,b,c"),
        (b"\x1b]0;x\x07\n", "\\x1b]0;x"),
    ],
)
def test_what_no_tool_wrote_is_called_by_its_name(content: bytes, expected: str) -> None:
    with pytest.raises(BootprofError) as raised:
        recognise([source(content)])
    said = f"{raised.value.message} {raised.value.hint}"
    assert expected in said
    assert "\x1b" not in said


def test_a_file_of_two_tools_is_refused_with_both_names() -> None:
    mixed = SAMPLES["fatrace"]["plain"].content + SAMPLES["strace"]["plain"].content
    with pytest.raises(BootprofError, match="fatrace or strace") as raised:
        recognise([source(mixed)])
    assert "--from" in raised.value.hint


def test_an_import_owns_the_facts_that_help_and_documents_show() -> None:
    operations = {"open", "exec", "map", "read", "cache", "block"}
    for name in names():
        item = load(name)
        assert item.name == name
        assert set(item.gives.split(", ")) <= operations
        assert item.summary and item.record
        assert (item.read is None) == item.needs_image


@pytest.mark.parametrize("name", [name for name in SAMPLES if name != "strace"])
def test_several_files_are_only_taken_where_a_tool_writes_several(name: str) -> None:
    content = next(iter(SAMPLES[name].values())).content
    with pytest.raises(BootprofError, match="one file, not 2") as raised:
        imported(name, content, content, files=("a", "b"))
    assert "strace" in raised.value.hint
