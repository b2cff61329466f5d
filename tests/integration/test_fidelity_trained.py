"""Accuracy on a network that has learnt something, so that agreement means something.

A small EfficientNet learns the direction of waves that lie over generated scenes; then the guard judges the codecs on
images that it has not seen.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import pytest
import torch
from PIL import Image
from timm.models._efficientnet_builder import decode_arch_def
from timm.models.efficientnet import EfficientNet
from torch import nn

from splitd.calibration.accuracy.guard import AccuracySettings, Guard, obtain_guard
from splitd.calibration.images.preprocess import Preprocessing, normalise
from splitd.calibration.images.samples import generated_images
from splitd.calibration.model.graph import export_graph, find_cuts
from splitd.calibration.model.models import LoadedModel, ModelSpec
from splitd.calibration.torch_chain import Partition
from splitd.native import crossing
from tests.support.chains import engine_of

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

SIDE = 32
CLASSES = 8
SAMPLES = 256
STEPS = 150
PREPROCESSING = Preprocessing.imagenet((3, SIDE, SIDE))
CODECS = ("f32", "f16", "u8", "u8h", "u6h", "u4h", "raw", "jpeg95", "jpeg2")
BLOCKS = [["ds_r1_k3_s1_e1_c8_se0.25"], ["ir_r2_k3_s2_e4_c16_se0.25"], ["ir_r2_k3_s2_e4_c24_se0.25"]]

Labelled = tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]


def labelled_images(count: int, seed: int, strength: float = 30) -> Labelled:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, CLASSES, count)
    direction = (labels * np.pi / CLASSES)[:, None, None]
    phase = rng.uniform(0, 2 * np.pi, count)[:, None, None]
    y, x = np.mgrid[:SIDE, :SIDE]
    waves = np.sin(0.9 * (np.cos(direction) * x + np.sin(direction) * y) + phase)
    scenes = generated_images(count, SIDE, SIDE, seed=seed).astype(np.float64)
    return np.clip(scenes + strength * waves[..., None], 0, 255).astype(np.uint8), labels


def train() -> nn.Module:
    images, labels = labelled_images(1024, seed=1)
    inputs, targets = torch.from_numpy(normalise(images, PREPROCESSING)), torch.from_numpy(labels)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model: nn.Module = EfficientNet(decode_arch_def(BLOCKS), num_classes=CLASSES, stem_size=8, num_features=64)
        optimiser = torch.optim.AdamW(model.parameters(), 3e-3)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 8e-3, total_steps=STEPS)
        for _ in range(STEPS):
            chosen = torch.randint(0, len(inputs), (32,))
            loss = nn.functional.cross_entropy(model(inputs[chosen]), targets[chosen])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
    return model.eval()


@pytest.fixture(scope="module")
def loaded() -> Iterator[LoadedModel]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    model = train()
    yield LoadedModel(ModelSpec("trained"), model, export_graph(model, PREPROCESSING.size), PREPROCESSING, "d" * 32)
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def partition(loaded: LoadedModel) -> Partition:
    return Partition(loaded, find_cuts(loaded.graph, "block"))


@pytest.fixture(scope="module")
def unseen() -> Labelled:
    """Fainter waves than those learnt from, so that some images are close calls, as with real photographs."""
    return labelled_images(SAMPLES, seed=2, strength=18)


@pytest.fixture(scope="module")
def guard(loaded: LoadedModel, unseen: Labelled, tmp_path_factory: pytest.TempPathFactory) -> Guard:
    samples = tmp_path_factory.mktemp("samples")
    for index, image in enumerate(unseen[0]):
        Image.fromarray(image).save(samples / f"{index:04}.png")
    settings = AccuracySettings(CODECS, min_agreement=0.99, samples=str(samples))
    return obtain_guard(engine_of(loaded, find_cuts(loaded.graph, "block")), settings, state_dir=samples / "state")


def test_the_network_has_learnt_its_task(partition: Partition) -> None:
    images, labels = labelled_images(SAMPLES, seed=3)
    (logits,) = partition.tail(0, (torch.from_numpy(normalise(images, PREPROCESSING)),))
    assert float((logits.argmax(1).numpy() == labels).mean()) > 0.9


def test_four_bits_are_refused_where_eight_are_accepted(guard: Guard, partition: Partition) -> None:
    cuts = range(1, partition.K)
    telling = [k for k in cuts if guard.refusal(k, "u4h") is not None and guard.refusal(k, "u8h") is None]
    assert telling
    refusal = guard.refusal(telling[0], "u4h")
    assert refusal is not None
    assert "is below 0.99" in refusal
    assert f"/{SAMPLES}" in refusal


def test_a_rough_jpeg_agrees_less_than_a_fine_one_and_is_refused_where_the_raw_image_is_not(guard: Guard) -> None:
    assert guard.refusal(0, "jpeg2") is not None
    assert guard.refusal(0, "raw") is None
    assert guard.report is not None
    assert guard.report.results[0, "jpeg95"].agreement > guard.report.results[0, "jpeg2"].agreement


def test_lossless_codecs_and_half_precision_stay(guard: Guard, partition: Partition) -> None:
    for k in range(1, partition.K):
        assert guard.refusal(k, "f32") is None
        assert guard.refusal(k, "f16") is None


def test_fewer_bits_are_noisier_and_move_the_outputs_further(guard: Guard, partition: Partition) -> None:
    assert guard.report is not None
    for k in range(1, partition.K):
        found = [guard.report.results[k, label] for label in ("f16", "u8", "u6h", "u4h")]
        ratios, errors = [f.snr_db for f in found], [f.relative_error for f in found]
        assert ratios == sorted(ratios, reverse=True)
        assert errors == sorted(errors)


def test_entropy_coding_loses_nothing(guard: Guard, partition: Partition) -> None:
    assert guard.report is not None
    for k in range(1, partition.K):
        assert guard.report.results[k, "u8h"] == guard.report.results[k, "u8"]


def test_the_figures_are_those_of_a_direct_computation(guard: Guard, partition: Partition, unseen: Labelled) -> None:
    x = torch.from_numpy(normalise(unseen[0], PREPROCESSING))
    (expected,) = partition.tail(0, (x,))
    live = [tensor.numpy() for tensor in partition.head(2, x)]
    received = [crossing.decode([array], [list(crossing.encode([array], "u4h"))])[0] for array in live]
    (outputs,) = partition.tail(2, [torch.from_numpy(array) for array in received])
    assert guard.report is not None
    found = guard.report.results[2, "u4h"]
    # Batches of eight and of all images may differ in the last bit of an output, so one close call may too.
    assert abs(found.agreeing - int((outputs.argmax(1) == expected.argmax(1)).sum())) <= 1
    assert found.samples == SAMPLES
    assert found.relative_error == pytest.approx(float((outputs - expected).norm() / expected.norm()), rel=1e-3)
    noise = sum(float(np.sum((a.astype(float) - b) ** 2)) for a, b in zip(live, received, strict=True))
    signal = sum(float(np.sum(a.astype(float) ** 2)) for a in live)
    assert found.snr_db == pytest.approx(10 * np.log10(signal / noise), abs=0.05)
