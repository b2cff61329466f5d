"""The documents that the agent's control socket serves."""

from __future__ import annotations

import os
from dataclasses import asdict
from pathlib import Path

from splitd import __version__
from splitd.agent.client import (
    AgentCounters,
    AgentStatus,
    Bounds,
    CandidateRow,
    CandidateTerms,
    ChoiceView,
    CongestionView,
    DaemonState,
    Explanation,
    HistoryDocument,
    LinkDocument,
    LinkView,
    PeerView,
    SentSize,
    SplitRow,
    Splits,
)
from splitd.agent.configuration import AgentConfig
from splitd.agent.decide import CandidateCost, Scored
from splitd.agent.device.parts import AgentParts
from splitd.agent.runtime import (
    History,
    Phase,
    Query,
    configured_model,
    device_view,
    executor_views,
    loaded_model,
    positive,
    whole,
)
from splitd.calibration.measure import Selection
from splitd.transport.estimate import LinkEstimate, Quantiles

RECORDS_SHOWN = 20  # of the history, unless another number is asked for
NO_LINK = LinkView(state="unknown", rtt_s=None, up_bytes_per_s=None, down_bytes_per_s=None)
NO_CHOICE = ChoiceView(name=None, codec=None, pinned=None)
NO_COUNTERS = AgentCounters(
    accepted=0,
    refused=0,
    expired=0,
    waiting=0,
    answered=0,
    failed=0,
    batches=0,
    switches=0,
    server=0,
    local=0,
    finished_locally=0,
)


def starting(config: AgentConfig, phase: Phase, selection: Selection | None) -> AgentStatus:
    """Return the state at a glance before the agent is ready; the selection is None until it is loaded."""
    engine = selection.engine if selection else None
    return AgentStatus(
        version=__version__,
        pid=os.getpid(),
        state=phase.state,
        state_text=phase.text,
        uptime_s=phase.uptime_s,
        model=loaded_model(config.model, engine) if engine else configured_model(config.model),
        device=device_view(config.device, engine),
        executors=executor_views(selection) if selection else (),
        profile=None,
        server=PeerView(address=config.server.address, state="not connected yet", error=None, name=None),
        link=NO_LINK,
        split=NO_CHOICE,
        counters=NO_COUNTERS,
        regret=None,
    )


def state(agent: AgentParts) -> tuple[DaemonState, str]:
    """Return the state and its explanation; ready without a server is degraded."""
    phase = agent.phase
    if phase.state != "ready":
        return phase.state, phase.text
    peer = agent.session.status()
    if peer.state in {"ready", "suspect"}:
        return "ready", f"connected to {peer.address}, {phase.text}"
    why = f": {peer.error}" if peer.error else ""
    return "degraded", f"working locally, server {peer.address} is {peer.state}{why}"


def status(agent: AgentParts) -> AgentStatus:
    """Return the state at a glance."""
    name, text = state(agent)
    known = {
        "state": name,
        "state_text": text,
        "profile": agent.obtained.source,
        "server": _peer(agent),
        "link": _link(agent.session.link()),
        "split": _choice(agent),
        "counters": _counters(agent),
        "regret": agent.history.regret(),
    }
    return starting(agent.config, agent.phase, agent.selection).model_copy(update=known)


def splits(agent: AgentParts, query: Query) -> Splits:
    """Return every cut with its size, its calibrated times and what each codec sends."""
    batch = whole(query, "batch") or 1
    cuts, profile = agent.engine.description.cuts, agent.steering.profile
    costs: list[list[CandidateCost]] = [[] for _ in agent.engine.names]
    for cost in agent.steering.costs(batch):
        if cost.kind != "local":
            costs[cost.cut].append(cost)
    rows = [
        SplitRow(
            k=k,
            name=name,
            elements=cuts[k].elements,
            ratio=cuts[k].ratio,
            head_s=profile.head_s(k, batch),
            tail_s=costs[k][0].tail_s if costs[k] else None,
            codecs=tuple(SentSize(codec=cost.codec, wire_bytes=cost.wire_bytes) for cost in costs[k]),
        )
        for k, name in enumerate(agent.engine.names)
    ]
    return Splits(batch=batch, splits=tuple(rows))


