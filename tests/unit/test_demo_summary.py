"""The demo's arithmetic: means over trace time, gains from the means shown, levels that tell splits apart."""

from __future__ import annotations

import io
import json

import pytest
from rich.console import Console

from splitd.agent.demo.levels import Forecast, best_fixed, built_in_trace
from splitd.agent.demo.screen import summary_table
from splitd.agent.demo.summary import BatchRow, Summary
from splitd.agent.simulation.traces import steps

TRACE = steps("two", (1.0, 1e6), (1.0, 1e5))


def row(policy: str, time_s: float, measured_s: float, split: str = "blocks.1", *, ok: bool = True) -> BatchRow:
    return BatchRow(policy, time_s, TRACE.rate_at(time_s), 1e6, split, "u8", "server", measured_s, ok)


@pytest.fixture
def summary() -> Summary:
    rows = [
        row("dynamic", 0.0, 0.1),
        row("dynamic", 1.0, 0.3, "output"),
        row("local", 0.0, 0.4, "output"),
        row("local", 1.0, 0.4, "output"),
        row("full", 0.0, 0.2, "input"),
        row("full", 1.0, 0.6, "input", ok=False),
        row("static", 0.0, 0.2),
        row("static", 1.0, 0.4),
    ]
    return Summary("m", 0.2, TRACE, {"dynamic": "", "local": "output", "full": "input", "static": "blocks.1/u8"}, rows)


def test_means_weigh_trace_time_not_batches(summary: Summary) -> None:
    assert summary.mean_ms("dynamic") == 200
    summary.rows[0:1] = [row("dynamic", n / 10, 0.1) for n in range(10)]
    assert summary.mean_ms("dynamic") == 200


def test_a_gain_can_be_computed_from_the_two_means_beside_it(summary: Summary) -> None:
    summary.rows[0] = row("dynamic", 0.0, 0.12345)
    document = summary.to_json()
    assert summary.gain("dynamic") == 0.0
    for mean, gain in (
        ("local_ms", "gain_vs_local"),
        ("full_offload_ms", "gain_vs_full_offload"),
        ("best_static_ms", "gain_vs_best_static"),
    ):
        assert document[gain] == 1 - document["dynamic_ms"] / document[mean]


def test_a_gain_has_the_sign_of_the_difference_of_the_means(summary: Summary) -> None:
    """A policy that is good where time is short and bad where it is long loses in the mean; a mean of ratios hid it."""
    summary.rows[6:8] = [row("static", 0.0, 0.05), row("static", 1.0, 0.39)]
    assert (summary.mean_ms("dynamic"), summary.mean_ms("static")) == (200, 220)
    assert summary.gain("static") == pytest.approx(20 / 220)


def test_the_table_shows_the_means_and_what_follows_from_them(summary: Summary) -> None:
    summary.rows[0] = row("dynamic", 0.0, 0.12345)
    console = Console(width=160, file=io.StringIO())
    console.print(summary_table(summary))
    shown = {line.split()[0]: line for line in console.file.getvalue().splitlines() if line}  # type: ignore[attr-defined]
    for policy in ("local", "full", "static"):
        dynamic_ms, theirs_ms = (float(shown[name].split()[1]) for name in ("dynamic", policy))
        assert f"{1 - dynamic_ms / theirs_ms:+.0%}" in shown[policy]


def test_the_document_has_the_promised_fields(summary: Summary) -> None:
    document = json.loads(json.dumps(summary.to_json()))
    assert document["dynamic_ms"] == pytest.approx(200)
    assert document["best_static"] == "blocks.1/u8"
    assert (document["switches"], document["batches"], document["lost"]) == (1, 8, 1)
    assert len(document["batch_list"]) == 8
    promised = {"local_ms", "full_offload_ms", "best_static_ms", "gain_vs_local", "gain_vs_full_offload"}
    assert promised | {"gain_vs_best_static", "schema_version"} <= set(document)


def forecast(rate: float, best: str) -> Forecast:
    times = {("input", "raw"): 3.0, ("a", "u8"): 3.0, ("b", "u8"): 2.5, ("output", "-"): 3.0}
    key = next(key for key in times if key[0] == best)
    return Forecast(rate, key, {**times, key: 1.0})


def test_the_built_in_trace_visits_a_rate_of_every_best_split() -> None:
    looks = [forecast(float(n), best) for n, best in enumerate(["output"] * 3 + ["a"] * 3 + ["b"] * 3 + ["input"] * 3)]
    trace = built_in_trace(looks, 8.0)
    assert trace.duration_s == pytest.approx(8.0)
    assert trace.rates_bytes_per_s == (10.0, 7.0, 4.0, 1.0, 4.0, 7.0)


def test_the_best_fixed_split_is_one_that_splits() -> None:
    assert best_fixed([forecast(1.0, "input"), forecast(2.0, "a")]) == ("a", "u8")
