"""Opens a bundle and reads its parts; what is damaged or impossible is refused, with the file and what is wrong."""

from __future__ import annotations

import math
import os
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
import xxhash

from splitd.calibration.bundle.graphs import check_graph
from splitd.calibration.bundle.layout import HEADER, BundlePart, Layout, checksum, manifest_bytes, padding, read_front
from splitd.calibration.chain import Array, ChainDescription, TensorSpec
from splitd.calibration.profile import untrusted
from splitd.errors import ModelError, ProfileError

CODEBOOK = "codebook"
MAX_FACTS = 64
_BLOCK_BYTES = 1 << 20  # read at a time where only a checksum is wanted: a bundle may be larger than the memory


@dataclass(frozen=True)
class Reference:
    """A few samples of the network's input and its answers, as the torch network computed them.

    Whoever runs the bundle's graphs is held to `outputs`, one array per output; both have the samples first.
    """

    inputs: Array
    outputs: tuple[Array, ...]

    @property
    def samples(self) -> int:
        """Number of samples."""
        return len(self.inputs)


class Bundle:
    """An open bundle: a source of segments. See splitd.calibration.executors.SegmentSource.

    It holds no file open and no part in memory: each is read, and checked again, when it is asked for.

    Attributes:
        path: The file.
        description: The network, its cuts, what crosses there.
        made_with: The versions of what exported it, by name.
        samples: Number of reference samples; 0 where it has none.
        size: Bytes of the file.
        file_digest: xxh3_128 over header and manifest, which hold the checksums of all else: the whole file's.
    """

    def __init__(self, path: Path, layout: Layout) -> None:
        self.path = path
        self.description = ChainDescription.from_json(layout.description)
        self.made_with = _facts(layout.made_with)
        self.samples = layout.samples
        self.size = layout.size
        self.file_digest = layout.digest
        self._places = {part.name: (part, offset) for part, offset in zip(layout.parts, layout.offsets, strict=True)}
        _check_parts(self.description, layout)

    def onnx(self, i: int) -> bytes:
        """Return segment i as an ONNX model, which has been found to be of standard operators with its weights in it.

        Raises:
            ModelError: The file cannot be read or has changed since it was opened, or the graph is not of that kind.
        """
        model = self._read(segment_name(i))
        with _naming(self.path, segment_name(i)):
            check_graph(model)
        return model

    def torch_chain(self) -> None:
        """Return None: a bundle has its segments as ONNX only."""

    def reference(self) -> Reference | None:
        """Return the reference samples, None where it has none; raises ModelError as `onnx` does."""
        if not self.samples:
            return None
        names = reference_names(self.description)
        specs = (self.description.input, *self.description.outputs)
        arrays = [self._array(name, spec) for name, spec in zip(names, specs, strict=True)]
        return Reference(arrays[0], tuple(arrays[1:]))

    def codebook(self) -> bytes | None:
        """Return the codebook's bytes, None where it has none; raises ModelError as `onnx` does."""
        return self._read(CODEBOOK) if CODEBOOK in self._places else None

    def check_graphs(self) -> None:
        """Look at every segment's graph; raises ModelError for the first that a bundle may not hold."""
        for i in range(self.description.last):
            self.onnx(i)

    def _array(self, name: str, spec: TensorSpec) -> Array:
        found: Array = np.frombuffer(self._read(name), dtype=_little_endian(spec)).reshape(spec.at(self.samples))
        return found

    def _read(self, name: str) -> bytes:
        part, offset = self._places[name]
        with _naming(self.path, name), self.path.open("rb") as file:
            file.seek(offset)
            data = file.read(part.size)
            if checksum(data) != part.checksum:
                raise ModelError("it is damaged, or the file has changed: the checksum does not match")
        return data


