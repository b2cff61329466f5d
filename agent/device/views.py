"""The documents that the agent's control socket serves."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from splitd import __version__
from splitd.agent.runtime import device_view, model_view
from splitd.errors import UsageError
from splitd.transport.estimate import LinkEstimate, Quantiles

if TYPE_CHECKING:
    from splitd.agent.device.daemon import AgentDaemon

MAX_BATCH_ASKED = 256
Document = dict[str, Any]
Query = Mapping[str, str]


def state(daemon: AgentDaemon) -> tuple[str, str]:
    """Return the state and its explanation; ready without a server is degraded."""
    phase, session = daemon.phase, daemon.session
    if phase.state != "ready" or session is None:
        return phase.state, phase.text
    status = session.status()
    if status.state in {"ready", "suspect"}:
        return "ready", f"connected to {status.address}, {phase.text}"
    why = f": {status.error}" if status.error else ""
    return "degraded", f"working locally, server {status.address} is {status.state}{why}"


def status(daemon: AgentDaemon) -> Document:
    """Return the state at a glance."""
    name, text = state(daemon)
    config, history = daemon.config, daemon.history
    last, regret = history.last(1), history.regret()
    return {
        "daemon": "agent",
        "version": __version__,
        "pid": os.getpid(),
        **daemon.phase.view(),
        "state": name,
        "state_text": text,
        "model": model_view(config.model, daemon.engine),
        "device": device_view(config.device, daemon.engine),
        "profile": daemon.obtained.source if daemon.obtained else None,
        "server": _server(daemon),
        "link": _link(daemon.session.link()) if daemon.session else _link(LinkEstimate("unknown")),
        "split": {
            "name": last[0]["split"] if last else None,
            "codec": last[0]["codec"] if last else None,
            "pinned": daemon.brain.pinned if daemon.brain else None,
        },
        "counters": _counters(daemon),
        "regret": None if regret is None else asdict(regret),
    }


def splits(daemon: AgentDaemon, query: Query) -> Document:
    """Return every cut with its size, its calibrated times and what each codec sends."""
    brain, engine = daemon.running_brain(), daemon.engine
    assert engine is not None  # noqa: S101  (there is no brain without a engine)
    batch = _whole(query, "batch") or 1
    partition = engine.partition
    ratios = [1.0, *(cut.ratio for cut in partition.cuts), 0.0]
    elements = [_elements(engine.preprocessing.size), *(cut.elements for cut in partition.cuts), 0]
    rows = []
    for k, name in enumerate(engine.names):
        costs = [cost for cost in brain.costs(batch) if cost.cut == k and cost.kind != "local"]
        rows.append(
            {
                "k": k,
                "name": name,
                "elements": elements[k],
                "ratio": ratios[k],
                "head_s": brain.profile.head_s(k, batch),
                "tail_s": costs[0].tail_s if costs else None,
                "codecs": [{"codec": cost.codec, "wire_bytes": cost.wire_bytes} for cost in costs],
            }
        )
    return {"batch": batch, "splits": rows}


def link(daemon: AgentDaemon) -> Document:
    """Return the link estimate with its bounds."""
    daemon.running_brain()
    session = daemon.session
    assert session is not None  # noqa: S101  (there is no brain without a session)
    estimate, counters = session.link(), session.status().counters
    return {
        **_link(estimate),
        "samples": estimate.samples,
        "age_s": estimate.age_s,
        "idle_factor": estimate.idle_factor,
        "congestion": congestion(),
        "counters": asdict(counters),
    }


def explain(daemon: AgentDaemon, query: Query) -> Document:
    """Return every candidate with its terms, its bounds, and why it was not chosen."""
    brain = daemon.running_brain()
    decision, batch = brain.explain(_whole(query, "batch"), _positive(query, "rate"))
    chosen = decision.chosen.cost
    rows = [
        {
            "candidate": scored.cost.label,
            "split": scored.cost.name,
            "codec": scored.cost.codec,
            "chosen": scored.cost.key == chosen.key,
            "wire_bytes": scored.cost.wire_bytes,
            "terms": asdict(scored.terms) if scored.terms else None,
            "predicted": asdict(scored.predicted) if scored.predicted else None,
            "reason": scored.reason,
        }
        for scored in decision.scored
    ]
    rows += [
        {
            "candidate": f"{name}/{codec}",
            "split": name,
            "codec": codec,
            "chosen": False,
            "wire_bytes": None,
            "terms": None,
            "predicted": None,
            "reason": f"accuracy: {reason}",
        }
        for name, codec, reason in brain.refusals()
    ]
    k_dev, k_srv = brain.factors()
    return {
        "batch": batch,
        "chosen": chosen.label,
        "explored": decision.explored,
        "k_dev": asdict(k_dev),
        "k_srv": asdict(k_srv),
        "candidates": rows,
    }


def history(daemon: AgentDaemon, query: Query) -> Document:
    """Return the last decisions with what came of them."""
    return {"records": daemon.history.last(_whole(query, "count") or 20)}


def congestion() -> Document:
    """Return which TCP congestion control this machine uses, and whether it restarts slowly after idle."""
    root = Path("/proc/sys/net/ipv4")
    return {
        "algorithm": _read(root / "tcp_congestion_control") or "unknown",
        "slow_start_after_idle": _read(root / "tcp_slow_start_after_idle") != "0",
    }


def _server(daemon: AgentDaemon) -> Document:
    if daemon.session is None:
        return {"address": daemon.config.server.address, "state": "not connected yet", "error": None, "name": None}
    found, load = daemon.session.status(), daemon.session.server_view()
    return {
        "address": found.address,
        "state": found.state,
        "error": found.error,
        "name": found.server.name if found.server else None,
        "version": found.server.version if found.server else None,
        "reconnects": found.reconnects,
        "queue_s": load.queue_s if load else None,
        "load": load.load if load else None,
    }


def _link(estimate: LinkEstimate) -> Document:
    return {
        "state": estimate.state,
        "rtt_s": _bounds(estimate.rtt_s),
        "up_bytes_per_s": _bounds(estimate.up),
        "down_bytes_per_s": _bounds(estimate.down),
    }


def _counters(daemon: AgentDaemon) -> Document:
    intake, pipeline, history_ = daemon.intake, daemon.pipeline, daemon.history
    return {
        "accepted": intake.accepted if intake else 0,
        "refused": intake.refused if intake else 0,
        "expired": intake.expired if intake else 0,
        "waiting": intake.open_requests() if intake else 0,
        "answered": pipeline.answered if pipeline else 0,
        "failed": pipeline.failed if pipeline else 0,
        "batches": history_.batches,
        "switches": history_.switches,
        **history_.by_source,
    }


def _bounds(quantiles: Quantiles | None) -> Document | None:
    return None if quantiles is None else asdict(quantiles)


def _elements(size: tuple[int, ...]) -> int:
    channels, height, width = size
    return channels * height * width


def _whole(query: Query, name: str) -> int | None:
    text = query.get(name)
    if text is None:
        return None
    if not text.isdigit() or not 0 < int(text) <= MAX_BATCH_ASKED:
        raise UsageError(f"{name}: a whole number from 1 to {MAX_BATCH_ASKED}, not {text!r}")
    return int(text)


def _positive(query: Query, name: str) -> float | None:
    text = query.get(name)
    if text is None:
        return None
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise UsageError(f"{name}: a positive number of bytes per second, not {text!r}")
    return value


def _read(path: Path) -> str | None:
    try:
        return path.read_text().strip()
    except OSError:
        return None
