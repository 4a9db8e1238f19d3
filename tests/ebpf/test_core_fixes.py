# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""The program for the page cache loads with the types of every kernel, also those of no VM here."""

import subprocess
from pathlib import Path

import pytest

from tests.ebpf.support import TOP, build_tracer

pytestmark = pytest.mark.root

HERE = Path(__file__).parent
CACHE = 1 << 5
TYPES = (
    *("folio", "page", "dentry", "inode", "super_block", "file_system_type", "mount", "vfsmount"),
    *("address_space", "hlist_node", "hlist_head", "qstr"),
)
# The types in kernel_types.h as they were or are: what to replace by what.
LAYOUTS = {
    "5.10, pages": [("struct folio {", "struct other {"), ("	unsigned long _flags_1;\n", "")],
    "5.16, the order in a page": [
        ("	unsigned long _flags_1;\n", ""),
        ("struct page {\n", "struct page {\n	unsigned char compound_order;\n"),
    ],
    "6.1, the order in the folio": [
        ("	unsigned long _flags_1;", "	unsigned char _folio_order;")
    ],
    "6.6, the order in the flags": [],
    "6.18, flags of a type of their own": [
        (
            "struct folio {\n	unsigned long flags;",
            "struct folio {\n	struct { unsigned long f; } flags;",
        )
    ],
    "7.1, no name for the union of a dentry": [("	} d_u;", "	};")],
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("types")
    build_tracer(folder)
    source = HERE / "load_with_types.c"
    command: list[str | Path] = ["gcc", "-Wall", "-Werror", "-o", folder / "load", source]
    subprocess.run([*command, "-l:libbpf.a", "-lelf", "-lz"], check=True)
    return folder


def load(folder: Path, replacements: list[tuple[str, str]], types: tuple[str, ...]) -> int:
    text = (TOP / "ebpf/kernel_types.h").read_text()
    for old, new in replacements:
        assert old in text, old
        text = text.replace(old, new)
    members = "".join(f"struct {name} {name};\n" for name in types if f"struct {name} {{" in text)
    text += f"struct {{ {members} enum pageflags flags; enum bpf_func_id helper; }} all;\n"
    (folder / "types.c").write_text(text)
    target = folder / "types.o"
    compile_types: list[str | Path] = [
        "clang",
        "-g",
        "-O2",
        "-target",
        "bpf",
        "-c",
        folder / "types.c",
        "-o",
        target,
    ]
    subprocess.run(compile_types, check=True)
    done = subprocess.run(
        [folder / "load", folder / "bootprof.bpf.o", target, str(CACHE)],
        capture_output=True,
        check=False,
    )
    return done.returncode


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_verifier_accepts_it_with_the_types_of(folder: Path, layout: str) -> None:
    assert load(folder, LAYOUTS[layout], TYPES) == 0


def test_the_verifier_refuses_it_where_no_branch_fits(folder: Path) -> None:
    # So that the tests above can fail.
    assert load(folder, [("	unsigned long _flags_1;\n", "")], TYPES) == 1
