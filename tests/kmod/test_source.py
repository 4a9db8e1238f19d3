# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""How the files of the module depend on each other."""

import re
from graphlib import TopologicalSorter
from pathlib import Path

SOURCES = Path(__file__).parents[2] / "kmod"
NAME = re.compile(r"\bbootprof_\w+")
# A definition starts at the left margin; that of a function goes on to its opening brace.
FUNCTION = re.compile(r"^(?!static)\w[\w *]*\b(bootprof_\w+)\([^;{]*\{", re.MULTILINE)
VARIABLE = re.compile(
    r"^(?!static|extern)\w[^;(\n]*[ (*](bootprof_\w+)\)?(?: = .*)?;", re.MULTILINE
)
VARIABLE_BY_MACRO = re.compile(r"^(?:DEFINE_MUTEX|LIST_HEAD)\((bootprof_\w+)\);", re.MULTILINE)
DECLARED = re.compile(r"^(?!static|struct \w+ \{)\w.*?\b(bootprof_\w+)(?:\(|;)", re.MULTILINE)


def without_comments(path: Path) -> str:
    return re.sub(r"/\*.*?\*/|//[^\n]*", "", path.read_text(), flags=re.DOTALL)


def test_no_file_calls_a_file_that_calls_it() -> None:
    texts = {path.name: without_comments(path) for path in SOURCES.glob("*.c")}
    owners = {
        name: file
        for file, text in texts.items()
        for pattern in (FUNCTION, VARIABLE, VARIABLE_BY_MACRO)
        for name in pattern.findall(text)
    }
    # What the header declares is all that one file can use of another.
    declared = set(DECLARED.findall(without_comments(SOURCES / "bootprof.h")))
    assert len(declared) > 30
    assert declared - set(owners) == set()
    calls = {
        file: {owners[name] for name in NAME.findall(text) if name in declared} - {file}
        for file, text in texts.items()
    }
    # Raises CycleError, which names the files of a circle.
    order = list(TopologicalSorter(calls).static_order())
    assert calls["bootprof_log.c"] == set()
    assert order[-1] == "bootprof_main.c"
