# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
import datetime
import json
import math
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bootprof.builder.config import LiveConfig
from bootprof.builder.layers import keys, load, load_config, parse_define
from bootprof.errors import InputError

TOP = Path(__file__).parents[2]
MINIMAL = 'name = "test"\n[system]\nsuite = "bookworm"\n'


@pytest.fixture
def live_cfg(tmp_path: Path) -> Path:
    path = tmp_path / "live.cfg"
    path.write_text(MINIMAL)
    return path


@pytest.mark.parametrize("path", sorted(TOP.glob("config/*.cfg")), ids=lambda p: p.name)
def test_the_configurations_in_the_repository_are_valid(path: Path) -> None:
    assert "live-boot" in load_config(path).system.packages


def test_settings_beside_the_configuration_override_it(live_cfg: Path) -> None:
    (live_cfg.parent / "settings.cfg").write_text('[system]\nsuite = "trixie"\n')
    assert load_config(live_cfg).system.suite == "trixie"


def test_define_overrides_settings_and_takes_toml_or_plain_text(live_cfg: Path) -> None:
    (live_cfg.parent / "settings.cfg").write_text('[system]\nsuite = "trixie"\n')
    config = load_config(
        live_cfg,
        ["system.suite=sid", 'system.packages=["a", "b"]', "media.timeout=5", "media.title=2026"],
    )
    assert config.system.suite == "sid"
    assert config.system.packages == ("a", "b")
    assert config.media.timeout == 5
    assert config.media.title == "2026"


def test_variables_of_several_layers_are_joined(live_cfg: Path) -> None:
    (live_cfg.parent / "settings.cfg").write_text('[system.install_env]\nA = "1"\nB = "1"\n')
    config = load_config(live_cfg, ["system.install_env.B=2", "system.install_env.C=x=y"])
    assert config.system.install_env == {"A": "1", "B": "2", "C": "x=y"}


@pytest.mark.parametrize(
    ("text", "line", "complaint"),
    [
        ("# one\nname = \n", 2, "not TOML"),
        ('name = "x"\n[system]\nsiute = "sid"\n', 3, "system.siute: no such key"),
        ('name = "x"\n\n# why\n[sytem]\nsuite = "sid"\n', 4, "sytem: no such key"),
        ('name = "x"\nsuite = "sid"\n', 2, "suite: no such key"),
        ('name = "x"\n[system]\narch = "arm64"\n', 3, "system.arch: expected one of"),
        ('name = "x"\n[system]\npackages = [\n  "a",\n  1,\n]\nsuite = "x"\n', 3, "packages"),
        ('name = "x"\n[squashfs]\nblock_size = 5000\n', 3, "squashfs.block_size"),
        ('name = "x"\n[squashfs]\nstale_percent = nan\n', 3, "squashfs.stale_percent"),
        ('system = 3\nname = "x"\n', 1, "system: expected a table, found an integer"),
        ('"system.suite" = "x"\n', 1, "system.suite: no such key"),
        ('name = "a/b"\n', 1, "name: expected a file name"),
        (
            'name = "x"\nmedia.label = "a label with 31 characters, yes"\nmedia.outer_edge = 1\n',
            3,
            "media.outer_edge",
        ),
        ('name = "x"\n[media]\ntitle = """\na\nb"""\n', 3, "media.title"),
        ('name = "x"\n[system]\nhostname = "a_b"\n', 3, "system.hostname"),
        ('name = "x"\n[system]\nsuite = "--customize-hook=id"\n', 3, "system.suite"),
        ('name = "x"\n[system]\nmirrors = ["-"]\n', 3, "system.mirrors"),
        ('name = "x"\n[system]\nroot_password = "a\\nb:c"\n', 3, "system.root_password"),
        ('name = "x"\n[system.install_env]\n"A=B" = "c"\n', 2, "system.install_env"),
    ],
)
def test_an_error_names_file_line_and_key(
    live_cfg: Path, text: str, line: int, complaint: str
) -> None:
    live_cfg.write_text(text)
    with pytest.raises(InputError) as caught:
        load_config(live_cfg)
    assert caught.value.message.startswith(f"{live_cfg}: line {line}")
    assert complaint in caught.value.message


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ('name = "x"\n[system]\nsiute = "sid"\n', "did you mean system.suite?"),
        ('name = "x"\nsuite = "sid"\n', "did you mean system.suite?"),
        ('name = "x"\n[sytem]\nsuite = "sid"\n', "did you mean system?"),
        ('name = "x"\n[system]\nzzz = "sid"\n', "bootprof config --keys lists the keys"),
        ('name = "x"\n[media]\nlable = "sid"\n', "did you mean media.label?"),
    ],
)
def test_an_unknown_key_gets_the_one_that_was_probably_meant(
    live_cfg: Path, text: str, hint: str
) -> None:
    live_cfg.write_text(text)
    with pytest.raises(InputError) as caught:
        load_config(live_cfg)
    assert caught.value.hint == hint


@pytest.mark.parametrize(
    ("defines", "complaint"),
    [
        (["readahead.what=tables"], r"readahead\.what: an EROFS has no tables"),
        (["network.root=http://192.0.2.1/a.squashfs"], r"network\.root names a squashfs"),
        (["erofs.features=['all-fragments']", "erofs.reorder=true"], r"gains nothing"),
        (["erofs.features=['-h']"], r"erofs\.features: expected an extended option"),
        (["erofs.cluster_size=5000"], r"erofs\.cluster_size: expected a power of two"),
        (["erofs.program=--help"], r"erofs\.program: expected the name or path of a program"),
    ],
)
def test_what_an_erofs_cannot_have_is_refused(
    live_cfg: Path, defines: list[str], complaint: str
) -> None:
    live_cfg.write_text('name = "x"\n[root]\nformat = "erofs"\n')
    assert load_config(live_cfg, ["network.root=http://192.0.2.1/a.iso"]).packing.sort
    with pytest.raises(InputError, match=complaint):
        load_config(live_cfg, defines)


