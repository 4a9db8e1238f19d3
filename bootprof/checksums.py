# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""Checksums and signatures in an ISO that cover its file system, or other files of it.

A checksum file (``md5sum.txt``, ``SHA256SUMS``, ``airootfs.sha512`` and many other names) is
recognized by its content: it holds the digest of a file that changes. The digest is replaced where
it stands, with the same length, so that nothing moves; then the digests of the checksum file are
replaced in those that cover it.

Fedora implants a digest of the ISO in its primary volume descriptor; implantisomd5 writes it anew.
Signatures cannot be renewed without their keys: they are reported.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from bootprof.errors import InputError
from bootprof.process import run
from optimizer.formats.text import printable
from optimizer.images.image import Image
from optimizer.images.iso9660 import SYSTEM_AREA_BYTES, Region, content_pieces, read_iso

# By the length of the digest in hexadecimal.
ALGORITHMS: Mapping[int, tuple[str, ...]] = {
    32: ("md5",),
    40: ("sha1",),
    56: ("sha224",),
    64: ("sha256",),
    96: ("sha384",),
    128: ("sha512", "blake2b"),
}
DIGEST = re.compile(rb"(?<![0-9A-Fa-f])[0-9A-Fa-f]{32,128}(?![0-9A-Fa-f])")
# A list of all files of an ISO with a package pool has some 5 MB.
LARGEST_LIST_BYTES = 16 << 20
# Of all text files together, and the most lists that cover the file system or each other: an ISO
# can have one file under thousands of names.
ALL_TEXTS_BYTES = 128 << 20
MOST_LISTS = 64
TEXT_BYTES = 4096
SIGNATURE_SUFFIXES = (
    b".gpg", b".asc", b".sig", b".sign", b".p7s", b".minisig", b".cms.sig", b".verity",
    b".roothash", b".roothash.p7s", b".usrhash",
)  # fmt: skip
# Options of a boot menu that name the root hash of dm-verity.
VERITY_OPTION = re.compile(rb"(?<![\w-])(?:roothash|usrhash|systemd\.verity[\w.]*|dm-verity)=")
# Of the superblock that veritysetup writes (cryptsetup, lib/verity/verity.c).
VERITY_MAGIC = b"verity\0\0"
VERITY_ALIGNMENT_BYTES = 4096
# Application use of the primary volume descriptor, ECMA-119 8.4; libcheckisomd5 looks there.
IMPLANTED_OFFSET_BYTES, IMPLANTED_BYTES = SYSTEM_AREA_BYTES + 883, 512
IMPLANTED = b"ISO MD5SUM = "
SUPPORTED = b"RHLISOSTATUS=1"


@dataclass(frozen=True)
class Covering:
    """What in an image depends on the bytes of files that change.

    Attributes:
        changed: Paths of these files in the ISO; none in another image.
        lists: Paths in the ISO of checksum files.
        implanted: Whether a digest of the ISO is implanted in it.
        signatures: What will no longer match, a sentence each.
    """

    changed: tuple[bytes, ...] = ()
    lists: tuple[bytes, ...] = ()
    implanted: bool = False
    signatures: tuple[str, ...] = ()


