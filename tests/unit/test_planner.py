"""The planner on small tables that a reader can add up by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest

from splitd.agent.decide.decision import CandidateCost, State, with_one_server
from splitd.agent.decide.planner import Planner, PlannerConfig
from splitd.errors import UsageError
from splitd.transport.estimate.link import LinkEstimate
from splitd.transport.estimate.observations import Quantiles
from splitd.transport.estimate.path import PathModel

RAW = CandidateCost(0, "input", "raw", "full", 0.0, 0.001, 150_000, 0.001, 0.030, 4000)
EARLY = CandidateCost(1, "b1", "u8", "split", 0.060, 0.001, 75_000, 0.001, 0.020, 4000)
LATE = CandidateCost(2, "b2", "u8", "split", 0.200, 0.001, 10_000, 0.001, 0.005, 4000)
LOCAL = CandidateCost(3, "output", "-", "local", 0.280, 0.0, 0, 0.0, 0.0, 0)
COSTS = (RAW, EARLY, LATE, LOCAL)


def state(rate: float, *, residual: Quantiles | None = None, rtt_s: float = 0.01) -> State:
    path = PathModel(Quantiles.exactly(rate), rtt_s=rtt_s, residual=residual or Quantiles.exactly(1.0))
    return State(with_one_server(LinkEstimate("up", rtt_s=Quantiles.exactly(rtt_s), up=path.rate, up_path=path)))


def with_server(now: State, *, queue_s: float = 0.0, k_srv: float = 1.0) -> State:
    link = next(iter(now.servers.values())).link
    return replace(now, servers=with_one_server(link, queue_s=queue_s, k_srv=Quantiles.exactly(k_srv)))


def without_link(state: str) -> State:
    return State(with_one_server(LinkEstimate(state)))  # type: ignore[arg-type]


@pytest.mark.parametrize(("rate", "name"), [(5e4, "output"), (3e5, "b2"), (9e5, "b1"), (1e7, "input")])
def test_the_cut_moves_towards_the_input_as_the_link_gets_faster(rate: float, name: str) -> None:
    assert Planner().decide(COSTS, state(rate)).chosen.cost.name == name


def test_the_predicted_time_is_the_cost_model() -> None:
    chosen = Planner().decide(COSTS, with_server(state(9e5), queue_s=0.002, k_srv=2.0)).chosen
    assert chosen.predicted is not None
    by_hand = 0.060 + 0.001 + 0.010 + 75_000 / 9e5 + 0.002 + 2 * (0.001 + 0.020) + 4000 / 9e5
    assert chosen.predicted.p50 == pytest.approx(by_hand)


def test_the_soonest_of_the_others_is_known() -> None:
    planner, fast, slow = Planner(), state(1e7), state(5e4)
    best = planner.decide(COSTS, fast).chosen
    assert best.predicted is not None
    assert planner.soonest_s(COSTS, fast, but=LOCAL.key) == pytest.approx(best.predicted.p50)
    assert planner.soonest_s(COSTS, fast, but=RAW.key) > best.predicted.p50
    assert planner.soonest_s(COSTS, slow, but=RAW.key) == pytest.approx(LOCAL.head_s)
    down = without_link("down")
    assert planner.soonest_s(COSTS, down, but=RAW.key) == pytest.approx(LOCAL.head_s)
    assert planner.soonest_s(COSTS, down, but=LOCAL.key) == float("inf")


def test_a_slow_device_sends_earlier_and_a_loaded_server_later() -> None:
    fair = replace(state(4.5e5))
    assert Planner().decide(COSTS, fair).chosen.cost.name == "b2"
    assert Planner().decide(COSTS, replace(fair, k_dev=Quantiles.exactly(3.0))).chosen.cost.name == "input"
    busy = with_server(fair, queue_s=1.0)
    assert Planner().decide(COSTS, busy).chosen.cost.kind == "local"


def test_a_switch_must_stand_out_from_the_doubt() -> None:
    # RAW and EARLY are equal at 1.5 MB/s.
    near = state(1.52e6, residual=Quantiles(0.5, 1.0, 2.0))
    first, second = (Planner().decide(COSTS, replace(near, previous=cost.key)).chosen for cost in (RAW, EARLY))
    assert (first.cost, second.cost) == (RAW, EARLY)
    assert "previous" in second.reason
    assert Planner().decide(COSTS, replace(state(1.52e6), previous=EARLY.key)).chosen.cost is RAW
    far = state(4e6, residual=Quantiles(0.5, 1.0, 2.0))
    assert Planner().decide(COSTS, replace(far, previous=EARLY.key)).chosen.cost is RAW


def test_the_ninetieth_percentile_prefers_what_depends_less_on_the_link() -> None:
    shaky = state(3e6, residual=Quantiles(0.4, 1.0, 4.0))
    median = Planner(PlannerConfig(objective="p50")).decide(COSTS, shaky).chosen.cost
    careful = Planner(PlannerConfig(objective="p90")).decide(COSTS, shaky).chosen.cost
    assert careful.wire_bytes < median.wire_bytes


def test_a_deadline_is_met_with_the_best_chance_then_in_the_least_time() -> None:
    shaky = replace(state(3e6, residual=Quantiles(0.4, 1.0, 9.0)), deadline_s=0.3)
    assert Planner().decide(COSTS, replace(shaky, deadline_s=None)).chosen.cost is RAW
    decision = Planner().decide(COSTS, shaky)
    chances = {s.cost.name: s.meets_deadline for s in decision.scored}
    assert chances["input"] is not None
    assert chances["input"] < 0.9
    assert (decision.chosen.meets_deadline or 0.0) > 0.99
    assert Planner().decide(COSTS, replace(shaky, deadline_s=30.0)).chosen.cost is RAW


def test_exploring_is_for_the_cheap_and_uncertain_only() -> None:
    near = state(1.4e5, residual=Quantiles(0.3, 1.0, 2.0))
    assert Planner().decide(COSTS, near).chosen.cost is LOCAL
    tried = Planner().decide(COSTS, replace(near, explore=True))
    assert tried.explored
    assert tried.chosen.cost.kind == "split"
    hopeless = Planner().decide(COSTS, replace(state(1e3, residual=Quantiles(0.3, 1.0, 2.0)), explore=True))
    assert not hopeless.explored
    assert hopeless.chosen.cost is LOCAL


def test_a_pin_holds_while_the_link_is_up() -> None:
    planner = Planner(PlannerConfig(pinned="b2", pinned_codec="u8"))
    assert planner.decide(COSTS, state(1e7)).chosen.cost is LATE
    assert planner.decide(COSTS, without_link("down")).chosen.cost is LOCAL
    assert Planner(PlannerConfig(pinned="output")).decide(COSTS, state(1e7)).chosen.cost is LOCAL


def test_every_refusal_has_its_reason() -> None:
    worse = replace(EARLY, codec="f32", wire_bytes=300_000)
    decision = Planner(PlannerConfig(privacy=True)).decide((*COSTS, worse), state(9e5))
    reasons = {(s.cost.name, s.cost.codec): s.reason for s in decision.scored}
    assert reasons["input", "raw"].startswith("privacy")
    assert reasons["b1", "f32"] == "never faster than b1/u8"
    assert reasons["b2", "u8"].endswith("ms slower")
    unknown = Planner().decide(COSTS, without_link("unknown"))
    assert [s.reason for s in unknown.scored] == ["the link is unknown"] * 4
    assert unknown.scored[0].predicted is None
    assert unknown.chosen.predicted is not None


def test_exactly_one_candidate_is_local() -> None:
    with pytest.raises(UsageError, match="exactly one local"):
        Planner().decide((RAW, EARLY), state(1e6))
