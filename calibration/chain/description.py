"""A chain in words and numbers: which network, where it is cut, what crosses there. Data only; JSON both ways."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from splitd.calibration.images import Preprocessing
from splitd.calibration.profile import MAX_POSITIONS, MAX_TEXT, untrusted
from splitd.errors import ModelError, ProfileError

# A description comes in files and over the link: these bound what it may take.
MAX_LIVE = 256  # tensors live at one cut; a DenseNet-121 has 13 at most, one that concatenates everything some 60
MAX_RANK = 8
MAX_ELEMENTS = 1 << 32  # of one sample at one cut; 16 GB as float32
MAX_LABELS = 1 << 16
MAX_CHANNELS = 4096
DTYPES = ("float32", "float16", "int64", "int32", "int8", "uint8", "bool")


@dataclass(frozen=True)
class TensorSpec:
    """One tensor that crosses: `fixed` are its dimensions at batch 1, `axis` the one that grows with the batch.

    That dimension may hold several rows for each sample (Swin folds its windows into the batch): `fixed[axis]` is the
    number. `axis` is None where nothing grows.
    """

    fixed: tuple[int, ...]
    axis: int | None = 0
    dtype: str = "float32"

    def at(self, batch: int) -> tuple[int, ...]:
        """Return the whole shape for `batch` samples."""
        return tuple(size * batch if i == self.axis else size for i, size in enumerate(self.fixed))

    @property
    def per_sample(self) -> tuple[int, ...]:
        """The shape of one sample: without the batch dimension, which stays only where it holds several rows each."""
        if self.axis is None or self.fixed[self.axis] != 1:
            return self.fixed
        return self.fixed[: self.axis] + self.fixed[self.axis + 1 :]

    @property
    def elements(self) -> int:
        """Elements per sample."""
        return math.prod(self.fixed)

    def to_json(self) -> dict[str, Any]:
        """Return the fields as JSON values."""
        return {"fixed": list(self.fixed), "axis": self.axis, "dtype": self.dtype}

    @classmethod
    def from_json(cls, value: object) -> TensorSpec:
        """Rebuild a tensor's shape from untrusted JSON; raises ProfileError."""
        sizes = untrusted.items(untrusted.field(value, "fixed", "tensor"), "tensor.fixed", most=MAX_RANK)
        fixed = tuple(untrusted.whole(size, "tensor.fixed", least=1, most=MAX_ELEMENTS) for size in sizes)
        axis, dtype = untrusted.field(value, "axis", "tensor"), untrusted.field(value, "dtype", "tensor")
        if math.prod(fixed) > MAX_ELEMENTS:
            raise ProfileError(f"tensor.fixed: more than {MAX_ELEMENTS} elements")
        if dtype not in DTYPES:
            raise ProfileError(f"tensor.dtype: expected one of {', '.join(DTYPES)}")
        known = None if axis is None else untrusted.whole(axis, "tensor.axis", most=len(fixed) - 1)
        return cls(fixed, known, dtype)


@dataclass(frozen=True)
class CutFacts:
    """What crosses at one k, per sample: `elements` |h_l|, `ratio` c_l = |h_l| / |x|, and which bottleneck it is."""

    elements: int
    ratio: float
    natural: bool
    compressive: bool

    @classmethod
    def from_json(cls, value: object) -> CutFacts:
        """Rebuild the facts of one cut from untrusted JSON; raises ProfileError."""
        flags = {name: untrusted.field(value, name, "cut") for name in ("natural", "compressive")}
        if not all(isinstance(flag, bool) for flag in flags.values()):
            raise ProfileError("cut.natural, cut.compressive: expected true or false")
        return cls(
            elements=untrusted.whole(untrusted.field(value, "elements", "cut"), "cut.elements", most=MAX_ELEMENTS),
            ratio=untrusted.number(untrusted.field(value, "ratio", "cut"), "cut.ratio", most=1e12),
            **flags,
        )


