"""What holds of every decision, whatever the costs and the state are."""

from __future__ import annotations

from dataclasses import replace
from math import inf

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from splitd.agent.decide.cost_table import CostTable, dominator
from splitd.agent.decide.decision import THE_SERVER, CandidateCost, State, with_one_server
from splitd.agent.decide.objective import OBJECTIVES
from splitd.agent.decide.planner import Planner, PlannerConfig
from splitd.transport.estimate.link import LinkEstimate
from splitd.transport.estimate.observations import Quantiles
from splitd.transport.estimate.path import PathModel

SECONDS = st.floats(0.0, 2.0)
BYTES = st.integers(1, 2_000_000)
RATES = st.floats(1e3, 1e9)


def local(head_s: float) -> CandidateCost:
    return CandidateCost(99, "output", "-", "local", head_s, 0.0, 0, 0.0, 0.0, 0)


@st.composite
def tables(draw: st.DrawFn) -> tuple[CandidateCost, ...]:
    """One local candidate, one or two full ones, and cuts with one codec each."""
    costs = []
    for k in range(draw(st.integers(1, 8))):
        numbers = [draw(SECONDS) for _ in range(4)]
        kind = "full" if k == 0 else "split"
        head_s = 0.0 if k == 0 else numbers[0]
        cost = CandidateCost(k, f"b{k}", "u8", kind, head_s, numbers[1], draw(BYTES), numbers[2], numbers[3], 4000)
        costs.append(cost)
    return (*costs, local(draw(SECONDS)))


@st.composite
def bounds(draw: st.DrawFn, middle: float) -> Quantiles:
    return Quantiles(middle * draw(st.floats(0.3, 1.0)), middle, middle * draw(st.floats(1.0, 3.0)))


@st.composite
def states(draw: st.DrawFn) -> State:
    rtt_s = draw(st.floats(1e-4, 0.3))
    path = PathModel(
        rate=draw(bounds(draw(RATES))),
        rtt_s=rtt_s,
        credit_bytes=draw(st.sampled_from([0.0, 70_000.0])),
        overhead_s=draw(st.sampled_from([0.0, 1e-3])),
        window_bytes=draw(st.sampled_from([inf, 14_600.0, 50_000.0])),
        residual=draw(bounds(draw(st.floats(0.5, 2.0)))),
    )
    link = LinkEstimate("up", rtt_s=draw(bounds(rtt_s)), up=path.rate, up_path=path)
    k_srv, k_dev = (draw(bounds(draw(st.floats(0.5, 4.0)))) for _ in range(2))
    queue_s, idle_s = draw(st.floats(0.0, 0.5)), draw(st.sampled_from([0.0, 0.1, 5.0]))
    return State(with_one_server(link, queue_s=queue_s, k_srv=k_srv, idle_s=idle_s), k_dev=k_dev)


def link_of(state: State) -> LinkEstimate:
    return state.servers[THE_SERVER].link


def with_link(state: State, link: LinkEstimate) -> State:
    return replace(state, servers={THE_SERVER: replace(state.servers[THE_SERVER], link=link)})


def never_larger(one: CandidateCost, other: CandidateCost) -> bool:
    return (
        one.head_s + one.encode_s <= other.head_s + other.encode_s
        and one.wire_bytes <= other.wire_bytes
        and one.decode_s + one.tail_s <= other.decode_s + other.tail_s
        and one.result_bytes <= other.result_bytes
        and (one.kind == "local" or other.kind != "local")
    )


@settings(max_examples=150, deadline=None)
@given(tables(), states(), st.sampled_from(sorted(OBJECTIVES)))
def test_no_dominated_candidate_is_chosen(costs: tuple[CandidateCost, ...], state: State, objective: str) -> None:
    planner = Planner(PlannerConfig(objective=objective))
    chosen = planner.decide(costs, state).chosen.cost
    rivals = (c for c in costs if c is not chosen and never_larger(c, chosen))
    assert not [c for c in rivals if not never_larger(chosen, c)]


@settings(max_examples=150, deadline=None)
@given(tables(), states())
def test_pruning_never_changes_the_optimum(costs: tuple[CandidateCost, ...], state: State) -> None:
    everything = CostTable(costs).predict(state).total_s
    chosen = Planner().decide(costs, state).chosen
    assert chosen.predicted is not None
    # Local's prediction does not depend on the link, so the least of all candidates is what pruning must keep.
    assert np.isclose(chosen.predicted.p50, everything.min(), rtol=1e-9, atol=1e-12)