def open_bundle(path: Path) -> Bundle:
    """Open a bundle and check every byte of it: lengths, counts, checksums, padding. Graphs are looked at when read.

    Nothing is allocated by what the file says before that has been found possible; parts go through a small buffer.

    Raises:
        ModelError: It cannot be read, is no bundle, or is truncated, damaged or impossible; names the file and why.
    """
    with _naming(path), os.fdopen(_open_regular(path), "rb") as file:
        header = file.read(HEADER.size)
        manifest = file.read(manifest_bytes(header, os.fstat(file.fileno()).st_size))
        layout = read_front(header, manifest)
        found = Bundle(path, layout)
        _check_zeros(file, HEADER.size + len(manifest), "manifest")
        for part in layout.parts:
            _check_part(file, part)
        return found


def segment_name(i: int) -> str:
    """Return the name of the part that is segment i."""
    return f"segment/{i}"


def reference_names(description: ChainDescription) -> tuple[str, ...]:
    """Return the names of the parts with reference samples: the input, then one for each output."""
    return ("reference/input", *(f"reference/output/{i}" for i in range(len(description.outputs))))


def _check_parts(description: ChainDescription, layout: Layout) -> None:
    """Refuse a manifest whose parts are not those that the description asks for, in their order and of their sizes."""
    wanted = [segment_name(i) for i in range(description.last)]
    if layout.samples:
        specs = (description.input, *description.outputs)
        sizes = {
            name: math.prod(spec.at(layout.samples)) * np.dtype(spec.dtype).itemsize
            for name, spec in zip(reference_names(description), specs, strict=True)
        }
        wanted += sizes
        for part in layout.parts:
            if part.size != sizes.get(part.name, part.size):
                raise ModelError(f"{part.name} has {part.size} bytes, {layout.samples} samples have {sizes[part.name]}")
    found = [part.name for part in layout.parts if part.name != CODEBOOK or part is not layout.parts[-1]]
    if missing := [name for name in wanted if name not in found]:
        raise ModelError(f"{missing[0]} is missing")
    if foreign := [name for name in found if name not in wanted]:
        raise ModelError(f"it has {foreign[0]}, which is no part of this network")
    if found != wanted:
        raise ModelError("its parts are not in their order")


def _check_part(file: BinaryIO, part: BundlePart) -> None:
    hasher = xxhash.xxh3_128()
    rest = part.size
    while rest:
        block = file.read(min(rest, _BLOCK_BYTES))
        if not block:
            raise ModelError(f"{part.name} is truncated")
        hasher.update(block)
        rest -= len(block)
    if hasher.hexdigest() != part.checksum:
        raise ModelError(f"{part.name} is damaged: the checksum does not match")
    _check_zeros(file, part.size, part.name)


def _check_zeros(file: BinaryIO, end: int, what: str) -> None:
    """Read the padding behind `end`, which is right for parts too: they begin at multiples of the alignment."""
    count = padding(end)
    if file.read(count) != bytes(count):
        raise ModelError(f"the padding behind {what} is not zero")


def _facts(value: object) -> Mapping[str, str]:
    try:
        found = untrusted.mapping(value, "made_with")
        facts = {untrusted.text(name, "made_with"): untrusted.text(fact, name) for name, fact in found.items()}
    except ProfileError as error:
        raise ModelError(str(error)) from error
    if len(facts) > MAX_FACTS:
        raise ModelError(f"made_with: more than {MAX_FACTS} facts")
    return facts


def _little_endian(spec: TensorSpec) -> np.dtype[np.generic]:
    return np.dtype(spec.dtype).newbyteorder("<")


def _open_regular(path: Path) -> int:
    """Open a file, never waiting for a pipe's other end; raises ModelError for what is no regular file."""
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise ModelError("it is no regular file")
    return handle


@contextmanager
def _naming(path: Path, what: str = "") -> Iterator[None]:
    """Put the file's name, and that of a part of it, before what is wrong with it."""
    place = f"{path}: {what}" if what else str(path)
    try:
        yield
    except ModelError as error:
        raise ModelError(f"{place}: {error}") from error
    except OSError as error:
        raise ModelError(f"{place}: it cannot be read ({error.strerror or error})") from error
    except MemoryError as error:
        raise ModelError(f"{place}: it does not fit into this machine's memory") from error
