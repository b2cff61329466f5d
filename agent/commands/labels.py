"""What a classifier's classes are called: from a file, or timm's names for ImageNet."""

from __future__ import annotations

from pathlib import Path

from splitd.calibration.chain import ChainDescription
from splitd.errors import InputError, UsageError

IMAGENET_CLASSES = 1000
MAX_FILE_BYTES = 16 << 20
MAX_CHARACTERS = 256  # as many as a bundle's reader takes


def find_labels(description: ChainDescription, file: Path | None) -> tuple[str, ...] | None:
    """Return the names in `file`; without one, ImageNet's for a timm model of 1000 classes, None for all others.

    A model's name without a colon or suffix is timm's, and timm's classifiers of that size are ImageNet's.

    Raises:
        InputError: The file cannot be read.
        UsageError: It has another number of names than the network has classes.
    """
    classes = description.outputs[0].per_sample[-1] if description.outputs[0].per_sample else 0
    if file is not None:
        return _from_file(file, classes)
    timm_name = description.model.isidentifier() or "." in description.model
    is_own = ":" in description.model or description.model.endswith(".pt2")
    return _imagenet() if classes == IMAGENET_CLASSES and timm_name and not is_own else None


def _from_file(file: Path, classes: int) -> tuple[str, ...]:
    try:
        with file.open(encoding="utf-8") as lines:
            labels = tuple(line.strip() for line in lines.read(MAX_FILE_BYTES).splitlines())
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{file}: the labels cannot be read: {error}") from error
    if len(labels) != classes:
        raise UsageError(f"{file}: {len(labels)} labels, one on each line, but the network has {classes} classes")
    for number, label in enumerate(labels, start=1):
        if len(label) > MAX_CHARACTERS or not label.isprintable():
            raise UsageError(f"{file}:{number}: a label has at most {MAX_CHARACTERS} printable characters")
    return labels


def _imagenet() -> tuple[str, ...]:
    from timm.data.imagenet_info import ImageNetInfo  # noqa: PLC0415 - commands that only read bundles import this room

    info = ImageNetInfo("imagenet-1k")
    return tuple(info.index_to_description(index) for index in range(IMAGENET_CLASSES))