@settings(max_examples=100, deadline=None)
@given(tables(), states())
def test_what_is_pruned_is_never_faster_than_its_dominator(costs: tuple[CandidateCost, ...], state: State) -> None:
    table = CostTable(costs)
    times = table.predict(state).total_s
    for index, other in enumerate(dominator(table)):
        if other is not None:
            assert times[other] <= times[index] + 1e-9


@settings(max_examples=100, deadline=None)
@given(tables(), states(), st.sampled_from(["unknown", "suspect", "down"]))
def test_local_when_the_link_is_not_up(costs: tuple[CandidateCost, ...], state: State, link: str) -> None:
    state = replace(with_link(state, replace(link_of(state), state=link)), explore=True)  # type: ignore[arg-type]
    assert Planner().decide(costs, state).chosen.cost.kind == "local"


@settings(max_examples=100, deadline=None)
@given(tables(), states(), st.sampled_from(sorted(OBJECTIVES)))
def test_privacy_keeps_the_input_here(costs: tuple[CandidateCost, ...], state: State, objective: str) -> None:
    config = PlannerConfig(privacy=True, objective=objective, pinned="b0")
    decision = Planner(config).decide(costs, replace(state, explore=True))
    assert decision.chosen.cost.kind != "full"
    assert all("privacy" in s.reason for s in decision.scored if s.cost.kind == "full")


@settings(max_examples=100, deadline=None)
@given(tables(), states(), RATES, RATES)
def test_a_faster_link_never_costs_time_and_never_sends_less(
    costs: tuple[CandidateCost, ...], state: State, one: float, other: float
) -> None:
    chosen = []
    for rate in sorted((one, other)):
        path = PathModel(Quantiles.exactly(rate))
        link = replace(link_of(state), up=path.rate, up_path=path)
        chosen.append(Planner().decide(costs, with_link(state, link)).chosen)
    slow, fast = chosen
    assert slow.predicted is not None
    assert fast.predicted is not None
    assert fast.predicted.p50 <= slow.predicted.p50 * (1 + 1e-12)
    # The result's bytes are the same for all that offload, so the optimum moves to more bytes as the rate grows.
    same_time = np.isclose(fast.predicted.p50, slow.predicted.p50)
    assert fast.cost.wire_bytes >= slow.cost.wire_bytes or same_time


@settings(max_examples=100, deadline=None)
@given(st.floats(1e-3, 2.0), st.integers(1, 8), st.floats(0.01, 0.5))
def test_full_offload_on_an_infinite_link_with_a_fast_server(head_s: float, cuts: int, speed: float) -> None:
    shares = [k / (cuts + 1) for k in range(cuts + 1)]
    costs = [
        CandidateCost(
            k,
            f"b{k}",
            "raw",
            "split" if k else "full",
            share * head_s,
            0.0,
            10**6,
            0.0,
            (1 - share) * head_s * speed,
            0,
        )
        for k, share in enumerate(shares)
    ]
    path = PathModel(Quantiles.exactly(1e18))
    link = LinkEstimate("up", rtt_s=Quantiles.exactly(0.0), up=path.rate, up_path=path)
    assert Planner().decide((*costs, local(head_s)), State(with_one_server(link))).chosen.cost.kind == "full"


@settings(max_examples=100, deadline=None)
@given(tables(), states())
def test_every_candidate_is_explained_and_the_terms_add_up(costs: tuple[CandidateCost, ...], state: State) -> None:
    decision = Planner().decide(costs, state)
    assert [scored.cost for scored in decision.scored] == list(costs)
    medians = CostTable(costs).predict(state).total_s
    for scored, median in zip(decision.scored, medians, strict=True):
        assert scored.reason
        assert scored.terms is not None
        assert scored.predicted is not None
        assert np.isclose(scored.terms.total_s, median)
        assert scored.predicted.p10 <= scored.predicted.p50 <= scored.predicted.p90


@settings(max_examples=100, deadline=None)
@given(tables(), states(), st.data())
def test_hysteresis_gives_up_no_more_than_its_share(
    costs: tuple[CandidateCost, ...], state: State, data: st.DataObject
) -> None:
    previous = data.draw(st.sampled_from(costs)).key
    config = PlannerConfig(hysteresis=0.03)
    chosen = Planner(config).decide(costs, replace(state, previous=previous)).chosen
    best = CostTable(costs).predict(state).total_s.min()
    assert chosen.predicted is not None
    assert chosen.predicted.p50 * (1 - config.hysteresis) <= best + 1e-9
