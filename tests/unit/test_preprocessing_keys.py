"""`model.preprocessing` in the configuration: a preset's name, or fields; faults with their line."""

from __future__ import annotations

from pathlib import Path

import pytest

from splitd.agent.configuration.schema import ServerConfig, load_config
from splitd.agent.runtime.settings import preprocessing_choice
from splitd.calibration.images import PreprocessingChoice
from splitd.calibration.model import ModelSpec, load_model
from splitd.errors import ConfigError, ModelError

FREE = "tests.support.kinds:tensors"


def choice(text: str, home: Path) -> PreprocessingChoice | None:
    file = home / "server.yaml"
    file.write_text(f"bind: tcp://127.0.0.1:7571\nmodel:\n  preprocessing: {text}\n")
    return preprocessing_choice(load_config(file, ServerConfig).model.preprocessing)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("imagenet", PreprocessingChoice("imagenet")),
        ("none", PreprocessingChoice("none")),
        ("{preset: imagenet, crop_pct: 0.875}", PreprocessingChoice("imagenet", crop_pct=0.875)),
        ("{size: [1, 28, 28], mean: [0.1], std: [0.3]}", PreprocessingChoice(None, (1, 28, 28), (0.1,), (0.3,))),
        ("", None),
    ],
)
def test_a_preset_may_stand_alone(text: str, expected: PreprocessingChoice | None, tmp_path: Path) -> None:
    assert choice(text, tmp_path) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("cifar", r"server.yaml:3: model.preprocessing.preset: .*'imagenet' or 'none'"),
        ("{men: [0.1]}", r"server.yaml:3: model.preprocessing.men: unknown key; did you mean `mean`"),
        ("{preset: none, mean: [0.1]}", r"server.yaml:3: model.preprocessing: `none` has no mean"),
        ("{std: [0]}", r"server.yaml:3: model.preprocessing.std"),
        ("[1, 2]", r"server.yaml:3: model.preprocessing"),
    ],
)
def test_faults_are_told_with_their_line(text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=message):
        choice(text, tmp_path)


def test_it_is_part_of_the_digest() -> None:
    choices = [
        None,
        PreprocessingChoice("imagenet"),
        PreprocessingChoice("none"),
        PreprocessingChoice(mean=(0,) * 3, std=(1,) * 3),
    ]
    free, imagenet, none, own = (load_model(ModelSpec(FREE, preprocessing=one)) for one in choices)
    assert free.preprocessing is None
    assert free.digest == none.digest
    assert len({free.digest, imagenet.digest, own.digest}) == 3


def test_one_that_does_not_fit_the_network_is_refused() -> None:
    with pytest.raises(ModelError, match="takes no images"):
        load_model(ModelSpec("tests.support.kinds:tokens", preprocessing=PreprocessingChoice("imagenet")))
