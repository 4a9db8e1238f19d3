# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""The rules of docs/architecture.md that a machine can check."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

TOP = Path(__file__).parent.parent
# From the lowest layer to the highest; a module may import its own layer and those before it.
COMMANDS = sorted((TOP / "bootprof/commands").glob("*.py"))
PURE = sorted((TOP / "optimizer").rglob("*.py"))
LAYERS = (
    ("optimizer",),
    (
        "bootprof.errors",
        "bootprof.files",
        "bootprof.openat",
        "bootprof.process",
        "bootprof.progress",
        "bootprof.sources",
        "bootprof.units",
    ),
    ("bootprof.backends", "bootprof.imports"),
    (
        "bootprof.boot",
        "bootprof.builder",
        "bootprof.report",
        "bootprof.checksums",
        "bootprof.initrds",
        "bootprof.repacking",
        "bootprof.rewrite",
    ),
    ("bootprof.commands",),
    ("bootprof.cli",),
    ("bootprof.__main__",),
)


def layer_of(module: str) -> int | None:
    for number, prefixes in enumerate(LAYERS):
        if any(module == prefix or module.startswith(prefix + ".") for prefix in prefixes):
            return number
    return None


def imports_of(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
            found |= {f"{node.module}.{name.name}" for name in node.names}
    return {name for name in found if name.split(".")[0] in ("bootprof", "optimizer")}


def modules() -> list[Path]:
    return sorted([*TOP.glob("bootprof/**/*.py"), *TOP.glob("optimizer/**/*.py")])


@pytest.mark.parametrize("path", modules(), ids=lambda p: str(p.relative_to(TOP)))
def test_imports_go_down_only(path: Path) -> None:
    name = ".".join(path.relative_to(TOP).with_suffix("").parts).removesuffix(".__init__")
    own = layer_of(name)
    if name in ("bootprof",):
        return
    assert own is not None, f"{name} has no place in LAYERS"
    for imported in imports_of(path):
        theirs = layer_of(imported)
        if theirs is None:
            continue
        assert theirs <= own, f"{name} imports {imported}, which is above it"


@pytest.mark.parametrize("path", COMMANDS, ids=lambda path: path.stem)
def test_no_command_imports_a_command(path: Path) -> None:
    own = f"bootprof.commands.{path.stem}"
    shared = "bootprof.commands.inputs"
    imported = {name for name in imports_of(path) if name.startswith("bootprof.commands.")}
    assert {name for name in imported if not name.startswith((own, shared))} == set()


@pytest.mark.parametrize("path", PURE, ids=lambda path: str(path.relative_to(TOP)))
def test_the_optimizer_starts_no_process_and_opens_no_socket(path: Path) -> None:
    tree = ast.parse(path.read_text())
    names = {
        name.name for node in ast.walk(tree) if isinstance(node, ast.Import) for name in node.names
    }
    names |= {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert not {name.split(".")[0] for name in names} & {"subprocess", "socket", "bootprof"}


def test_help_imports_nothing_heavy() -> None:
    program = (
        "import sys; from bootprof.cli import build_parser; build_parser().format_help();"
        "print(*sorted({m.split('.')[0] for m in sys.modules}"
        " & {'numpy', 'matplotlib', 'rich', 'pycdlib', 'elftools'}))"
    )
    said = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True, cwd=TOP)
    assert said.stdout.strip() == b""