def link(agent: AgentParts) -> LinkDocument:
    """Return the link estimate with its bounds."""
    estimate = agent.session.link()
    short = _link(estimate)
    return LinkDocument(
        state=short.state,
        rtt_s=short.rtt_s,
        up_bytes_per_s=short.up_bytes_per_s,
        down_bytes_per_s=short.down_bytes_per_s,
        samples=estimate.samples,
        age_s=estimate.age_s,
        idle_factor=estimate.idle_factor,
        congestion=congestion(),
        counters=asdict(agent.session.status().counters),
    )


def explain(agent: AgentParts, query: Query) -> Explanation:
    """Return every candidate with its terms, its bounds, and why it was not chosen."""
    decision, batch = agent.steering.explain(whole(query, "batch"), positive(query, "rate"))
    chosen = decision.chosen.cost
    k_dev, k_srv = agent.steering.factors()
    rows = [_candidate(scored, chosen=scored.cost.key == chosen.key) for scored in decision.scored]
    rows += [_refused(*refusal) for refusal in agent.steering.refusals()]
    return Explanation(
        batch=batch,
        chosen=chosen.label,
        explored=decision.explored,
        k_dev=_bounds(k_dev),
        k_srv=_bounds(k_srv),
        candidates=tuple(rows),
    )


def history(kept: History, query: Query) -> HistoryDocument:
    """Return the last decisions with what came of them."""
    return HistoryDocument(records=kept.last(whole(query, "count") or RECORDS_SHOWN))


def congestion() -> CongestionView:
    """Return which TCP congestion control this machine uses, and whether it restarts slowly after idle."""
    root = Path("/proc/sys/net/ipv4")
    return CongestionView(
        algorithm=_read(root / "tcp_congestion_control") or "unknown",
        slow_start_after_idle=_read(root / "tcp_slow_start_after_idle") != "0",
    )


def _peer(agent: AgentParts) -> PeerView:
    found, load = agent.session.status(), agent.session.reported_load()
    return PeerView(
        address=found.address,
        state=found.state,
        error=found.error,
        name=found.server.name if found.server else None,
        version=found.server.version if found.server else None,
        reconnects=found.reconnects,
        queue_s=load.queue_s if load else None,
        load=load.load if load else None,
    )


def _choice(agent: AgentParts) -> ChoiceView:
    pinned = agent.steering.pinned
    for last in agent.history.last(1):
        return ChoiceView(name=last.split, codec=last.codec, pinned=pinned)
    return ChoiceView(name=None, codec=None, pinned=pinned)


def _counters(agent: AgentParts) -> AgentCounters:
    intake, pipeline, kept = agent.intake, agent.pipeline, agent.history
    return AgentCounters(
        accepted=intake.accepted,
        refused=intake.refused,
        expired=intake.expired,
        waiting=intake.open_requests(),
        answered=pipeline.answered,
        failed=pipeline.failed,
        batches=kept.batches,
        switches=kept.switches,
        server=kept.by_source["server"],
        local=kept.by_source["local"],
        finished_locally=kept.by_source["finished-locally"],
    )


def _candidate(scored: Scored, *, chosen: bool) -> CandidateRow:
    return CandidateRow(
        candidate=scored.cost.label,
        split=scored.cost.name,
        codec=scored.cost.codec,
        chosen=chosen,
        wire_bytes=scored.cost.wire_bytes,
        terms=CandidateTerms(**asdict(scored.terms)) if scored.terms else None,
        predicted=_bounds_if_known(scored.predicted),
        meets_deadline=scored.meets_deadline,
        reason=scored.reason,
    )


def _refused(name: str, codec: str, reason: str) -> CandidateRow:
    return CandidateRow(
        candidate=f"{name}/{codec}",
        split=name,
        codec=codec,
        chosen=False,
        wire_bytes=None,
        terms=None,
        predicted=None,
        meets_deadline=None,
        reason=f"accuracy: {reason}",
    )


def _link(estimate: LinkEstimate) -> LinkView:
    return LinkView(
        state=estimate.state,
        rtt_s=_bounds_if_known(estimate.rtt_s),
        up_bytes_per_s=_bounds_if_known(estimate.up),
        down_bytes_per_s=_bounds_if_known(estimate.down),
    )


def _bounds(quantiles: Quantiles) -> Bounds:
    return Bounds(p10=quantiles.p10, p50=quantiles.p50, p90=quantiles.p90)


def _bounds_if_known(quantiles: Quantiles | None) -> Bounds | None:
    return None if quantiles is None else _bounds(quantiles)


def _read(path: Path) -> str | None:
    try:
        return path.read_text().strip()
    except OSError:
        return None
