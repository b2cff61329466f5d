"""Tables for people: each function turns one control document into something rich can print."""

from __future__ import annotations

import time

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from splitd.agent.client import (
    AgentStatus,
    Bounds,
    CandidateRow,
    Explanation,
    HistoryDocument,
    LinkDocument,
    LinkView,
    ModelView,
    Record,
    ServerStatus,
    SplitRow,
    Splits,
    Status,
    duration,
    ms,
    rate,
    size,
)
from splitd.agent.commands.executor_tables import executor_line

SHOWN_CHANNELS = 4  # of a network's mean and deviation; the document has all

STATE_STYLE = {"ready": "green", "degraded": "yellow", "calibrating": "cyan", "starting": "cyan", "stopping": "red"}


def state_line(document: Status) -> RenderableType:
    """Return the daemon's state in one line."""
    return Text.assemble((document.state, STATE_STYLE[document.state]), f": {document.state_text}")


def status(document: AgentStatus | ServerStatus) -> RenderableType:
    """Return the state at a glance."""
    model, device = document.model, document.device
    emulated = f", emulating a device at {device.throttle:g} of its speed" if device.throttle else ""
    rows = _pairs()
    rows.add_row(document.daemon, state_line(document))
    rows.add_row("running for", f"{duration(document.uptime_s)}, version {document.version}, pid {document.pid}")
    rows.add_row("model", f"{model.name} ({model.weights}), digest {model.digest[:12]}")
    rows.add_row("input", _input(model))
    rows.add_row("device", f"{device.name}, {device.threads} thread(s){emulated}")
    rows.add_row("executor", executor_line(document.executors, device.executor))
    if isinstance(document, AgentStatus):
        _agent_rows(rows, document)
    else:
        _server_rows(rows, document)
    return rows


def _input(model: ModelView) -> str:
    known = model.preprocessing
    if model.input is None:
        return "not loaded yet"
    if known is None:
        return f"prepared float32 tensors {model.input}, no images: there is no preprocessing"
    sides = "x".join(map(str, known.size))
    crop = "" if known.crop_pct == 1 else f", crop {known.crop_pct:g}"
    mean, std = (" ".join(f"{value:g}" for value in values[:SHOWN_CHANNELS]) for values in (known.mean, known.std))
    return f"images {sides}, {known.interpolation} {known.crop_mode}{crop}, mean {mean}, std {std}"


def _server_rows(rows: Table, document: ServerStatus) -> None:
    load = document.load
    rows.add_row("listening", f"{document.bind}, {load.clients} client(s), queue {ms(load.queue_s)}")
    rows.add_row("requests", f"{load.requests} answered, {load.failed} failed")
    if document.counters:
        rows.add_row("protocol", _counts(document.counters))


def _agent_rows(rows: Table, document: AgentStatus) -> None:
    server, split, count = document.server, document.split, document.counters
    rows.add_row("server", f"{server.address} {server.state}" + (f": {server.error}" if server.error else ""))
    rows.add_row("link", _link_text(document.link))
    pinned = f", pinned to {split.pinned}" if split.pinned else ""
    rows.add_row("split", f"{split.name or '-'} with codec {split.codec or '-'}{pinned}")
    rows.add_row(
        "requests",
        f"{count.accepted} accepted, {count.answered} answered, {count.failed} failed, "
        f"{count.refused} refused, {count.waiting} waiting",
    )
    rows.add_row(
        "batches",
        f"{count.batches}, {count.switches} switches; on the server {count.server}, local {count.local}, "
        f"finished locally {count.finished_locally}",
    )
    regret = document.regret
    if regret:
        shares = f"median {regret.median:.1%}, mean {regret.mean:.1%} of the last {regret.batches} batches"
        rows.add_row("regret", f"{shares}, against the best choice in hindsight (modelled)")


def _link_text(view: LinkView) -> str:
    text = view.state
    if view.rtt_s:
        text += f", round trip {ms(view.rtt_s.p50)}"
    if view.up_bytes_per_s:
        up = view.up_bytes_per_s
        text += f", up {rate(up.p50)} ({rate(up.p10)} to {rate(up.p90)})"
    return text