def test_an_error_of_a_later_layer_names_that_layer(live_cfg: Path) -> None:
    settings = live_cfg.parent / "settings.cfg"
    settings.write_text("[media]\ntimeout = 1.5\n")
    with pytest.raises(InputError) as caught:
        load_config(live_cfg)
    assert caught.value.message.startswith(f"{settings}: line 2: media.timeout: ")
    settings.unlink()
    with pytest.raises(InputError, match=r"^--define system\.arch: system\.arch: expected one of"):
        load_config(live_cfg, ["system.arch=arm64"])


def test_keys_that_exclude_each_other_are_told_where_they_stand(live_cfg: Path) -> None:
    live_cfg.write_text('name = "x"\n[initrd]\ncompressor = "keep"\nleave_out = ["net"]\n')
    with pytest.raises(InputError, match=r"line 4: initrd\.leave_out needs initrd\.compressor"):
        load_config(live_cfg)
    with pytest.raises(InputError, match=r"^--define system\.packages: system\.packages cannot"):
        load_config(
            live_cfg, ["initrd.leave_out=[]", 'system.packages=["a"]', "system.source=root.tar"]
        )
    with pytest.raises(InputError, match=r"^--define media\.outer_edge: media\.outer_edge needs"):
        load_config(
            live_cfg,
            ["initrd.leave_out=[]", "media.reading_order=false", "media.outer_edge=true"],
        )


def test_a_missing_configuration_is_an_input_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such configuration"):
        load_config(tmp_path / "live.cfg")


def test_a_configuration_without_a_name_says_so(live_cfg: Path) -> None:
    live_cfg.write_text("[system]\n")
    with pytest.raises(InputError, match="name is missing"):
        load_config(live_cfg)


@pytest.mark.parametrize("definition", ["suite", "=x", "system.=x", ".suite=x"])
def test_a_define_without_key_or_value_is_an_input_error(live_cfg: Path, definition: str) -> None:
    with pytest.raises(InputError, match="KEY=VALUE"):
        load_config(live_cfg, [definition])


@pytest.mark.parametrize(
    "content",
    [
        b"x = " + b"9" * 5000,
        b"x = " + b"[" * 100_000,
        b"x." * 50_000 + b"x = 1",
        b"name = '\xff'",
        b"name = 9999-99-99",
        b"name = 10:61:61",
        b"\0",
        b"name = 'x'\nname = 'y'",
        b'name = "x"\n[system]\nsuite = "a\\u0000b"',
        b"#" * (1 << 20) + b"\n",
        b"[squashfs]\nblock_size = 1" + b"0" * 400,
        b"[squashfs]\nstale_percent = 1" + b"0" * 400,
        b"[squashfs]\nstale_percent = 1e999",
        b"[media]\ntimeout = 99999999999999999999",
    ],
    ids=range(14),
)
def test_a_file_that_no_person_would_write_gives_one_line(live_cfg: Path, content: bytes) -> None:
    live_cfg.write_bytes(content)
    with pytest.raises(InputError) as caught:
        load_config(live_cfg)
    assert str(live_cfg) in caught.value.message
    assert "\n" not in caught.value.message
    assert len(caught.value.message) < 600


def test_an_endless_configuration_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="too large"):
        load_config(Path("/dev/zero"))


SCALARS = st.one_of(
    st.text(max_size=30),
    st.integers(),
    st.integers(min_value=10**4000, max_value=10**4200),
    st.floats(),
    st.booleans(),
    st.datetimes(),
    st.dates(),
    st.times(),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=8,
)
WORDS = st.one_of(st.sampled_from(["system", "media", "name", "suite"]), st.text(max_size=8))
LAYERS = st.dictionaries(
    st.one_of(st.sampled_from(sorted(keys())), st.lists(WORDS, min_size=1).map(".".join)),
    VALUES,
    max_size=4,
)


def toml(value: object) -> str:
    """Write a value as TOML."""
    if isinstance(value, str):
        return json.dumps(value).replace("\x7f", "\\u007f")
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and math.isnan(value):
        return "nan"
    if isinstance(value, list):
        return f"[{', '.join(map(toml, value))}]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{toml(k)} = {toml(v)}" for k, v in value.items()) + "}"
    if isinstance(value, datetime.date | datetime.time):
        return value.isoformat()
    return str(value)


@given(LAYERS)
def test_whatever_toml_can_hold_gives_a_configuration_or_one_line(
    values: dict[str, object],
) -> None:
    lines = []
    for name, value in values.items():
        path = ".".join(json.dumps(part) for part in name.split("."))
        lines.append(f"{path} = {toml(value)}\n")
    with tempfile.TemporaryDirectory() as folder:
        path_ = Path(folder) / "live.cfg"
        path_.write_text("".join(lines), encoding="utf-8", errors="replace")
        try:
            loaded = load(path_)
        except InputError as error:
            assert error.message.startswith(str(path_))
            assert "\n" not in error.message
        else:
            assert isinstance(loaded.config, LiveConfig)
            for name in values:
                assert loaded.place(name).startswith(f"{path_}: line ")


@given(st.one_of(st.text(), st.tuples(st.sampled_from(sorted(keys())), st.text()).map("=".join)))
def test_any_definition_gives_a_layer_or_one_line(definition: str) -> None:
    try:
        layer = parse_define(definition)
    except InputError as error:
        assert error.message.startswith("--define ")
        assert "\n" not in error.message
    else:
        assert layer.name.startswith("--define ")
