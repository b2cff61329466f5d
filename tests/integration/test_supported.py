"""README's tables of what runs and what does not, row by row."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from PIL import Image
from torch import nn
from torch.utils._pytree import tree_leaves

from splitd import pack_inputs
from splitd.agent.client.documents import AgentStatus
from splitd.agent.client.protocol import Item, Request, decode_request, encode_request, kind_of
from splitd.agent.device.batcher import Job
from splitd.agent.device.inputs import Inputs
from splitd.calibration.chain import Engine
from splitd.calibration.images import normalise, prepare_image
from splitd.calibration.model import ModelSpec, load_model
from splitd.calibration.model.quantised import unpacked
from splitd.calibration.torch_chain import TorchRunner, TorchSource, export_segment, open_torch
from splitd.errors import InputError, ModelError, RemoteError
from splitd.native import crossing
from tests.source_tree import ROOT
from tests.support import kinds
from tests.support.daemons import Pair

FILTERS = pytest.mark.filterwarnings("ignore:.*torch.ao.quantization is deprecated.*")
RNG = np.random.default_rng(5)
PREPARED = "none"


def file(kind: str = "PNG", mode: str = "RGB") -> bytes:
    buffer = io.BytesIO()
    shape = (50, 40, 3) if mode == "RGB" else (50, 40)
    Image.fromarray(RNG.integers(0, 256, shape).astype(np.uint8)).save(buffer, kind)
    return buffer.getvalue()


def pixels(*shape: int) -> np.ndarray:
    return RNG.integers(0, 256, shape).astype(np.uint8)


def floats(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape).astype(np.float32)


def whole(most: int, *shape: int) -> np.ndarray:
    return RNG.integers(0, most, shape)


@dataclass(frozen=True)
class Kind:
    """One row: how the network is named (in a folder for its files), what is handed in, and the eager network.

    `values` makes the eager network's inputs of prepared ones, where these are not one float32 tensor. `tolerance` is
    relative to the largest output: 0 for equal bits with torch.
    """

    name: Callable[[Path], str]
    items: Sequence[Item]
    eager: Callable[[], nn.Module] | None = None
    values: Callable[[np.ndarray], tuple[torch.Tensor, ...]] = lambda batch: (torch.from_numpy(batch),)
    tolerance: float = 0.0


def function(name: str) -> Callable[[Path], str]:
    return lambda _: f"tests.support.kinds:{name}"


def program(make: Callable[[], nn.Module], preprocessing: str | None = None) -> Callable[[Path], str]:
    shape = (3, kinds.SIDE, kinds.SIDE)
    return lambda home: str(kinds.save_program(make(), home / "own.pt2", shape, preprocessing))


def two(packed: np.ndarray) -> tuple[torch.Tensor, ...]:
    rows = torch.from_numpy(packed)
    return rows[:, :-2].reshape(-1, 3, kinds.SIDE, kinds.SIDE), rows[:, -2:].to(torch.int64)


IMAGES = (file(), file("JPEG"))
SHAPE = (3, kinds.SIDE, kinds.SIDE)
SUPPORTED = {
    "timm network": Kind(lambda _: "test_resnet", IMAGES),
    "module with preprocessing": Kind(function("images"), IMAGES, kinds.images),
    "module without preprocessing": Kind(function("tensors"), (floats(*SHAPE), floats(*SHAPE)), kinds.tensors),
    "grey images": Kind(function("grey"), (file(mode="L"), file("JPEG")), kinds.grey),
    "many channels": Kind(function("five_channels"), (pixels(50, 40, 5), pixels(32, 32, 5)), kinds.five_channels),
    "exported program": Kind(
        program(kinds.images, '{"mean": [0.5, 0.5, 0.5], "std": [0.25, 0.25, 0.25]}'), IMAGES, kinds.images
    ),
    "tokens": Kind(
        function("tokens"),
        (whole(50_000, 12), whole(50_000, 12)),
        kinds.tokens,
        lambda b: (torch.from_numpy(b).long(),),
    ),
    "sound": Kind(function("sound"), (floats(800), floats(800)), kinds.sound),
    "several inputs": Kind(
        function("two_inputs"), [pack_inputs(floats(*SHAPE), whole(7, 2)) for _ in range(2)], kinds.two_inputs, two
    ),
    "several outputs": Kind(function("several_outputs"), IMAGES, kinds.several_outputs),
    "pruned weights": Kind(function("pruned"), IMAGES, kinds.pruned),
    "pruned channels": Kind(function("pruned_channels"), IMAGES, kinds.pruned_channels),
    "dynamically quantised layers": Kind(
        function("dynamically_quantised"), IMAGES, kinds.dynamically_quantised, tolerance=0.02
    ),
    "statically quantised layers": Kind(
        function("statically_quantised"), IMAGES, kinds.statically_quantised, tolerance=0.05
    ),
    "quantised program": Kind(
        program(lambda: unpacked(kinds.statically_quantised())),
        (floats(*SHAPE), floats(*SHAPE)),
        lambda: unpacked(kinds.statically_quantised()),
    ),
}
REFUSED = {
    "rows that depend on the values": "data_dependent_rows",
    "control flow that depends on the values": "branching",
    "one batch size only": "fixed_batch",
    "one output for the whole batch": "one_for_all",
    "samples that depend on each other": "mixed_samples",
    "state between calls": "keeps_state",
    "several inputs that are not declared": "undeclared",
    "torch.ao's FX mode": "quantised_by_fx",
}


def rows(title: str) -> dict[str, str]:
    """README's table whose second column has this title: the first cell without brackets, and the second."""
    section = (ROOT / "README.md").read_text().partition("\n## What runs\n")[2].partition("\n## ")[0]
    table = section.partition(f"| network | {title} |")[2].partition("\n\n")[0]
    found = re.findall(r"^\| ([^|]+?) \| ([^|]+?) \|", table, flags=re.MULTILINE)
    return {first.split(" (")[0]: second for first, second in found}