def link(document: LinkDocument) -> RenderableType:
    """Return the link estimate with its bounds."""
    table = _table("", "10 %", "median", "90 %", title=f"link: {document.state}")
    for label, bounds, show in (
        ("round trip", document.rtt_s, ms),
        ("uplink", document.up_bytes_per_s, rate),
        ("downlink", document.down_bytes_per_s, rate),
    ):
        table.add_row(label, *(map(show, _spread(bounds)) if bounds else ("-", "-", "-")))
    congestion = document.congestion
    slow_start = "on" if congestion.slow_start_after_idle else "off"
    age = "never" if document.age_s is None else f"{duration(document.age_s)} ago"
    notes = [
        f"{document.samples} rate readings, the last {age}",
        f"a transfer after a pause takes {document.idle_factor:.2f} times as long",
        f"congestion control {congestion.algorithm}, slow start after idle {slow_start}",
        _counts(document.counters),
    ]
    return Group(table, *(Text(f"  {note}") for note in notes))


def splits(document: Splits) -> RenderableType:
    """Return every cut with its size and calibrated times, one line for each codec."""
    columns = ("k", "cut", "elements", "c_l", "head", "tail", "codec", "sent")
    table = _table(*columns, title=f"splits, batch {document.batch}")
    for row in document.splits:
        sent = [(codec.codec, size(codec.wire_bytes)) for codec in row.codecs] or [("-", "-")]
        table.add_row(*_split_cells(row), *sent[0])
        for codec in sent[1:]:
            table.add_row(*[""] * 6, *codec)
    return table


def _split_cells(row: SplitRow) -> tuple[str, ...]:
    ratio = "-" if row.ratio is None else f"{row.ratio:.3f}"
    return str(row.k), row.name, f"{row.elements:,}", ratio, ms(row.head_s), ms(row.tail_s)


def explain(document: Explanation) -> RenderableType:
    """Return every candidate of a decision with its terms."""
    terms = ("head", "encode", "rtt", "transfer", "queue", "decode", "tail", "return")
    columns = ("candidate", *terms, "total", "90 %", "why")
    table = _table(*columns, title=f"batch {document.batch}: {document.chosen}")
    for row in document.candidates:
        style = "bold green" if row.chosen else "" if row.terms else "dim"
        table.add_row(row.candidate, *_candidate_cells(row), row.reason, style=style)
    return table


def _candidate_cells(row: CandidateRow) -> tuple[str, ...]:
    terms, predicted = row.terms, row.predicted
    if terms is None or predicted is None:
        return ("-",) * 10
    sent = (terms.head_s, terms.encode_s, terms.rtt_s, terms.transfer_s)
    done = (terms.queue_s, terms.decode_s, terms.tail_s, terms.return_s)
    return tuple(ms(seconds) for seconds in (*sent, *done, predicted.p50, predicted.p90))


def history(document: HistoryDocument) -> RenderableType:
    """Return the last decisions."""
    table = _table(
        "time", "batch", "split", "codec", "sent", "rate", "predicted", "measured", "error", "hindsight", "finished by"
    )
    for record in document.records:
        table.add_row(*_record_cells(record))
    return table


def _record_cells(record: Record) -> tuple[str, ...]:
    measured, predicted = record.measured_s, record.predicted_s
    return (
        time.strftime("%H:%M:%S", time.localtime(record.time)),
        str(record.batch),
        record.split,
        record.codec,
        size(record.wire_bytes),
        rate(record.rate_bytes_per_s),
        ms(predicted),
        ms(measured),
        "-" if predicted is None or not measured else f"{(predicted - measured) / measured:+.0%}",
        ms(record.hindsight_s),
        record.source + (f" ({record.cause})" if record.cause else ""),
    )


def watch(document: AgentStatus | ServerStatus, records: HistoryDocument | None) -> RenderableType:
    """Return status and history together; None for a daemon that keeps no history."""
    return status(document) if records is None else Group(status(document), history(records))


def _spread(bounds: Bounds) -> tuple[float, float, float]:
    return bounds.p10, bounds.p50, bounds.p90


def _counts(counters: dict[str, int]) -> str:
    return ", ".join(f"{name.replace('_', ' ')} {count}" for name, count in counters.items())


def _pairs() -> Table:
    table = Table.grid(padding=(0, 2))
    table.add_column(style="bold")
    table.add_column()
    return table


def _table(*columns: str, title: str | None = None) -> Table:
    table = Table(title=title, title_justify="left", header_style="bold", box=None, pad_edge=False)
    text_columns = {"cut", "codec", "candidate", "why", "split", "finished by", ""}
    for column in columns:
        table.add_column(column, justify="left" if column in text_columns else "right", no_wrap=column != "why")
    return table
