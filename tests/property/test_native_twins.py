"""The compiled codecs and their Python twin agree: same bytes for any floats, same verdict and values for any bytes."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from hypothesis import given, settings
from hypothesis import strategies as st

from splitd.errors import CodecError
from splitd.native import select
from splitd.native.codecs import TensorCodec
from splitd.native.plan import ChunkPlan
from splitd.native.spec import CodecId, CodecSpec

COMPILED = TensorCodec(select.load_backend(pure=False))
TWIN = TensorCodec(select.load_backend(pure=True))
CODED = st.sampled_from([codec for codec in CodecId if CodecId.F32 < codec < CodecId.IMAGE_RAW])

Floats = npt.NDArray[np.float32]


@st.composite
def chunks(draw: st.DrawFn) -> tuple[Floats, ChunkPlan]:
    """Planes of values of very different magnitude, smoothness and sparsity, repeated bits and arbitrary bits."""
    planes, plane, row = draw(st.integers(1, 12)), draw(st.integers(1, 700)), draw(st.integers(0, 40))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    kind = draw(st.sampled_from(["dense", "sparse", "smooth", "few", "bits"]))
    values = rng.standard_normal((planes, plane))
    if kind == "sparse":
        values = np.maximum(values - draw(st.floats(-1, 3)), 0)
    elif kind == "smooth":
        values = np.cumsum(values, axis=1)
    elif kind == "few":
        values = np.round(values)
    x = (values * 10.0 ** draw(st.integers(-44, 36)) + draw(st.sampled_from([0, 1, -300, 1e20]))).astype(np.float32)
    if kind == "bits":
        x = rng.integers(0, 2**32, planes * plane, np.uint32).view(np.float32)
    return x.reshape(-1), ChunkPlan(0, planes * plane, plane, row)


def decoded(codec: TensorCodec, name: int, payload: bytes, plan: ChunkPlan) -> bytes | None:
    """The values' bytes, or None if the payload is refused."""
    out = np.zeros(plan.n_elements, np.float32)
    try:
        codec.decode_chunk(name, 0, payload, plan, out)
    except CodecError:
        return None
    return out.tobytes()


@settings(max_examples=250, deadline=None)
@given(chunks(), CODED)
def test_both_write_the_same_bytes_and_read_them_alike(chunk: tuple[Floats, ChunkPlan], codec: CodecId) -> None:
    x, plan = chunk
    ours = COMPILED.encode_chunk(CodecSpec(codec, 0, ""), x, plan)
    twins = TWIN.encode_chunk(CodecSpec(codec, 0, ""), x, plan)
    assert (bytes(ours.payload), ours.codec, ours.flags) == (bytes(twins.payload), twins.codec, twins.flags)
    values = decoded(COMPILED, ours.codec, bytes(ours.payload), plan)
    assert values is not None
    assert values == decoded(TWIN, ours.codec, bytes(ours.payload), plan)
    if ours.codec in (CodecId.F32, CodecId.F32X):
        assert values == x.tobytes()


@settings(max_examples=250, deadline=None)
@given(chunks(), CODED, st.data())
def test_both_judge_damaged_payloads_alike(
    chunk: tuple[Floats, ChunkPlan], codec: CodecId, data: st.DataObject
) -> None:
    x, plan = chunk
    good = COMPILED.encode_chunk(CodecSpec(codec, 0, ""), x, plan)
    payload = bytearray(good.payload)
    for _ in range(data.draw(st.integers(1, 3))):
        # Half of the damage goes where the structure is: modes, code lengths, stream sizes.
        front = min(len(payload), 4 * (plan.n_elements // plan.plane_elements) + 120)
        place = data.draw(st.integers(0, data.draw(st.sampled_from([front, len(payload)])) - 1))
        payload[place] ^= data.draw(st.integers(1, 255))
    cut = bytes(payload[: data.draw(st.sampled_from([len(payload), len(payload) - 1, len(payload) // 2]))])
    assert decoded(COMPILED, good.codec, cut, plan) == decoded(TWIN, good.codec, cut, plan)


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=400), CODED, st.integers(1, 60), st.integers(1, 4))
def test_both_judge_any_bytes_alike(payload: bytes, codec: CodecId, plane: int, planes: int) -> None:
    plan = ChunkPlan(0, plane * planes, plane)
    assert decoded(COMPILED, codec, payload, plan) == decoded(TWIN, codec, payload, plan)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(0, 60_000), min_size=2, max_size=256))
def test_code_lengths_are_always_complete_and_at_most_eleven_bits(counts: list[int]) -> None:
    from splitd.native.pure import huffman  # noqa: PLC0415 - the twin's inside, only here

    if not any(counts):
        return
    counts += [0] * (256 - len(counts))
    lengths = huffman.lengths_of(counts, 256)
    assert sum(2048 >> length for length in lengths if length) == 2048
    assert all(lengths[s] for s in range(256) if counts[s])
    for stride in (1, 16):
        packed = huffman.write_lengths(lengths, stride)
        assert huffman.read_lengths(packed + b"\xff", 256, stride) == (lengths, len(packed))
