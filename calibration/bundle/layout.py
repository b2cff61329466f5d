"""The bytes of a bundle: a header, a manifest, and the parts that it lists. Sans-IO.

docs/bundle.md is the one-page spec.

A manifest says how long each part is, never where it lies: parts follow one another at multiples of ALIGNMENT, so none
can overlap, hide in a gap or be read twice. Every byte of a file is covered by a checksum or must be zero.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import xxhash

from splitd.calibration.profile import untrusted
from splitd.errors import ModelError, ProfileError

MAGIC = b"SPLITDNN"
FORMAT = 1
ALIGNMENT = 64
# magic, format, bytes of the manifest, bytes of the file, xxh3_128 of the manifest, zeros
HEADER = struct.Struct("<8sIIQ16s24x")
# A hundred thousand class names stay below this; it is the only length that is believed before a checksum has matched.
MAX_MANIFEST_BYTES = 16 << 20
MAX_PART_BYTES = (1 << 31) - 1  # protobuf's own limit for a message
MAX_PARTS = 4096  # untrusted.MAX_ITEMS: segments of the deepest network at granularity `op`, twice over
DIGEST_DIGITS = 32


@dataclass(frozen=True)
class BundlePart:
    """One part of a file: its name, its length in bytes, and the xxh3_128 of its bytes in hex digits."""

    name: str
    size: int
    checksum: str


@dataclass(frozen=True)
class Layout:
    """What header and manifest say, checked against each other.

    `description` and `made_with` are the manifest's own values, unread; `samples` is the number of reference samples;
    `offsets` are the parts' first bytes, `size` the length of the file, `digest` the digest of the whole file.
    """

    description: object
    made_with: object
    samples: int
    parts: tuple[BundlePart, ...]
    offsets: tuple[int, ...]
    size: int
    digest: str


def checksum(data: bytes | memoryview) -> str:
    """Return the xxh3_128 of some bytes, in hex digits."""
    return xxhash.xxh3_128_hexdigest(data)


def padding(end: int) -> int:
    """Return how many zeros follow what ends at `end`."""
    return -end % ALIGNMENT


def write_front(
    description: Mapping[str, Any], made_with: Mapping[str, str], samples: int, parts: Sequence[BundlePart]
) -> bytes:
    """Return header, manifest and the zeros up to the first part.

    Raises:
        ModelError: There are too many parts, or one is too large, to be read again.
    """
    listed = [{"name": part.name, "bytes": part.size, "xxh3_128": part.checksum} for part in parts]
    manifest = json.dumps(
        {"description": description, "made_with": made_with, "samples": samples, "parts": listed},
        separators=(",", ":"),
        sort_keys=True,
        allow_nan=False,
    ).encode()
    _check_limits(len(manifest), parts)
    *_, end = _offsets(len(manifest), parts)
    header = HEADER.pack(MAGIC, FORMAT, len(manifest), end, xxhash.xxh3_128_digest(manifest))
    return header + manifest + bytes(padding(HEADER.size + len(manifest)))


def manifest_bytes(header: bytes, file_size: int) -> int:
    """Return how long the manifest is that follows this header, in a file of `file_size` bytes.

    Raises:
        ModelError: It is no bundle, of another format, truncated, or its lengths contradict each other.
    """
    if len(header) < HEADER.size or not header.startswith(MAGIC):
        raise ModelError("this is no bundle: it does not begin with its magic bytes")
    _, version, length, size, manifest_checksum = HEADER.unpack(header)
    if version != FORMAT:
        raise ModelError(f"it has format {version}, this splitd reads {FORMAT}: export it with the splitd that runs it")
    if header != HEADER.pack(MAGIC, version, length, size, manifest_checksum):
        raise ModelError("its header has bytes that must be zero")
    if size != file_size:
        raise ModelError(f"it has {file_size} bytes, its header says {size}: it is truncated, or has grown")
    if not 0 < length <= min(MAX_MANIFEST_BYTES, size - HEADER.size):
        raise ModelError(f"its manifest would have {length} bytes")
    return int(length)


def read_front(header: bytes, manifest: bytes) -> Layout:
    """Return what a header that `manifest_bytes` has accepted and its manifest say.

    Raises:
        ModelError: The manifest is damaged, or lists parts that are not possible.
    """
    *_, size, manifest_checksum = HEADER.unpack(header)
    if xxhash.xxh3_128_digest(manifest) != manifest_checksum:
        raise ModelError("its manifest is damaged: the checksum does not match")
    try:
        values = json.loads(manifest, parse_constant=_refuse_constant)
        found = _exactly(values, {"description", "made_with", "samples", "parts"}, "manifest")
        samples = untrusted.whole(found["samples"], "samples", most=untrusted.MAX_ITEMS)
        parts = tuple(_part(item) for item in untrusted.items(found["parts"], "parts", most=MAX_PARTS))
    except (ValueError, RecursionError, ProfileError) as error:
        raise ModelError(f"its manifest is not valid: {error}") from error
    names = [part.name for part in parts]
    if twice := next((name for name, after in pairwise(sorted(names)) if name == after), None):
        raise ModelError(f"its manifest lists part {twice} twice")
    *offsets, end = _offsets(len(manifest), parts)
    if end != size:
        raise ModelError(f"its parts would make {end} bytes, its header says {size}")
    digest = checksum(header + manifest)
    return Layout(found["description"], found["made_with"], samples, parts, tuple(offsets), size, digest)


def _offsets(manifest_length: int, parts: Sequence[BundlePart]) -> list[int]:
    """Return where each part begins, and the end of the file: that of the last part with its zeros."""
    end = HEADER.size + manifest_length
    offsets = [end + padding(end)]
    for part in parts:
        end = offsets[-1] + part.size
        offsets.append(end + padding(end))
    return offsets


def _check_limits(manifest_length: int, parts: Sequence[BundlePart]) -> None:
    if manifest_length > MAX_MANIFEST_BYTES:
        raise ModelError(f"a manifest of {manifest_length} bytes is over the limit of {MAX_MANIFEST_BYTES}")
    if len(parts) > MAX_PARTS:
        raise ModelError(f"{len(parts)} parts are over the limit of {MAX_PARTS}: cut the network at fewer places")
    for part in parts:
        if not 0 < part.size <= MAX_PART_BYTES:
            raise ModelError(
                f"{part.name} has {part.size} bytes, the limit is {MAX_PART_BYTES}: cut it into more segments"
            )


def _part(value: object) -> BundlePart:
    found = _exactly(value, {"name", "bytes", "xxh3_128"}, "part")
    name = untrusted.text(found["name"], "part")
    size = untrusted.whole(found["bytes"], f"{name}.bytes", least=1, most=MAX_PART_BYTES)
    digits = untrusted.text(found["xxh3_128"], f"{name}.xxh3_128")
    if len(digits) != DIGEST_DIGITS:
        raise ProfileError(f"{name}.xxh3_128: expected {DIGEST_DIGITS} hex digits")
    return BundlePart(name, size, digits)


def _exactly(value: object, keys: set[str], name: str) -> Mapping[str, Any]:
    found = untrusted.mapping(value, name)
    if set(found) != keys:
        raise ProfileError(f"{name}: expected the fields {', '.join(sorted(keys))}")
    return found


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")
