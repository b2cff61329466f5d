"""From the two ends' latency profiles to the planner's candidates, for one batch size."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import ceil

from splitd.agent.decide.decision import CandidateCost, CandidateKind
from splitd.agent.runtime import LOCAL
from splitd.calibration.profile import LatencyProfile
from splitd.errors import ProfileError
from splitd.native.plan import DEFAULT_TARGET_BYTES, MIN_CHUNKS

# Wire header, ZeroMQ framing and a share of TCP/IP headers; docs/wire-format.md has the fields.
CHUNK_HEADER_BYTES = 160
# The logits of 1000 classes in float32, which is what most image classifiers answer.
RESULT_BYTES_PER_SAMPLE = 4000

Admissible = Callable[[int, str], bool]


def candidate_costs(
    device: LatencyProfile,
    server: LatencyProfile | None,
    batch: int,
    codecs: Sequence[str],
    admissible: Admissible | None = None,
    *,
    result_bytes_per_sample: int = RESULT_BYTES_PER_SAMPLE,
) -> tuple[CandidateCost, ...]:
    """Return local, full offload and every (cut, codec) that both ends measured, in the order of the chain.

    `codecs` are the labels allowed after k = 0; there, images cross in every way that was calibrated.
    `admissible(k, codec)` may refuse more (a lossy codec that misses the bound). Without a server only local is left.

    Raises:
        ProfileError: The two profiles cut the model differently.
    """
    costs = []
    if server is not None:
        if server.cut_names != device.cut_names:
            raise ProfileError("the two ends cut the model at different places; give both the same planner.cuts")
        result_bytes = result_bytes_per_sample * batch + CHUNK_HEADER_BYTES
        for k in range(len(device.cut_names) - 1):
            allowed = device.codecs_at(0) if k == 0 else codecs
            both = [label for label in device.codecs_at(k) if label in server.codecs_at(k) and label in allowed]
            costs += [
                _offloaded(device, server, batch=batch, k=k, codec=label, result_bytes=result_bytes)
                for label in both
                if admissible is None or admissible(k, label)
            ]
    return (*costs, _local(device, batch))


def sent_bytes(payload_bytes: int) -> int:
    """Return what a payload is on the wire, the headers of its chunks included."""
    chunks = max(MIN_CHUNKS, ceil(payload_bytes / DEFAULT_TARGET_BYTES))
    return payload_bytes + chunks * CHUNK_HEADER_BYTES


def _offloaded(
    device: LatencyProfile, server: LatencyProfile, *, batch: int, k: int, codec: str, result_bytes: int
) -> CandidateCost:
    kind: CandidateKind = "full" if k == 0 else "split"
    return CandidateCost(
        cut=k,
        name=device.cut_names[k],
        codec=codec,
        kind=kind,
        head_s=device.head_s(k, batch) if k > 0 else 0.0,
        encode_s=device.encode_s(k, codec, batch),
        wire_bytes=sent_bytes(device.wire_bytes(k, codec, batch)),
        decode_s=server.decode_s(k, codec, batch),
        tail_s=server.tail_s(k, batch),
        result_bytes=result_bytes,
    )


def _local(device: LatencyProfile, batch: int) -> CandidateCost:
    last = len(device.cut_names) - 1
    head_s = device.head_s(last, batch)
    return CandidateCost(last, device.cut_names[last], LOCAL, "local", head_s, 0.0, 0, 0.0, 0.0, 0)
