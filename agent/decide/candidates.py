"""The planner's table for one batch: what the profiles say, plus what depends on the application's own inputs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import exp, log

from splitd.agent.decide.decision import CandidateCost, CandidateKind
from splitd.calibration.profile import CrossingKey, LatencyProfile
from splitd.errors import ProfileError
from splitd.native import crossing
from splitd.native.plan import raw_sent_bytes, stream_sent_bytes

# Sizes and times that differ by less than this share one table: the planner keeps its columns per table, and the files
# of one camera differ by a few per cent. An error of half a step is below every prediction's own doubt.
_STEP = 0.05
# Batch sizes times file sizes times preparation times in use; a table of 64 candidates takes about 20 KB.
_MAX_TABLES = 64
# A server's whole network is never taken to be faster than this, or the ratio of the two ends would be infinite.
_LEAST_TAIL_S = 1e-9

FLOAT32_BYTES = 4  # results come back as float32

Admissible = Callable[[int, str], bool]


@dataclass(frozen=True)
class Wanted:
    """What a batch asks for.

    `kind` is the application's kind of input, whose preparation takes its own time. `is_image`: it may cross as images
    (prepared tensors may not). `jpeg_bytes`: bytes of the application's own JPEG files, 0 without. `deadline_s`: when
    an answer is of no more use, on the clock that the Decider is told.
    """

    batch: int
    kind: str = "uint8"
    is_image: bool = True
    jpeg_bytes: int = 0
    deadline_s: float = float("inf")


class Candidates:
    """Makes and keeps tables.

    `refusals`: the (position, codec) that may not be used, each with the reason. `result_elements`: how many values
    each of the network's outputs has for one sample; they come back as float32.
    """

    def __init__(
        self,
        device: LatencyProfile,
        *,
        codecs: Sequence[str],
        refusals: Mapping[CrossingKey, str],
        result_elements: Sequence[int],
    ) -> None:
        self.device = device
        self.server: LatencyProfile | None = None
        self.refusals = dict(refusals)
        self.codecs = tuple(codecs)
        self.result_elements = tuple(result_elements)
        self._tables: dict[tuple[object, ...], tuple[CandidateCost, ...]] = {}

    def table(self, wanted: Wanted, prepare_each_s: float = 0.0) -> tuple[CandidateCost, ...]:
        """Return the candidates; the same object as long as nothing that they depend on has changed.

        `prepare_each_s` is what decoding and resizing one of the application's inputs takes here.
        """
        prepare_s = _rounded(prepare_each_s * wanted.batch)
        jpeg_bytes = round(_rounded(wanted.jpeg_bytes))
        key = (wanted.batch, wanted.kind, wanted.is_image, jpeg_bytes, prepare_s)
        if key not in self._tables:
            if len(self._tables) >= _MAX_TABLES:
                self._tables.clear()
            self._tables[key] = self._make(wanted, prepare_s, jpeg_bytes)
        return self._tables[key]

    def refused(self) -> list[tuple[str, str, str]]:
        """Return (cut, codec, reason) of everything that may not be used though it was calibrated."""
        names = self.device.cut_names
        return [(names[k], codec, reason) for (k, codec), reason in self.refusals.items()]

    def follow(self, *, device: LatencyProfile | None = None, server: LatencyProfile | None = None) -> None:
        """Take over a new profile of either end.

        Raises:
            ProfileError: The two ends cut the model differently, or the server was not measured as one.
        """
        check_fit(device or self.device, server or self.server)
        self.device = device or self.device
        self.server = server or self.server
        self._tables.clear()

    def _make(self, wanted: Wanted, prepare_s: float, jpeg_bytes: int) -> tuple[CandidateCost, ...]:
        costs = candidate_costs(
            self.device,
            self.server,
            wanted.batch,
            self.codecs,
            lambda k, codec: (k, codec) not in self.refusals,
            result_bytes=answer_bytes(self.result_elements, wanted.batch),
        )
        if not wanted.is_image:
            return tuple(cost for cost in costs if not crossing.is_image(cost.codec))
        prepared = tuple(replace(cost, head_s=cost.head_s + prepare_s) for cost in costs)
        as_given = self._as_given(wanted.batch, jpeg_bytes, prepare_s)
        return prepared if as_given is None else (as_given, *prepared)

    def _as_given(self, batch: int, jpeg_bytes: int, prepare_s: float) -> CandidateCost | None:
        """Return the candidate that sends the files untouched; the server prepares them, at its own speed."""
        server = self.server
        if server is None or jpeg_bytes == 0:
            return None
        # The device prepares at its speed what the server prepares at its own: the ratio of their whole networks.
        slower = self.device.tail_s(0, batch) / max(server.tail_s(0, batch), _LEAST_TAIL_S)
        return CandidateCost(
            cut=0,
            name=self.device.cut_names[0],
            codec=crossing.AS_GIVEN,
            kind="full",
            head_s=0.0,
            encode_s=0.0,
            wire_bytes=stream_sent_bytes(jpeg_bytes),
            decode_s=server.decode_s(0, crossing.RAW, batch) + prepare_s / slower,
            tail_s=server.tail_s(0, batch),
            result_bytes=answer_bytes(self.result_elements, batch),
        )


def answer_bytes(result_elements: Sequence[int], batch: int) -> int:
    """Return what the answer for a batch is on the wire, each output having so many float32 values for one sample."""
    return sum(raw_sent_bytes(elements * batch, FLOAT32_BYTES) for elements in result_elements)


def candidate_costs(
    device: LatencyProfile,
    server: LatencyProfile | None,
    batch: int,
    codecs: Sequence[str],
    admissible: Admissible = lambda _k, _codec: True,
    *,
    result_bytes: int,
) -> tuple[CandidateCost, ...]:
    """Return local, full offload and every (cut, codec) that both ends measured, in the order of the chain.

    `codecs` are the labels allowed after k = 0; there, images cross in every way that was calibrated.
    `admissible(k, codec)` may refuse more (a lossy codec that misses the bound). Without a server only local is left.
    `result_bytes` is what the answer for this batch is on the wire.

    Raises:
        ProfileError: The two profiles cut the model differently.
    """
    check_fit(device, server)
    costs = []
    if server is not None:
        for k in range(len(device.cut_names) - 1):
            allowed = device.codecs_at(0) if k == 0 else codecs
            both = [label for label in device.codecs_at(k) if label in server.codecs_at(k) and label in allowed]
            costs += [
                _offloaded(device, server, batch, k=k, codec=label, result_bytes=result_bytes)
                for label in both
                if admissible(k, label)
            ]
    return (*costs, _local(device, batch))


def check_fit(device: LatencyProfile, server: LatencyProfile | None) -> None:
    """Raise ProfileError unless the server's profile can be joined with the device's."""
    if server is None:
        return
    if server.cut_names != device.cut_names:
        raise ProfileError("the two ends cut the model at different places; give both the same planner.cuts")
    undecoded = next((where for where, cost in server.codecs.items() if cost.decode is None), None)
    if undecoded is not None:
        raise ProfileError(f"the server's profile has no decoding time of {undecoded[1]} at position {undecoded[0]}")


def _offloaded(
    device: LatencyProfile, server: LatencyProfile, batch: int, *, k: int, codec: str, result_bytes: int
) -> CandidateCost:
    kind: CandidateKind = "full" if k == 0 else "split"
    return CandidateCost(
        cut=k,
        name=device.cut_names[k],
        codec=codec,
        kind=kind,
        head_s=device.head_s(k, batch) if k > 0 else 0.0,
        encode_s=device.encode_s(k, codec, batch),
        wire_bytes=device.wire_bytes(k, codec, batch),
        decode_s=server.decode_s(k, codec, batch),
        tail_s=server.tail_s(k, batch),
        result_bytes=result_bytes,
    )


def _local(device: LatencyProfile, batch: int) -> CandidateCost:
    last = len(device.cut_names) - 1
    head_s = device.head_s(last, batch)
    return CandidateCost(last, device.cut_names[last], crossing.LOCAL, "local", head_s, 0.0, 0, 0.0, 0.0, 0)


def _rounded(value: float) -> float:
    """Return the value rounded to steps of a few percent."""
    return 0.0 if value <= 0 else exp(round(log(value) / _STEP) * _STEP)