@dataclass(frozen=True)
class ChainDescription:
    """One network cut into segments. Split k = 0..K; segment i leads from split i to split i + 1.

    Attributes:
        digest: Of graph, weights and preprocessing: 32 hex digits.
        model: The network's name, for people.
        names: Of the cuts k = 0..K: `input`, the chosen cuts, `output`.
        cuts: Facts for k = 0..K; nothing crosses at K.
        crossing: The tensors at k = 0..K: the input, what is live at each cut, the outputs.
        head_share: Share of the network's multiplications that head(k) holds, for k = 0..K.
        preprocessing: How images become the input; None: only prepared tensors are taken.
        labels: What the classes are called, in the order of the first output; None where they have no names.
    """

    digest: str
    model: str
    names: tuple[str, ...]
    cuts: tuple[CutFacts, ...]
    crossing: tuple[tuple[TensorSpec, ...], ...]
    head_share: tuple[float, ...]
    preprocessing: Preprocessing | None = None
    labels: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        rows = {len(self.names), len(self.cuts), len(self.crossing), len(self.head_share)}
        if len(rows) != 1 or len(self.names) < 2 or not all(self.crossing):
            raise ModelError("chain: names, cuts, crossing and head_share must speak of the same positions k = 0..K")

    @property
    def last(self) -> int:
        """K, the index of no offloading, and the number of segments."""
        return len(self.names) - 1

    @property
    def input(self) -> TensorSpec:
        """The network's input."""
        return self.crossing[0][0]

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        """The network's outputs."""
        return self.crossing[-1]

    def batch_shapes(self, k: int, batch: int) -> tuple[tuple[int, ...], ...]:
        """Return the whole shapes of the tensors that cross at split k for `batch` samples."""
        return tuple(spec.at(batch) for spec in self.crossing[k])

    def to_json(self) -> dict[str, Any]:
        """Return a JSON document from which `from_json` makes an equal description."""
        return {
            "digest": self.digest,
            "model": self.model,
            "names": list(self.names),
            "cuts": [asdict(cut) for cut in self.cuts],
            "crossing": [[spec.to_json() for spec in specs] for specs in self.crossing],
            "head_share": list(self.head_share),
            "preprocessing": None if self.preprocessing is None else asdict(self.preprocessing),
            "labels": None if self.labels is None else list(self.labels),
        }

    @classmethod
    def from_json(cls, value: object) -> ChainDescription:
        """Rebuild a description from what a file or a peer said.

        Raises:
            ModelError: Anything is missing, of the wrong type, out of bounds, or does not fit the rest.
        """
        try:
            return cls(**_read(value))
        except ProfileError as error:
            raise ModelError(f"chain: {error}") from error


def _read(value: object) -> dict[str, Any]:
    def part(name: str) -> Any:
        return untrusted.field(value, name, "chain")

    def rows(name: str, most: int = MAX_POSITIONS) -> list[Any]:
        return untrusted.items(part(name), name, most=most)

    return {
        "digest": untrusted.text(part("digest"), "digest"),
        "model": untrusted.text(part("model"), "model"),
        "names": tuple(untrusted.text(name, "names") for name in rows("names")),
        "cuts": tuple(CutFacts.from_json(cut) for cut in rows("cuts")),
        "crossing": tuple(
            tuple(TensorSpec.from_json(one) for one in untrusted.items(specs, "crossing", most=MAX_LIVE))
            for specs in rows("crossing")
        ),
        "head_share": tuple(untrusted.number(share, "head_share", most=1.0) for share in rows("head_share")),
        "preprocessing": None if part("preprocessing") is None else _read_preprocessing(part("preprocessing")),
        "labels": None
        if part("labels") is None
        else tuple(untrusted.text(label, "labels") for label in rows("labels", MAX_LABELS)),
    }


def _read_preprocessing(value: object) -> Preprocessing:
    def numbers(name: str, most: float) -> Sequence[float]:
        found = untrusted.items(untrusted.field(value, name, "preprocessing"), name, most=MAX_CHANNELS)
        return [_signed(item, name, most) for item in found]

    sides = untrusted.items(untrusted.field(value, "size", "preprocessing"), "size", count=3)
    channels, height, width = (untrusted.whole(side, "size", least=1, most=MAX_ELEMENTS) for side in sides)
    return Preprocessing(
        size=(channels, height, width),
        mean=tuple(numbers("mean", 1e6)),
        std=tuple(numbers("std", 1e6)),
        interpolation=untrusted.text(untrusted.field(value, "interpolation", "preprocessing"), "interpolation"),
        crop_pct=untrusted.number(untrusted.field(value, "crop_pct", "preprocessing"), "crop_pct", most=1.0),
        crop_mode=untrusted.text(untrusted.field(value, "crop_mode", "preprocessing"), "crop_mode"),
    )


def _signed(value: object, name: str, most: float) -> float:
    """Return a finite number in -most..most; raises ProfileError."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= most:
        raise ProfileError(f"{name}: expected a number within {most:g}")
    return float(value)


def printable(text: str) -> str:
    """Return the text as a description may hold it: printable, and no longer than is read back."""
    return "".join(char for char in text if char.isprintable())[:MAX_TEXT]
