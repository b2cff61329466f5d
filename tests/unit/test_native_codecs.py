"""Every codec, over the compiled backend and over its twin: one class of statements, run twice."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from splitd.errors import CodecError
from splitd.native import codecs, select
from splitd.native.codecs import TensorCodec
from splitd.native.plan import ChunkPlan, plan_chunks
from splitd.native.spec import CODECS, FLAG_LZ4, CodecId, parse, tensor_labels

Floats = npt.NDArray[np.float32]

LABELS = tensor_labels()
QUANTISED = {"u8": 255, "u8+lz4": 255, "u8h": 255, "u6h": 63, "u4h": 15}
SHAPES = [(2, 3, 9, 7), (1, 5, 1, 1), (3, 4, 7, 7), (2, 1000), (13,), (), (0, 3, 2, 2), (1, 2, 40, 300), (1, 6, 64)]


def activations(shape: tuple[int, ...], kind: str = "dense", seed: int = 0) -> Floats:
    """Dense (after batch norm), sparse (after ReLU) or smooth (an early layer's) values."""
    values = np.random.default_rng(seed).standard_normal(shape)
    if kind == "sparse":
        values = np.maximum(values - 0.8, 0)
    if kind == "smooth":
        values = np.cumsum(np.cumsum(values, axis=-1), axis=-2)
    return np.asarray(values, np.float32)


def round_trip(codec: TensorCodec, label: str, tensor: Floats) -> tuple[Floats, list[codecs.EncodedChunk]]:
    spec, flat = parse(label), codecs.flatten(tensor)
    plans = plan_chunks(tensor.shape, spec)
    chunks = [codec.encode_chunk(spec, flat, plan) for plan in plans]
    back = np.full(flat.shape, np.nan, np.float32)
    for plan, chunk in zip(plans, chunks, strict=True):
        codec.decode_chunk(chunk.codec, chunk.flags, chunk.payload, plan, back)
    return back.reshape(tensor.shape), chunks


class CodecContract:
    """What holds for both backends."""

    codec: TensorCodec

    @pytest.mark.parametrize("shape", SHAPES, ids=str)
    @pytest.mark.parametrize("label", LABELS)
    def test_any_shape_comes_back_in_shape(self, label: str, shape: tuple[int, ...]) -> None:
        tensor = activations(shape)
        back, chunks = round_trip(self.codec, label, tensor)
        assert back.shape == tensor.shape
        assert np.isfinite(back).all()
        assert len(chunks) == len(plan_chunks(shape, parse(label)))

    @pytest.mark.parametrize("kind", ["dense", "sparse", "smooth"])
    @pytest.mark.parametrize("label", ["f32", "f32+lz4", "f32x"])
    def test_lossless_codecs_keep_every_bit(self, label: str, kind: str) -> None:
        tensor = activations((2, 8, 20, 20), kind)
        back, _ = round_trip(self.codec, label, tensor)
        assert back.tobytes() == tensor.tobytes()

    @pytest.mark.parametrize("kind", ["dense", "sparse", "smooth"])
    @pytest.mark.parametrize("label", QUANTISED)
    def test_quantised_values_come_back_within_half_a_step(self, label: str, kind: str) -> None:
        tensor = activations((2, 8, 20, 20), kind)
        back, _ = round_trip(self.codec, label, tensor)
        spread = np.ptp(tensor, axis=(2, 3), keepdims=True)
        # The step is the range over the top value, rounded up twice to a bfloat16 at worst.
        step = spread / QUANTISED[label] * (1 + 2.0**-6)
        assert np.all(np.abs(back - tensor) <= step / 2 + 1e-6 * np.abs(tensor))

    @pytest.mark.parametrize("label", QUANTISED)
    def test_zeros_of_a_sparse_tensor_stay_zero(self, label: str) -> None:
        tensor = activations((1, 8, 16, 16), "sparse")
        back, _ = round_trip(self.codec, label, tensor)
        assert np.all(back[tensor == 0] == 0)

    @pytest.mark.parametrize("value", [0.0, 3.3, -1e-20, 1e30, 1e-42])
    @pytest.mark.parametrize("label", QUANTISED)
    def test_a_constant_plane_comes_back_to_the_last_bit_but_one(self, label: str, value: float) -> None:
        tensor = np.full((1, 2, 5, 5), value, np.float32)
        back, _ = round_trip(self.codec, label, tensor)
        np.testing.assert_array_max_ulp(back, tensor, maxulp=1)

    @pytest.mark.parametrize("label", QUANTISED)
    def test_a_small_signal_on_a_large_offset_keeps_its_precision(self, label: str) -> None:
        tensor = (100 + activations((1, 2, 16, 16)) * 0.5).astype(np.float32)
        back, _ = round_trip(self.codec, label, tensor)
        spread = np.ptp(tensor, axis=(2, 3), keepdims=True)
        assert np.all(np.abs(back - tensor) <= spread / QUANTISED[label] * 0.6)

    def test_half_precision_rounds_to_nearest_even(self) -> None:
        tensor = np.array([1, 1 + 2**-11, 1 + 3 * 2**-11, 6e-8, 2**-14, -65504, 3e-8, -0.0], np.float32)
        back, _ = round_trip(self.codec, "f16", tensor)
        assert back.tobytes() == tensor.astype(np.float16).astype(np.float32).tobytes()

    @pytest.mark.parametrize("poison", [np.nan, -np.nan, np.inf, -np.inf])
    @pytest.mark.parametrize("label", LABELS)
    def test_values_that_are_not_finite_travel_losslessly(self, label: str, poison: float) -> None:
        tensor = activations((1, 2, 6, 6))
        tensor[0, 1, 2, 3] = poison
        back, chunks = round_trip(self.codec, label, tensor)
        assert back.tobytes() == tensor.tobytes()
        assert all(CODECS[chunk.codec].lossless for chunk in chunks)

    @pytest.mark.parametrize("large", [7e4, 3e38])
    @pytest.mark.parametrize("label", ["f16", "u8", "u8h"])
    def test_values_out_of_a_codecs_range_fall_back(self, label: str, large: float) -> None:
        tensor = np.array([[large, -1.0, 0.5, 2.0]], np.float32)
        back, _ = round_trip(self.codec, label, tensor)
        assert np.isfinite(back).all()
        np.testing.assert_allclose(back, tensor, atol=large / 200)

    def test_only_the_chunk_with_the_nan_falls_back(self) -> None:
        tensor = activations((1, 64, 40, 40))
        tensor[0, 0, 0, 0] = np.nan
        _, chunks = round_trip(self.codec, "u8", tensor)
        assert [chunk.codec for chunk in chunks] == [CodecId.F32] + [CodecId.U8] * (len(chunks) - 1)

    def test_plain_f32_is_a_view_of_the_tensor(self) -> None:
        flat = codecs.flatten(activations((4, 16, 16)))
        chunk = self.codec.encode_chunk(parse("f32"), flat, ChunkPlan(256, 256, 256))
        assert np.shares_memory(np.frombuffer(chunk.payload, np.uint8), flat)

    @pytest.mark.parametrize("dtype", [np.uint8, np.int64, np.float16, np.float64, np.bool_])
    @pytest.mark.parametrize("label", ["f32", "u8h", "f32+lz4"])
    def test_other_dtypes_travel_as_their_own_bytes(self, label: str, dtype: Any) -> None:
        tensor = (np.arange(2 * 3 * 40) % 5).astype(dtype).reshape(2, 3, 40)
        spec = parse(label)
        back = np.empty(tensor.size, dtype)
        for plan in plan_chunks(tensor.shape, spec):
            chunk = self.codec.encode_chunk(spec, codecs.flatten(tensor), plan)
            self.codec.decode_chunk(chunk.codec, chunk.flags, chunk.payload, plan, back)
        assert np.array_equal(back.reshape(tensor.shape), tensor)

    @pytest.mark.parametrize("label", ["f16", "u8", "f32x", "u8h", "u6h", "u4h"])
    def test_it_encodes_straight_into_the_given_buffer(self, label: str) -> None:
        flat, plan, spec = codecs.flatten(activations((1, 4, 12, 12))), ChunkPlan(0, 576, 144, 12), parse(label)
        needed = self.codec.max_encoded_bytes(spec, plan)
        out = bytearray(needed + 64)
        out[needed:] = b"\xaa" * 64
        chunk = self.codec.encode_chunk(spec, flat, plan, memoryview(out)[:needed])
        assert np.shares_memory(np.frombuffer(chunk.payload, np.uint8), np.frombuffer(out, np.uint8))
        assert out[needed:] == b"\xaa" * 64
        with pytest.raises(CodecError, match="max_encoded_bytes"):
            self.codec.encode_chunk(spec, flat, plan, memoryview(out)[:64])

    @pytest.mark.parametrize("label", LABELS)
    def test_decoding_touches_nothing_outside_its_chunk(self, label: str) -> None:
        flat, plan, spec = codecs.flatten(activations((3, 4, 7, 7))), ChunkPlan(196, 196, 49, 7), parse(label)
        chunk = self.codec.encode_chunk(spec, flat, plan)
        out = np.full(flat.size, 7.0, np.float32)
        self.codec.decode_chunk(chunk.codec, chunk.flags, chunk.payload, plan, out)
        assert np.all(out[:196] == 7)
        assert np.all(out[392:] == 7)
        assert not np.any(out[196:392] == 7)

    @pytest.mark.parametrize("label", LABELS)
    def test_truncated_and_extended_payloads_are_refused(self, label: str) -> None:
        flat, plan, spec = codecs.flatten(activations((1, 4, 8, 8))), ChunkPlan(0, 256, 64, 8), parse(label)
        chunk = self.codec.encode_chunk(spec, flat, plan)
        out = np.empty(256, np.float32)
        payload = bytes(chunk.payload)
        for damaged in [payload[:-1], payload[:3], payload[: len(payload) // 2], b"", payload + b"\0"]:
            with pytest.raises(CodecError):
                self.codec.decode_chunk(chunk.codec, chunk.flags, damaged, plan, out)

    @pytest.mark.parametrize(
        ("codec", "flags"), [(7, 0), (255, 0), (CodecId.JPEG, 1), (CodecId.U8, 2), (CodecId.U8H, 1)]
    )
    def test_unknown_codecs_and_flags_are_refused(self, codec: int, flags: int) -> None:
        with pytest.raises(CodecError):
            self.codec.decode_chunk(codec, flags, bytes(64), ChunkPlan(0, 16, 16), np.empty(16, np.float32))

    @pytest.mark.parametrize(
        "plan",
        [ChunkPlan(0, 17, 17), ChunkPlan(-1, 4, 4), ChunkPlan(8, 9, 9), ChunkPlan(0, 16, 5), ChunkPlan(0, 16, 0)],
    )
    def test_plans_outside_the_tensor_are_refused(self, plan: ChunkPlan) -> None:
        with pytest.raises(CodecError):
            self.codec.decode_chunk(CodecId.U8, 0, bytes(64), plan, np.empty(16, np.float32))
        with pytest.raises(CodecError):
            self.codec.encode_chunk(parse("u8"), np.zeros(16, np.float32), plan, bytearray(256))

    def test_parameters_that_are_not_finite_are_refused(self) -> None:
        plan, out = ChunkPlan(0, 4, 4), np.empty(4, np.float32)
        for word in (0x7F800001, 0x0000FF00, 0xFF800001):
            with pytest.raises(CodecError):
                self.codec.decode_chunk(CodecId.U8, 0, word.to_bytes(4, "little") + bytes(4), plan, out)

    def test_an_lz4_bomb_has_no_room(self) -> None:
        bomb = b"\x1f\x00\x01\x00" + b"\xff" * 60_000 + b"\x00"
        with pytest.raises(CodecError, match="LZ4"):
            self.codec.decode_chunk(CodecId.F32, FLAG_LZ4, bomb, ChunkPlan(0, 16, 16), np.empty(16, np.float32))

    @pytest.mark.parametrize("mode", [3, 4, 5, 8, 64, 255])
    def test_modes_that_no_encoder_writes_are_refused(self, mode: int) -> None:
        payload = bytes(4) + bytes([mode]) + bytes(16)
        with pytest.raises(CodecError):
            self.codec.decode_chunk(CodecId.U8H, 0, payload, ChunkPlan(0, 16, 16), np.empty(16, np.float32))

    def test_smooth_tensors_profit_from_the_row_above(self) -> None:
        tensor, spec = activations((1, 1, 128, 128), "smooth"), parse("u8h")
        flat = codecs.flatten(tensor)
        sizes = [
            len(self.codec.encode_chunk(spec, flat, ChunkPlan(0, flat.size, flat.size, row)).payload)
            for row in (0, 128)
        ]
        assert sizes[1] < 0.9 * sizes[0]
        back, _ = round_trip(self.codec, "u8h", tensor)
        np.testing.assert_allclose(back, tensor, atol=np.ptp(tensor) / 400)

    @pytest.mark.parametrize(("label", "most"), [("u8h", 0.65), ("u6h", 0.5), ("u4h", 0.4), ("f32+lz4", 2.5)])
    def test_sparse_tensors_get_small(self, label: str, most: float) -> None:
        tensor = activations((1, 16, 56, 56), "sparse")
        _, chunks = round_trip(self.codec, label, tensor)
        assert sum(len(chunk.payload) for chunk in chunks) < most * tensor.size


class TestCompiled(CodecContract):
    codec = TensorCodec(select.load_backend(pure=False))

    def test_it_is_the_compiled_one(self) -> None:
        assert self.codec.backend.NAME == "compiled"

    def test_many_threads_at_once_get_what_one_gets(self) -> None:
        tensors = [
            activations((1, 8, 30, 30), kind, seed) for seed in range(8) for kind in ("dense", "sparse", "smooth")
        ]
        alone = [[bytes(chunk.payload) for chunk in round_trip(self.codec, "u8h", tensor)[1]] for tensor in tensors]

        def again(i: int) -> bool:
            back, chunks = round_trip(self.codec, "u8h", tensors[i % len(tensors)])
            same = [bytes(chunk.payload) for chunk in chunks] == alone[i % len(tensors)]
            return same and bool(np.isfinite(back).all())

        with ThreadPoolExecutor(16) as pool:
            assert all(pool.map(again, range(960)))

    def test_a_tensor_that_is_not_contiguous_is_refused_and_flatten_mends_it(self) -> None:
        tensor = activations((6, 8)).T
        with pytest.raises(CodecError):
            self.codec.encode_chunk(parse("u8"), tensor[0, ::2], ChunkPlan(0, 3, 3))
        assert codecs.flatten(tensor).tobytes() == np.ascontiguousarray(tensor).tobytes()


class TestTwin(CodecContract):
    codec = TensorCodec(select.load_backend(pure=True))

    def test_it_is_the_twin(self) -> None:
        assert self.codec.backend.NAME == "pure"


def _backend_name(**environment: str) -> str:
    program = "from splitd.native import codecs; print(codecs._default.backend.NAME)"
    return subprocess.run(
        [sys.executable, "-c", program], env=os.environ | environment, capture_output=True, text=True, check=True
    ).stdout.strip()


@pytest.mark.parametrize(("value", "name"), [("1", "pure"), ("0", "compiled"), ("", "compiled")])
def test_the_environment_selects_the_twin(value: str, name: str) -> None:
    assert _backend_name(SPLITD_PURE_PYTHON=value) == name


def test_a_missing_extension_says_how_to_mend_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "splitd.native._codec", None)
    with pytest.raises(ImportError, match="build_ext --inplace"):
        select.load_backend(pure=False)
