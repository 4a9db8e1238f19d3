from pathlib import Path

import pytest

from bootprof.builder.config import load_config
from bootprof.errors import InputError

MINIMAL = 'name = "test"\n[system]\nsuite = "bookworm"\n'


@pytest.fixture
def live_cfg(tmp_path: Path) -> Path:
    path = tmp_path / "live.cfg"
    path.write_text(MINIMAL)
    return path


def test_the_configuration_in_the_repository_is_valid() -> None:
    config = load_config(Path(__file__).parents[2] / "config/live.cfg")
    assert "live-boot" in config.system.packages


def test_settings_beside_the_configuration_override_it(live_cfg: Path) -> None:
    (live_cfg.parent / "settings.cfg").write_text('[system]\nsuite = "trixie"\n')
    assert load_config(live_cfg).system.suite == "trixie"


def test_define_overrides_settings_and_takes_toml_or_plain_text(live_cfg: Path) -> None:
    (live_cfg.parent / "settings.cfg").write_text('[system]\nsuite = "trixie"\n')
    config = load_config(
        live_cfg, ["system.suite=sid", 'system.packages=["a", "b"]', "media.timeout=5"]
    )
    assert config.system.suite == "sid"
    assert config.system.packages == ("a", "b")
    assert config.media.timeout == 5


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("name = \n", "not TOML"),
        ('name = "x"\n[system]\nsiute = "sid"\n', "siute"),
        ('name = "x"\n[system]\narch = "arm64"\n', "arch"),
        ('name = "x"\n[squashfs]\nblock_size = 5000\n', "block_size"),
        ("[system]\n", "name"),
        ('name = "a/b"\n', "file name"),
        (f'name = "x"\n[media]\nlabel = "{"L" * 33}"\n', "label"),
    ],
)
def test_a_wrong_configuration_is_named_with_its_file_and_key(
    live_cfg: Path, text: str, complaint: str
) -> None:
    live_cfg.write_text(text)
    with pytest.raises(InputError) as caught:
        load_config(live_cfg)
    assert str(live_cfg) in caught.value.message
    assert complaint in caught.value.message


def test_a_missing_configuration_is_an_input_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such configuration"):
        load_config(tmp_path / "live.cfg")


@pytest.mark.parametrize("definition", ["suite", "=x", "system.=x", ".suite=x"])
def test_a_define_without_key_or_value_is_an_input_error(live_cfg: Path, definition: str) -> None:
    with pytest.raises(InputError, match="KEY=VALUE"):
        load_config(live_cfg, [definition])
