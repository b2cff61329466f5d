"""Tables for people: each function turns one control document into something rich can print."""

from __future__ import annotations

import time
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from splitd.agent.client import duration, ms, rate, size

Document = dict[str, Any]
STATE_STYLE = {"ready": "green", "degraded": "yellow", "calibrating": "cyan", "starting": "cyan", "stopping": "red"}


def message(document: Document) -> RenderableType:
    """Return the one line that a change answers with."""
    return Text(document["message"])


def state_line(document: Document) -> RenderableType:
    """Return the daemon's state in one line."""
    style = STATE_STYLE.get(document["state"], "")
    return Text.assemble((document["state"], style), f": {document['state_text']}")


def status(document: Document) -> RenderableType:
    """Return the state at a glance."""
    rows = _pairs()
    rows.add_row(document["daemon"], state_line(document))
    rows.add_row(
        "running for", f"{duration(document['uptime_s'])}, version {document['version']}, pid {document['pid']}"
    )
    model = document["model"]
    rows.add_row(
        "model", f"{model['name']} ({model['weights']}), {model['image_size']} px, digest {model['digest'][:12]}"
    )
    device = document["device"]
    emulated = f", emulating a device at {device['throttle']:g} of its speed" if device["throttle"] else ""
    rows.add_row("device", f"{device['name']}, {device['threads']} thread(s){emulated}")
    if document["daemon"] == "agent":
        _agent_rows(rows, document)
    else:
        load = document["load"]
        rows.add_row("listening", f"{document['bind']}, {load['clients']} client(s), queue {ms(load['queue_s'])}")
        rows.add_row("requests", f"{load['requests']} answered, {load['failed']} failed")
    return rows


def _agent_rows(rows: Table, document: Document) -> None:
    server = document["server"]
    text = f"{server['address']} {server['state']}" + (f": {server['error']}" if server["error"] else "")
    rows.add_row("server", text)
    rows.add_row("link", _link_text(document["link"]))
    split = document["split"]
    pinned = f", pinned to {split['pinned']}" if split["pinned"] else ""
    rows.add_row("split", f"{split['name'] or '-'} with codec {split['codec'] or '-'}{pinned}")
    count = document["counters"]
    rows.add_row(
        "requests",
        f"{count['accepted']} accepted, {count['answered']} answered, {count['failed']} failed, "
        f"{count['refused']} refused, {count['waiting']} waiting",
    )
    rows.add_row(
        "batches",
        f"{count['batches']}, {count['switches']} switches; on the server {count['server']}, local {count['local']}, "
        f"finished locally {count['finished-locally']}",
    )
    regret = document["regret"]
    if regret:
        shares = f"median {regret['median']:.1%}, mean {regret['mean']:.1%} of the last {regret['batches']} batches"
        rows.add_row("regret", f"{shares}, against the best choice in hindsight (modelled)")


def _link_text(link_view: Document) -> str:
    up = link_view["up_bytes_per_s"]
    text = str(link_view["state"])
    if link_view["rtt_s"]:
        text += f", round trip {ms(link_view['rtt_s']['p50'])}"
    if up:
        text += f", up {rate(up['p50'])} ({rate(up['p10'])} to {rate(up['p90'])})"
    return text


def link(document: Document) -> RenderableType:
    """Return the link estimate with its bounds."""
    table = _table("", "10 %", "median", "90 %", title=f"link: {document['state']}")
    for label, key, show in (
        ("round trip", "rtt_s", ms),
        ("uplink", "up_bytes_per_s", rate),
        ("downlink", "down_bytes_per_s", rate),
    ):
        view = document[key]
        table.add_row(label, *((show(view[q]) for q in ("p10", "p50", "p90")) if view else ("-", "-", "-")))
    congestion = document["congestion"]
    slow_start = "on" if congestion["slow_start_after_idle"] else "off"
    age = "never" if document["age_s"] is None else f"{duration(document['age_s'])} ago"
    notes = [
        f"{document['samples']} rate readings, the last {age}",
        f"a transfer after a pause takes {document['idle_factor']:.2f} times as long",
        f"congestion control {congestion['algorithm']}, slow start after idle {slow_start}",
        ", ".join(f"{name.replace('_', ' ')} {count}" for name, count in document["counters"].items()),
    ]
    return Group(table, *(Text(f"  {note}") for note in notes))


def splits(document: Document) -> RenderableType:
    """Return every cut with its size and calibrated times at one sample."""
    table = _table(
        "k", "cut", "elements", "c_l", "head", "tail", "codec", "sent", title=f"splits, batch {document['batch']}"
    )
    for cut in document["splits"]:
        first = True
        for codec in cut["codecs"] or [None]:
            lead = (
                (
                    str(cut["k"]),
                    cut["name"],
                    f"{cut['elements']:,}",
                    _ratio(cut["ratio"]),
                    ms(cut["head_s"]),
                    ms(cut["tail_s"]),
                )
                if first
                else ("",) * 6
            )
            table.add_row(*lead, *((codec["codec"], size(codec["wire_bytes"])) if codec else ("-", "-")))
            first = False
    return table


def explain(document: Document) -> RenderableType:
    """Return every candidate of a decision with its terms."""
    columns = (
        "candidate",
        "head",
        "encode",
        "rtt",
        "transfer",
        "queue",
        "decode",
        "tail",
        "return",
        "total",
        "90 %",
        "why",
    )
    table = _table(*columns, title=f"batch {document['batch']}: {document['chosen']}")
    for row in document["candidates"]:
        terms = row["terms"]
        style = "bold green" if row["chosen"] else ""
        if terms is None:
            table.add_row(row["candidate"], *["-"] * 10, row["reason"], style="dim")
            continue
        cells = [ms(terms[f"{name}_s"]) for name in columns[1:9]]
        table.add_row(
            row["candidate"],
            *cells,
            ms(row["predicted"]["p50"]),
            ms(row["predicted"]["p90"]),
            row["reason"],
            style=style,
        )
    return table


def history(document: Document) -> RenderableType:
    """Return the last decisions."""
    table = _table(
        "time", "batch", "split", "codec", "sent", "rate", "predicted", "measured", "error", "hindsight", "finished by"
    )
    for row in document["records"]:
        measured, predicted = row["measured_s"], row["predicted_s"]
        error = "-" if predicted is None or not measured else f"{(predicted - measured) / measured:+.0%}"
        table.add_row(
            time.strftime("%H:%M:%S", time.localtime(row["time"])),
            str(row["batch"]),
            row["split"],
            row["codec"],
            size(row["wire_bytes"]),
            rate(row["rate_bytes_per_s"]),
            ms(predicted),
            ms(measured),
            error,
            ms(row["hindsight_s"]),
            row["source"] + (f" ({row['cause']})" if row["cause"] else ""),
        )
    return table


def watch(document: Document) -> RenderableType:
    """Return status and history together."""
    parts = [status(document)]
    if document["daemon"] == "agent":
        parts.append(history({"records": document["history"]}))
    return Group(*parts)


def _ratio(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


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