def test_the_tables_and_this_list_name_the_same() -> None:
    assert rows("named").keys() == SUPPORTED.keys()
    assert rows("the reason given").keys() == REFUSED.keys()


@FILTERS
@pytest.mark.parametrize("row", rows("named"))
def test_what_the_table_lists_runs_at_every_split(row: str, tmp_path: Path) -> None:
    kind = SUPPORTED[row]
    source = open_torch(ModelSpec(kind.name(tmp_path)), cuts="all")
    source.verify()
    engine = Engine(source.description, TorchRunner(source.partition, source.device))
    engine.verify()
    batch = handed_in(kind.items, engine)
    values = normalise(batch, engine.preprocessing) if batch.dtype == np.uint8 else batch
    module = kind.eager().eval() if kind.eager is not None else source.loaded.module
    with torch.inference_mode():
        expected = [output.numpy() for output in tree_leaves(module(*kind.values(values)))]
    assert engine.last > 2
    for k in range(engine.last + 1):
        crossed = as_sent(engine.to_arrays(engine.head(k, engine.to_input(batch))))
        check(engine.tail(k, engine.from_arrays(crossed)), expected, kind.tolerance)
    check(onnx_outputs(source, values), expected, kind.tolerance + 1e-5)


def handed_in(items: Sequence[Item], engine: Engine) -> np.ndarray:
    """What the agent makes of an application's request, which went through the local protocol."""
    request = Request(1, kind_of(items[0]), tuple(items), None)
    received = decode_request([bytes(frame) for frame in encode_request(request)])
    inputs = Inputs([Job(b"app", received, 0.0, 1.0)], engine)
    batch = inputs.prepared()
    assert not inputs.rejected
    return batch


def as_sent(arrays: Sequence[np.ndarray]) -> tuple[np.ndarray, ...]:
    """The arrays once they crossed the link without loss."""
    tensors = crossing.tensors_of([array for array in arrays if array.dtype == np.float32], "f32")
    pieces = list(crossing.encode(tensors, "f32"))
    chunks = [[piece for piece in pieces if piece.tensor_index == i] for i in range(len(tensors))]
    decoded = iter(crossing.decode(tensors, chunks))
    return tuple(next(decoded) if array.dtype == np.float32 else array for array in arrays)


def onnx_outputs(source: TorchSource, values: np.ndarray) -> Sequence[np.ndarray]:
    live: Sequence[Any] = (values,)
    for i in range(source.partition.K):
        session = onnxruntime.InferenceSession(export_segment(source.partition, i))
        live = session.run(None, dict(zip((one.name for one in session.get_inputs()), live, strict=True)))
    return live


def check(found: Sequence[np.ndarray], expected: Sequence[np.ndarray], tolerance: float) -> None:
    assert [array.shape for array in found] == [array.shape for array in expected]
    for array, reference in zip(found, expected, strict=True):
        assert np.abs(array - reference).max() <= tolerance * np.abs(reference).max()


@FILTERS
@pytest.mark.parametrize(("row", "reason"), rows("the reason given").items())
def test_what_does_not_run_is_refused_in_one_line_with_that_reason(
    row: str, reason: str, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(ModelError, match=re.escape(reason)) as refusal:
        load_model(ModelSpec(f"tests.support.kinds:{REFUSED[row]}"))
    assert "\n" not in str(refusal.value)
    assert len(str(refusal.value)) < 500
    assert capfd.readouterr() == ("", "")


def test_without_preprocessing_images_are_refused_and_the_key_is_named() -> None:
    source = open_torch(ModelSpec("tests.support.kinds:tensors"))
    engine = Engine(source.description, TorchRunner(source.partition, source.device))
    inputs = Inputs([Job(b"app", Request(1, "encoded", (file(),), None), 0.0, 1.0)], engine)
    with pytest.raises(InputError):
        inputs.prepared()
    assert "model.preprocessing" in str(inputs.rejected[0][1])


@pytest.fixture(scope="module")
def token_pair(tmp_path_factory: pytest.TempPathFactory) -> Any:
    model = {"model": {"name": "tests.support.kinds:tokens"}}
    pair = Pair(tmp_path_factory.mktemp("tokens"), agent=model, server=model).start()
    yield pair
    pair.stop()


@pytest.mark.parametrize("cut", ["input", "output"])
def test_tokens_run_through_both_daemons(token_pair: Pair, cut: str) -> None:
    tokens = whole(50_000, 3, 12)
    token_pair.agent.control.post("pin", cut=cut)
    with token_pair.client() as client:
        result = client.infer(tokens)
    assert result.split == cut
    with torch.inference_mode():
        expected = kinds.tokens()(torch.from_numpy(tokens)).numpy()
    assert np.allclose(result.outputs[0], expected, rtol=1e-4, atol=1e-6)


def test_the_status_says_that_there_is_no_preprocessing(token_pair: Pair) -> None:
    status = token_pair.agent.control.get(AgentStatus)
    assert status.model.input == (12,)
    assert status.model.preprocessing is None
    with token_pair.client() as client, pytest.raises(RemoteError, match=r"model\.preprocessing"):
        client.infer(file())


def test_pixels_of_another_number_of_channels_are_refused() -> None:
    with pytest.raises(InputError, match=r"height, width, 5"):
        prepare_image(pixels(40, 40, 3), kinds.five_channels().preprocessing)