def find_covering(image: Image, others: Sequence[bytes] = ()) -> Covering:
    """Find the checksums and signatures that cover the chosen file system of an image.

    Args:
        image: The image.
        others: Paths in an ISO of other files that change.

    Raises:
        InputError: There is more text, or there are more lists, than any image has.
    """
    place = image.chosen
    assert place is not None
    signatures = []
    with image.path.open("rb") as stream:
        behind = -(-place.size_bytes // VERITY_ALIGNMENT_BYTES) * VERITY_ALIGNMENT_BYTES
        stream.seek(place.offset_bytes + behind)
        if stream.read(len(VERITY_MAGIC)) == VERITY_MAGIC:
            signatures.append("the hash tree of dm-verity behind the file system")
        if image.iso is None or not place.path:
            return Covering(signatures=tuple(signatures))
        files = image.iso.files()
        texts = read_texts(image.path, stream, files)
        found: dict[bytes, None] = {}
        changed = (place.path, *others)
        new = list(changed)
        while new:
            lengths = {len(digest) for text in texts.values() for digest in DIGEST.findall(text)}
            digests = [
                digest.encode()
                for path in new
                for digest in digests_of(stream, files[path], lengths).values()
            ]
            new = [
                path
                for path, text in texts.items()
                if path not in found and holds_any(text, digests)
            ]
            found.update(dict.fromkeys(new))
            if len(found) > MOST_LISTS:
                raise InputError(
                    f"{image.path}: more than {MOST_LISTS} checksum files cover the file system",
                    hint="reorder the file system by itself, and put it into the image",
                )
        covered = (*changed, *found)
        signatures += [
            f"the signature {printable(path)}"
            for path in files
            if any(path == each + end for each in covered for end in SIGNATURE_SUFFIXES)
        ]
        signatures += [
            f"the root hash of dm-verity in {printable(path)}"
            for path, text in texts.items()
            if VERITY_OPTION.search(text)
        ]
        stream.seek(IMPLANTED_OFFSET_BYTES)
        implanted = IMPLANTED in stream.read(IMPLANTED_BYTES)
    return Covering(changed, tuple(found), implanted, tuple(dict.fromkeys(signatures)))


def checked_covering(
    image: Image, others: Sequence[bytes] = (), *, allow_unsigned: bool = False
) -> Covering:
    """Find what covers the files that will change; refuse signatures that will no longer match.

    Args:
        image: As for :func:`find_covering`.
        others: As for :func:`find_covering`.
        allow_unsigned: Whether to go on if there are signatures.

    Raises:
        InputError: There are some.
    """
    covering = find_covering(image, others)
    if covering.signatures and not allow_unsigned:
        raise InputError(
            f"{image.path}: will no longer match: {'; '.join(covering.signatures)}",
            hint="sign the image again afterwards, and give --allow-unsigned",
        )
    return covering


def renew(image: Image, covering: Covering, target: Path) -> None:
    """Write the checksums of a rewritten image anew, each in its place.

    Args:
        image: The image before.
        covering: What :func:`checked_covering` found in it.
        target: The rewritten image; it is changed.
    """
    if covering.lists:
        renew_lists(image, covering, target)
    if covering.implanted:
        implant(image, target)


def renew_lists(image: Image, covering: Covering, target: Path) -> None:
    """Replace the digests in checksum files of a rewritten ISO."""
    assert image.iso is not None
    lists = covering.lists
    before, after = image.iso.files(), read_iso(target).files()
    with image.path.open("rb") as old, target.open("r+b") as new:
        texts = {path: content_of(old, before[path]) for path in lists}
        lengths = {len(digest) for text in texts.values() for digest in DIGEST.findall(text)}
        was = {path: digests_of(old, before[path], lengths) for path in (*covering.changed, *lists)}
        changed: dict[bytes, bytes] = {}

        def renew_digests(path: bytes) -> None:
            now = digests_of(new, after[path], lengths)
            changed.update(
                (digest.encode(), now[algorithm].encode())
                for algorithm, digest in was[path].items()
            )

        for path in covering.changed:
            renew_digests(path)
        written = dict(texts)
        # A list may cover others, in any order.
        for _ in lists:
            renewed = {path: replaced(text, changed) for path, text in texts.items()}
            if renewed == written:
                break
            for path in [path for path in lists if renewed[path] != written[path]]:
                write_content(new, after[path], renewed[path])
                renew_digests(path)
            written = renewed


def implant(image: Image, target: Path) -> None:
    """Implant the digest of an ISO, as Fedora's tool does."""
    with image.path.open("rb") as stream:
        stream.seek(IMPLANTED_OFFSET_BYTES)
        supported = SUPPORTED in stream.read(IMPLANTED_BYTES)
    run(
        [
            *("implantisomd5", "--force"),
            *(["--supported-iso"] if supported else []),
            target,
        ]
    )


def read_texts(
    image: Path, stream: BinaryIO, files: Mapping[bytes, Sequence[Region]]
) -> dict[bytes, bytes]:
    """Return the content of the text files of an ISO, by path.

    Args:
        image: For an error.
        stream: The ISO.
        files: Its files.

    Raises:
        InputError: They are larger than :data:`ALL_TEXTS_BYTES`.
    """
    found: dict[bytes, bytes] = {}
    contents: dict[tuple[tuple[int, int], ...], bytes] = {}
    room_bytes = ALL_TEXTS_BYTES
    for path, regions in files.items():
        if sum(region.length_bytes for region in regions) > LARGEST_LIST_BYTES:
            continue
        place = tuple((region.offset_bytes, region.length_bytes) for region in regions)
        if place not in contents:
            stream.seek(regions[0].offset_bytes)
            if b"\0" in stream.read(min(TEXT_BYTES, regions[0].length_bytes)):
                continue
            contents[place] = content_of(stream, regions)
            room_bytes -= len(contents[place])
            if room_bytes < 0:
                raise InputError(
                    f"{image}: its text files are larger than {ALL_TEXTS_BYTES} bytes together, "
                    "too large to search for checksums",
                    hint="reorder the file system by itself, and put it into the image",
                )
        found[path] = contents[place]
    return found


def digests_of(
    stream: BinaryIO, regions: Iterable[Region], lengths: Iterable[int]
) -> dict[str, str]:
    """Return the digests of a file in an image, by algorithm.

    Args:
        stream: The image.
        regions: Where the file lies.
        lengths: Lengths in hexadecimal of the wanted digests.
    """
    states = {
        name: hashlib.new(name, usedforsecurity=False)
        for length in lengths
        for name in ALGORITHMS.get(length, ())
    }
    for data in content_pieces(stream, regions) if states else ():
        for state in states.values():
            state.update(data)
    return {name: state.hexdigest() for name, state in states.items()}


def holds_any(text: bytes, digests: Sequence[bytes]) -> bool:
    """Return whether a text holds one of some digests, in small or capital letters."""
    return not {found.lower() for found in DIGEST.findall(text)}.isdisjoint(digests)


def replaced(text: bytes, changed: Mapping[bytes, bytes]) -> bytes:
    """Return a text with other digests, in letters of the same kind."""

    def other(found: re.Match[bytes]) -> bytes:
        digest = found[0]
        now = changed.get(digest.lower(), digest)
        return now.upper() if digest.isupper() else now

    return DIGEST.sub(other, text)


def content_of(stream: BinaryIO, regions: Sequence[Region]) -> bytes:
    """Return the content of a file of an ISO."""
    return b"".join(content_pieces(stream, regions))


def write_content(stream: BinaryIO, regions: Sequence[Region], content: bytes) -> None:
    """Write the content of a file of an ISO, of the same length, in its place."""
    for region in regions:
        stream.seek(region.offset_bytes)
        stream.write(content[: region.length_bytes])
        content = content[region.length_bytes :]
