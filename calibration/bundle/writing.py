"""Writes a bundle: whole or not at all, and never one that `open_bundle` would refuse."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from splitd.calibration.bundle.graphs import check_graph
from splitd.calibration.bundle.layout import BundlePart, checksum, padding, write_front
from splitd.calibration.bundle.reading import (
    CODEBOOK,
    Bundle,
    Reference,
    open_bundle,
    reference_names,
    segment_name,
)
from splitd.calibration.chain import ChainDescription
from splitd.errors import ModelError

MODE = 0o644  # no secrets: the daemons read what an administrator exported


def write_bundle(
    path: Path,
    description: ChainDescription,
    segments: Sequence[bytes],
    *,
    reference: Reference | None = None,
    codebook: bytes | None = None,
    made_with: Mapping[str, str] | None = None,
) -> Bundle:
    """Write a bundle, open it again, and put it in the place of what was at `path`.

    `segments` are ONNX models, one for each of the description's segments. The same arguments give the same bytes.

    Raises:
        ModelError: A graph is not of standard operators with its weights in it, something does not fit the
            description or a limit, or the file cannot be written; nothing is left behind then.
    """
    for i, model in enumerate(segments):
        try:
            check_graph(model)
        except ModelError as error:
            raise ModelError(f"{segment_name(i)}: {error}") from error
    contents = dict(_contents(description, segments, reference, codebook))
    parts = [BundlePart(name, len(data), checksum(data)) for name, data in contents.items()]
    samples = reference.samples if reference is not None else 0
    front = write_front(description.to_json(), made_with or {}, samples, parts)
    _replace(path, _padded((front, *contents.values())))
    return open_bundle(path)


def _contents(
    description: ChainDescription, segments: Sequence[bytes], reference: Reference | None, codebook: bytes | None
) -> Iterator[tuple[str, bytes]]:
    yield from ((segment_name(i), model) for i, model in enumerate(segments))
    if reference is not None:
        specs = (description.input, *description.outputs)
        arrays = (reference.inputs, *reference.outputs)
        for name, spec, array in zip(reference_names(description), specs, arrays, strict=True):
            yield name, array.astype(spec.dtype, order="C").tobytes()
    if codebook is not None:
        yield CODEBOOK, codebook


def _padded(contents: Iterable[bytes]) -> Iterator[bytes]:
    for data in contents:
        yield data
        yield bytes(padding(len(data)))


def _replace(path: Path, contents: Iterable[bytes]) -> None:
    try:
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    except OSError as error:
        raise ModelError(f"{path}: it cannot be written ({error.strerror or error})") from error
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.writelines(contents)
            file.flush()
            os.fchmod(file.fileno(), MODE)
            os.fsync(file.fileno())
        open_bundle(temporary)
        temporary.replace(path)
    except OSError as error:
        raise ModelError(f"{path}: it cannot be written ({error.strerror or error})") from error
    finally:
        temporary.unlink(missing_ok=True)
