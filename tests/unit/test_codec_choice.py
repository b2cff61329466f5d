"""From two latency profiles to a decision: a slow codec loses by itself on a fast link, a refused one never runs."""

from __future__ import annotations

from splitd.agent.decide.candidates import candidate_costs
from splitd.agent.decide.decision import Decision, State, with_one_server
from splitd.agent.decide.planner import Planner
from splitd.calibration.accuracy.fidelity import Fidelity
from splitd.calibration.accuracy.guard import Guard
from splitd.calibration.accuracy.report import FidelityKey, FidelityReport
from splitd.calibration.profile.key import ProfileKey, Role
from splitd.calibration.profile.latency import CodecCost, LatencyProfile
from splitd.calibration.profile.measurement import Measurement
from splitd.calibration.profile.table import Row, Table
from splitd.transport.estimate.link import LinkEstimate
from splitd.transport.estimate.observations import Quantiles
from splitd.transport.estimate.path import PathModel

NAMES = ("input", "blocks.3", "output")
CODECS = ("u8", "u8h", "u4h")
SECONDS = {"u8": 0.0005, "u8h": 0.020, "u4h": 0.010}  # to encode, and to decode
BYTES = {"u8": 200_000, "u8h": 100_000, "u4h": 50_000}


def row(seconds: float) -> Row:
    return (Measurement.of([seconds]),)


def profile(role: Role, segments_s: tuple[float, float]) -> LatencyProfile:
    first_s, second_s = segments_s
    costs = {}
    for label in CODECS:
        measured = row(SECONDS[label])
        encode, decode = (measured, None) if role == "device" else (None, measured)
        costs[1, label] = CodecCost((BYTES[label],), encode, decode)
    return LatencyProfile(
        key=ProfileKey("0" * 32, NAMES, "cpu", "-", "torch", "2", 1, 1.0, (1,), CODECS, role),
        heads=Table((row(0.0), row(first_s), row(first_s + second_s))) if role == "device" else None,
        tails=Table((row(first_s + second_s), row(second_s), row(0.0))),
        codecs=costs,
    )


DEVICE = profile("device", (0.050, 0.800))
SERVER = profile("server", (0.005, 0.080))


def decide(rate_bytes_per_s: float, guard: Guard | None = None) -> Decision:
    path = PathModel(rate=Quantiles.exactly(rate_bytes_per_s))
    link = LinkEstimate("up", Quantiles.exactly(0.005), path.rate, path.rate, up_path=path, down_path=path)

    def admissible(k: int, label: str) -> bool:
        return guard is None or guard.refusal(k, label) is None

    costs = candidate_costs(DEVICE, SERVER, 1, CODECS, admissible, result_bytes=4096)
    return Planner().decide(costs, State(with_one_server(link)))


def test_a_slow_codec_that_makes_fewer_bytes_wins_on_a_slow_link() -> None:
    assert decide(1e6).chosen.cost.codec == "u4h"


def test_the_same_codec_loses_on_a_fast_link_because_of_its_measured_times() -> None:
    decision = decide(100e6)
    assert decision.chosen.cost.codec == "u8"
    slow = next(scored for scored in decision.scored if scored.cost.codec == "u8h")
    assert slow.predicted is not None
    assert decision.chosen.predicted is not None
    # 19.5 ms more to encode and as much to decode, 1 ms less on the link.
    assert slow.predicted.p50 - decision.chosen.predicted.p50 > 0.035


def test_a_codec_that_the_guard_refuses_is_not_in_the_running_however_fast() -> None:
    key = FidelityKey("0" * 32, NAMES, CODECS, "generated")
    results = {(1, "u8"): Fidelity(100, 100, 1e-3, 45.0), (1, "u8h"): Fidelity(100, 100, 1e-3, 45.0)}
    guard = Guard(0.99, FidelityReport(key, {**results, (1, "u4h"): Fidelity(90, 100, 0.1, 20.0)}))
    assert decide(1e6, guard).chosen.cost.codec == "u8h"
    assert decide(1e6, Guard(0.99, None)).chosen.cost.kind == "local"
