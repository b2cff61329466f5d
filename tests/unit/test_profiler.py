"""Calibration measures a real chain: sums over real passes, real payloads, and a throttle that is really that slow."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from splitd.calibration.chain import Engine
from splitd.calibration.images.preprocess import Preprocessing
from splitd.calibration.images.samples import generated_images, load_samples, repeated
from splitd.calibration.measure.environment import device_name, power_mode, profile_key
from splitd.calibration.measure.profiler import calibrate
from splitd.calibration.model.graph import export_graph, find_cuts
from splitd.calibration.profile.key import Role
from splitd.calibration.profile.latency import LatencyProfile
from splitd.errors import CodecError, InputError
from splitd.native.plan import tensor_sent_bytes
from splitd.native.spec import parse
from tests.support.chains import engine_of, loaded_from

SIZE = (3, 48, 48)
CODECS = ("f32", "f16", "u8", "raw", "jpeg80")


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def engine() -> Engine:
    model = nn.Sequential(
        *(nn.Sequential(nn.Conv2d(c, 8, 3, padding=1, stride=2), nn.ReLU()) for c in (3, 8, 8)),
        nn.Sequential(nn.Flatten(), nn.Linear(8 * 36, 10)),
    ).eval()
    graph = export_graph(model, SIZE)
    shapes = {}
    for cut in find_cuts(graph, "op"):
        shapes.setdefault(cut.shapes, cut)
    return engine_of(loaded_from(model, graph, Preprocessing.imagenet(SIZE)), list(shapes.values())[:3])


def run(engine: Engine, *, role: Role = "device", throttle: float | None = None, repeats: int = 5) -> LatencyProfile:
    key = profile_key(
        engine.description, engine.runner, role=role, throttle=throttle, batch_sizes=(4, 1), codecs=CODECS
    )
    return calibrate(engine, key, repeats=repeats)


def test_heads_grow_and_tails_shrink_along_the_chain(engine: Engine) -> None:
    profile = run(engine)
    for batch in (1, 4):
        heads = [profile.head_s(k, batch) for k in range(engine.last + 1)]
        tails = [profile.tail_s(k, batch) for k in range(engine.last + 1)]
        assert heads[0] == tails[-1] == 0.0
        assert all(earlier < later for earlier, later in pairwise(heads))
        assert all(earlier > later for earlier, later in pairwise(tails))


def test_a_head_and_its_tail_of_one_pass_add_up_to_the_same_whole(engine: Engine) -> None:
    profile = run(engine)
    for turn in range(5):
        sums = [profile.head(k, 4).samples[turn] + profile.tail(k, 4).samples[turn] for k in range(1, engine.last + 1)]
        assert sums == pytest.approx([sums[0]] * len(sums))


def test_the_whole_chain_takes_as_long_as_running_it(engine: Engine) -> None:
    profile = run(engine, repeats=21)
    x = engine.from_arrays((np.zeros((4, *SIZE), np.float32),))
    samples = []
    for _ in range(21):
        started = time.perf_counter()
        engine.tail(0, x)
        samples.append(time.perf_counter() - started)
    assert 1 / 3 < profile.tail(0, 4).median / float(np.median(samples)) < 3


def test_wire_bytes_are_payload_and_headers_as_they_can_be_computed_beforehand(engine: Engine) -> None:
    profile = run(engine)
    for k in range(1, engine.last):
        shapes = engine.description.batch_shapes(k, 4)
        for label, value_bytes in (("f32", 4), ("f16", 2), ("u8", 1)):
            expected = sum(tensor_sent_bytes(shape, parse(label), value_bytes) for shape in shapes)
            assert profile.wire_bytes(k, label, 4) == expected
    assert profile.wire_bytes(0, "raw", 1) == tensor_sent_bytes((1, 48, 48, 3), parse("raw"), 1)
    assert profile.wire_bytes(0, "jpeg80", 4) < profile.wire_bytes(0, "raw", 4) / 2


def test_image_codecs_go_with_the_input_and_tensor_codecs_with_the_cuts(engine: Engine) -> None:
    profile = run(engine)
    assert profile.codecs_at(0) == ("raw", "jpeg80")
    assert all(profile.codecs_at(k) == ("f32", "f16", "u8") for k in range(1, engine.last))
    assert profile.codecs_at(engine.last) == ()


def test_a_device_is_measured_for_encoding_and_a_server_for_decoding(engine: Engine) -> None:
    device, server = run(engine), run(engine, role="server")
    assert device.heads is not None
    assert server.heads is None
    for cost in device.codecs.values():
        assert cost.encode is not None
        assert cost.decode is None
    for cost in server.codecs.values():
        assert cost.decode is not None
        assert cost.encode is None
    assert server.decode_s(0, "raw", 4) > 0
    again = LatencyProfile.from_json(server.to_json())
    assert again.tail_s(0, 2) == pytest.approx(server.tail_s(0, 2), rel=1e-3)


def test_a_throttled_device_is_as_slow_as_its_share_says(engine: Engine) -> None:
    full, throttled = run(engine, repeats=21), run(engine, throttle=0.1, repeats=21)
    assert 3 < throttled.head_s(engine.last, 4) / full.head_s(engine.last, 4) < 30
    assert full.throttle_ratio is None
    # A pass that forgot to idle would be at 0.1; a busy test machine, and caches gone cold, only make it longer.
    assert throttled.throttle_ratio is not None
    assert throttled.throttle_ratio > 0.5


def test_progress_runs_from_zero_to_one_without_going_back(engine: Engine) -> None:
    seen: list[float] = []
    key = profile_key(
        engine.description, engine.runner, role="device", throttle=None, batch_sizes=(1, 2), codecs=CODECS
    )
    calibrate(engine, key, repeats=3, progress=lambda done, _: seen.append(done))
    assert seen == sorted(seen)
    assert (seen[0], seen[-1]) == (0.0, 1.0)
    assert len(seen) > 10


def test_an_unknown_codec_is_refused(engine: Engine) -> None:
    key = profile_key(engine.description, engine.runner, role="device", throttle=None, batch_sizes=(1,), codecs=("u9",))
    with pytest.raises(CodecError, match="u9"):
        calibrate(engine, key, repeats=3)


def test_generated_images_repeat_by_seed_and_are_smooth_like_photographs() -> None:
    images = generated_images(2, 64, 96, seed=3)
    assert images.shape == (2, 64, 96, 3)
    assert images.dtype == np.uint8
    assert np.array_equal(images, generated_images(2, 64, 96, seed=3))
    assert not np.array_equal(images, generated_images(2, 64, 96, seed=4))
    step = np.abs(np.diff(images.astype(float), axis=1)).mean()
    spread = images.astype(float).std()
    assert spread > 20
    assert step < spread / 3


def test_fewer_images_than_a_batch_are_repeated() -> None:
    images = generated_images(2, 8, 8)
    assert np.array_equal(repeated(images, 5), images[[0, 1, 0, 1, 0]])


def test_samples_come_from_a_directory_in_the_order_of_names(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for name, level in (("b.png", 200), ("a.png", 100), ("c.png", 50)):
        Image.new("RGB", (60, 60), (level, level, level)).save(tmp_path / name)
    (tmp_path / "0-notes.txt").write_text("not an image")
    (tmp_path / "folder").mkdir()
    images = load_samples(tmp_path, Preprocessing.imagenet(SIZE), limit=2)
    assert images.shape == (2, 48, 48, 3)
    assert [int(image.mean()) for image in images] == [100, 200]
    assert "0-notes.txt: skipped" in caplog.text


@pytest.mark.parametrize("name", ["nowhere", "."])
def test_a_directory_without_images_is_an_input_error(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match=r"cannot be read|no sample"):
        load_samples(tmp_path / name, Preprocessing.imagenet(SIZE), limit=2)


def test_the_power_mode_is_read_where_a_board_has_one(tmp_path: Path) -> None:
    assert power_mode(tmp_path) == "-"
    status = tmp_path / "var/lib/nvpmodel/status"
    status.parent.mkdir(parents=True)
    status.write_text("pmode:0002\n")
    assert power_mode(tmp_path) == "nvpmodel 0002"
    governor = tmp_path / "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"
    governor.parent.mkdir(parents=True)
    governor.write_text("schedutil\n")
    assert power_mode(tmp_path) == "nvpmodel 0002 schedutil"


def test_a_board_is_named_by_its_firmware_a_computer_by_its_processor(tmp_path: Path) -> None:
    assert device_name("cpu", tmp_path) != ""
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/cpuinfo").write_text("processor\t: 0\nmodel name\t: Fast CPU 3000\n")
    assert device_name("cpu", tmp_path) == "Fast CPU 3000"
    (tmp_path / "proc/device-tree").mkdir()
    (tmp_path / "proc/device-tree/model").write_bytes(b"NVIDIA Jetson Orin Nano\x00")
    assert device_name("cpu", tmp_path) == "NVIDIA Jetson Orin Nano"


def test_batch_sizes_of_a_key_ascend_without_repeats(engine: Engine) -> None:
    key = profile_key(engine.description, engine.runner, role="device", throttle=None, batch_sizes=(8, 1, 8), codecs=())
    assert key.batch_sizes == (1, 8)
    assert dataclasses.replace(key, threads=99).changes(key)[0].startswith("threads: was 99, is")
