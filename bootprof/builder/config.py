"""The configuration of a live image: ``config/live.cfg``, a TOML file.

Three layers, the later one wins: ``live.cfg``, ``settings.cfg`` beside it if there is one, and
``--define KEY=VALUE`` on the command line.
"""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import msgspec

from bootprof.errors import InputError


class System(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """``[system]``: the root file system.

    Attributes:
        suite: Debian suite to bootstrap from.
        arch: Debian architecture of the image.
        packages: Packages on top of the minimal base system.
        components: Archive components.
        mirrors: Archive addresses, or empty for those that mmdebstrap knows.
        hostname: Name of the booted system.
        root_password: Password of root, or empty for a locked account.
        files: Folder whose content is copied over the finished root, or empty.
        install_env: Variables that package scripts and hooks see.
        additional_modules: Kernel modules (.ko) that the profiler archive loads in the initrd.
    """

    suite: str = "bookworm"
    arch: Literal["amd64", "i386"] = "amd64"
    packages: tuple[str, ...] = ()
    components: tuple[str, ...] = ("main",)
    mirrors: tuple[str, ...] = ()
    hostname: str = "live"
    root_password: str = ""
    files: str = ""
    install_env: dict[str, str] = {}
    additional_modules: tuple[str, ...] = ()


class Squashfs(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """``[squashfs]``: how the root file system is packed.

    Attributes:
        compressor: As mksquashfs names it.
        block_size: Data block size in bytes, a power of two from 4 KiB to 1 MiB.
        options: Further words for mksquashfs.
        sort: Sort file, used if it is there; relative to the folder of ``live.cfg``.
        separate_fragments: Let the tails of the sort file's files share fragment blocks with each
            other only.
        stale_percent: Warn if more of the sort file's files are not in the root.
        exclude: Wildcards of paths to leave out of the squashfs.
    """

    compressor: Literal["gzip", "lzma", "lzo", "lz4", "xz", "zstd"] = "zstd"
    block_size: int = 131072
    options: tuple[str, ...] = ()
    sort: str = "distrib.sort"
    separate_fragments: bool = False
    stale_percent: float = 5.0
    exclude: tuple[str, ...] = ("boot/vmlinuz-*", "boot/initrd.img-*", "boot/System.map-*")


class Media(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """``[media]``: the medium and its boot menu.

    Attributes:
        title: Title of the entry in the boot menu.
        label: Volume identifier of the ISO image (32 characters at most).
        boot_options: Kernel command line.
        timeout: Seconds that the menu waits.
        quick_probes: Whether the system is kept from looking at the medium's far end.
        reading_order: Whether the files of the ISO lie in the order in which a boot reads them.
        outer_edge: Whether kernel and initrd lie behind the squashfs, near the outer edge of a
            disc, where it is read faster.
    """

    title: str = "Live system"
    label: str = "LIVE"
    boot_options: str = "boot=live quiet console=tty0 console=ttyS0"
    timeout: int = 0
    quick_probes: bool = True
    reading_order: bool = True
    outer_edge: bool = False


class Initrd(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """``[initrd]``: the initrd that the root's own tools have made, packed again.

    Attributes:
        compressor: ``zstd`` to compress it well, ``keep`` to leave it as it is.
        leave_out: Folders of drivers or drivers to leave out, as ``drivers/net``.
        keep: Those of them that stay, as ``drivers/scsi/sd_mod``.
    """

    compressor: Literal["zstd", "keep"] = "zstd"
    leave_out: tuple[str, ...] = ()
    keep: tuple[str, ...] = ()


class Readahead(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """``[readahead]``: what the image reads ahead while it boots.

    Attributes:
        bootlog: Bootlog of what to read ahead, beside the configuration; empty for no readahead.
        what: All that a boot wants, or the tables alone, which takes no bootlog.
        drive: Drive that the gaps between are weighed for.
    """

    bootlog: str = ""
    what: Literal["all", "tables"] = "all"
    drive: str = "cd-24x"


class LiveConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A whole configuration, and the file that it came from."""

    name: str
    system: System = System()
    squashfs: Squashfs = Squashfs()
    initrd: Initrd = Initrd()
    media: Media = Media()
    readahead: Readahead = Readahead()


def load_config(path: Path, defines: Sequence[str] = ()) -> LiveConfig:
    """Read a configuration with its settings file and command-line overrides.

    Args:
        path: ``live.cfg``; ``settings.cfg`` is looked for beside it.
        defines: ``section.key=value``, the value in TOML or else a plain string.

    Raises:
        InputError: A file is missing or not TOML, a key is unknown, or a value has a wrong type.
    """
    merged = read_toml(path)
    settings = path.parent / "settings.cfg"
    if settings.exists():
        merge(merged, read_toml(settings))
    for definition in defines:
        merge(merged, parse_define(definition))
    try:
        config = msgspec.convert(merged, LiveConfig)
    except msgspec.ValidationError as error:
        raise InputError(f"{path}: {error}", hint="docs/commands/build.md lists the keys") from None
    check_values(path, config)
    return config


def check_values(path: Path, config: LiveConfig) -> None:
    """Reject values that have the right type but cannot work."""
    block_size = config.squashfs.block_size
    if not 4096 <= block_size <= 1 << 20 or block_size & (block_size - 1):
        raise InputError(
            f"{path}: squashfs.block_size is {block_size}",
            hint="take a power of two from 4096 to 1048576",
        )
    if len(config.media.label.encode()) > 32 or not config.media.label:
        raise InputError(f"{path}: media.label must have 1 to 32 characters")
    if config.initrd.compressor == "keep" and config.initrd.leave_out:
        raise InputError(f'{path}: initrd.leave_out needs initrd.compressor to be "zstd"')
    if config.media.outer_edge and not config.media.reading_order:
        raise InputError(f"{path}: media.outer_edge needs media.reading_order")
    if not config.name or "/" in config.name:
        raise InputError(f"{path}: name must be a file name, and is {config.name!r}")


def read_toml(path: Path) -> dict[str, Any]:
    """Read one TOML file."""
    try:
        with path.open("rb") as stream:
            return tomllib.load(stream)
    except FileNotFoundError:
        raise InputError(
            f"{path}: no such configuration", hint="name one with --config FILE"
        ) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not TOML: {error}") from None


def parse_define(definition: str) -> dict[str, Any]:
    """Turn ``a.b=value`` into ``{"a": {"b": value}}``."""
    key, equals, text = definition.partition("=")
    words = key.strip().split(".")
    if not equals or not all(words):
        raise InputError(
            f"--define {definition}: not of the form KEY=VALUE",
            hint="for example --define system.arch=i386",
        )
    try:
        value: Any = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = text
    for word in reversed(words):
        value = {word: value}
    assert isinstance(value, dict)
    return value


def merge(base: dict[str, Any], over: dict[str, Any]) -> None:
    """Lay one nested dictionary over another, in place."""
    for key, value in over.items():
        if isinstance(value, dict) and isinstance(base.get(key), dict):
            merge(base[key], value)
        else:
            base[key] = value
