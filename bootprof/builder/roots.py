# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""The root tree of a build: bootstrapped or unpacked, finished, and kept in the cache."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from bootprof import progress
from bootprof.builder import features, hooks, identity, overlay, patches, root, store
from bootprof.builder.initrd import additions
from bootprof.builder.overlay import Overlay
from bootprof.builder.request import BuildRequest
from bootprof.builder.root import Additions
from bootprof.builder.roottree import open_tree
from bootprof.builder.sources import debian, directory, oci, tarball
from bootprof.errors import InputError
from bootprof.files import file_digest


def find_additions(request: BuildRequest) -> Additions:
    """Look through what the configuration adds to the root tree.

    Raises:
        InputError: Something of it cannot be used.
    """
    system = request.config.system
    return Additions(
        patches=patches.scan(request.base / system.patches) if system.patches else None,
        files=find_files(request),
        hooks=hooks.scan(request.base / system.hooks) if system.hooks else None,
        udev_rules=additions.UDEV_RULES if request.config.media.quick_probes else None,
    )


def find_files(request: BuildRequest) -> Overlay | None:
    """Look through the folder that is copied over the root tree, if there is one."""
    system = request.config.system
    if not system.files:
        return None
    folder = request.base / system.files
    if request.output.resolve().is_relative_to(folder.resolve()):
        raise InputError(
            f"{folder}: contains the output folder {request.output}, which would be copied too",
            hint="choose another folder with system.files or --output",
        )
    files = overlay.scan(folder, system.files_owner)
    owned = [entry for entry in files.entries if entry.attributes.owner[0] != 0]
    if owned:
        progress.note(
            f"bootprof: warning: {len(owned)} of {len(files.entries)} entries of {files.folder} "
            f"belong to users other than root, for example {owned[0].path} to user "
            f"{owned[0].attributes.owner[0]}; the copies will, too"
        )
        progress.note(
            'bootprof: hint: set system.files_owner to "root", or chown them to the right user'
        )
    return files


@dataclass(frozen=True)
class Trees:
    """The root trees of a build.

    Attributes:
        full: The root tree.
        bootstrapped: What it was made from, before anything was cleaned or configured.
        base: The same without patches, files and the last hooks, if these are packed separately.
    """

    full: Path
    bootstrapped: Path
    base: Path | None = None

    @property
    def lowest(self) -> Path:
        """The tree of the lowest layer."""
        return self.full if self.base is None else self.base


def obtain_trees(request: BuildRequest, cache: Path, added: Additions) -> Trees:
    """Make the root tree, or find the one made before from the same settings and files."""
    obtain_first = obtain_unpacked if request.config.system.source else obtain_bootstrapped
    bootstrapped = obtain_first(request, cache)
    before = replace(
        added, patches=None, files=None, hooks=added.hooks and added.hooks.only("bootstrapped")
    )
    after = replace(added, hooks=added.hooks and added.hooks.only("bootstrapped", "configured"))
    base = None
    if request.config.root.separate_changes:
        base = obtain_root(request, cache, bootstrapped, before, "root tree without your changes")
    full = obtain_root(request, cache, bootstrapped, after, "root tree")
    return Trees(full, bootstrapped, base)


def obtain_root(
    request: BuildRequest, cache: Path, bootstrapped: Path, added: Additions, title: str
) -> Path:
    """Make a root tree, or find the one made before from the same settings and files."""
    system = request.config.system
    epoch = root.source_date_epoch(bootstrapped)
    variables = hooks.environment(request.config, epoch)

    def make(target: Path) -> None:
        log_file = cache / "hooks.log"
        log_file.unlink(missing_ok=True)
        root.finish(request.config, bootstrapped, target, added, log_file)

    with progress.step(title) as update:
        digest = store.digest_of(
            bootstrapped.name,
            # A bootstrap done again has the same name.
            bootstrapped.stat().st_mtime_ns,
            epoch,
            (system.hostname, system.root_password, request.config.desktop),
            features.files(request.config),
            features.executables(request.config),
            (system.languages, system.keyboard, system.timezone),
            (identity.REMOVED, identity.FOLDERS, identity.EMPTIED, identity.MOUNT_POINTS),
            added.udev_rules,
            added.patches.digest() if added.patches is not None else None,
            added.files.digest() if added.files is not None else None,
            (added.hooks.digest(), sorted(variables.items())) if added.hooks is not None else None,
        )
        tree, reused = store.obtain(cache, "root", digest, make)
        update("unchanged, reused" if reused else "cleaned, configured")
    return tree


def obtain_bootstrapped(
    request: BuildRequest, cache: Path, name: str = "bootstrap", options: Sequence[str] = ()
) -> Path:
    """Bootstrap a system, or find the one bootstrapped before from the same packages.

    Args:
        request: The build.
        cache: Where systems are kept.
        name: What this one is kept and shown as.
        options: Further options of mmdebstrap.
    """
    system = request.config.system
    keyring = (request.base / system.keyring).resolve() if system.keyring else None
    if keyring is not None and not keyring.is_file():
        raise InputError(f"{keyring}: no such file", hint="check system.keyring")
    words = debian.command_of(system, options)
    mirrors = system.mirrors if keyring is None else debian.signed(system, keyring)
    # By content: another state of the keys is another archive.
    keys = [keyring] if keyring is not None else []
    # What scripts of packages see.
    variables = dict(system.install_env)
    if system.languages:
        variables["BOOTPROF_LANGUAGES"] = " ".join(system.languages)

    def make(target: Path) -> None:
        debian.bootstrap(
            words,
            target,
            mirrors,
            env=variables,
            keyring=keyring,
            log_file=cache / f"{name}.log",
            progress=update,
        )

    with progress.step(f"{name} of {system.suite}, {system.arch}") as update:
        digest = store.digest_of(words, mirrors, sorted(variables.items()), *keys)
        tree, reused = store.obtain(cache, name, digest, make, again=request.refresh)
        update("unchanged, reused" if reused else "bootstrapped")
    return tree


def obtain_unpacked(request: BuildRequest, cache: Path) -> Path:
    """Unpack or copy the configured root tree, or find the one made before from the same."""
    system = request.config.system
    source = request.base / system.source
    if not source.is_dir() and not source.is_file():
        raise InputError(f"{source}: no such folder or archive", hint="check system.source")
    image = oci.is_image(source)
    folder = overlay.scan(source, key="system.source") if source.is_dir() else None

    def make(target: Path) -> None:
        target.mkdir()
        with open_tree(target) as tree:
            if image:
                newest = oci.unpack(source, system.arch, tree)
            elif folder is not None:
                newest = directory.copy(folder, tree)
            else:
                newest = tarball.unpack(source, tree)
        os.utime(target, (newest, newest))

    with progress.step(f"root tree of {source}") as update:
        content = folder.digest() if folder is not None else file_digest(source)
        digest = store.digest_of(content, system.arch)
        tree, reused = store.obtain(cache, "source", digest, make, again=request.refresh)
        update("unchanged, reused" if reused else "unpacked")
    return tree
