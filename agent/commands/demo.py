"""`splitd demo`: see the split move on this machine, and what it gains."""

from __future__ import annotations

import json
from pathlib import Path

import click
from rich.console import Console

from splitd.agent.configuration import DEFAULT_CODECS
from splitd.agent.demo import BatchRow, DemoRunner, DemoSettings, Processes, Screen, Summary, save_plot, summary_table
from splitd.agent.simulation import load_trace
from splitd.native.spec import parse_tensor_codec


@click.command("demo")
@click.option("--model", default="efficientnet_b0", show_default=True, help="A timm model.")
@click.option("--trace", "trace_file", type=click.Path(path_type=Path), help="CSV: time_s,rate_bytes_per_s.")
@click.option("--seconds", type=click.FloatRange(min=2), default=12.0, show_default=True, help="Of trace, per policy.")
@click.option(
    "--throttle",
    type=click.FloatRange(min=0, max=1, min_open=True),
    default=0.17,
    show_default=True,
    help="The device's share of this machine's speed.",
)
@click.option(
    "--codec", "codecs", multiple=True, default=DEFAULT_CODECS, help="For the cuts; may be repeated.  [default: all]"
)
@click.option(
    "--jpeg",
    "jpeg_qualities",
    type=click.IntRange(1, 100),
    multiple=True,
    help="Let full offloading send JPEG of this quality too; without it the uint8 image crosses, as in the paper.",
)
@click.option(
    "--out", type=click.Path(path_type=Path), default=Path("demo-out"), show_default=True, help="For the plot."
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def command(
    *,
    model: str,
    trace_file: Path | None,
    seconds: float,
    throttle: float,
    codecs: tuple[str, ...],
    jpeg_qualities: tuple[int, ...],
    out: Path,
    as_json: bool,
) -> None:
    """Run both daemons and a shaped link on this machine, and compare dynamic splitting with three static policies."""
    console = Console(stderr=as_json)
    given = load_trace(trace_file) if trace_file else None
    settings = DemoSettings(model, throttle, jpeg_qualities, tuple(parse_tensor_codec(label).label for label in codecs))
    with Screen(console) as screen, Processes(settings) as processes:
        processes.wait_ready(screen.status)
        runner = DemoRunner(processes, screen.batch)
        screen.status("asking the planner which rates tell the splits of this machine apart")
        trace, fixed = runner.choose_trace(given, seconds)
        policies: dict[str, tuple[str, tuple[str, str | None] | None]] = {
            "dynamic": ("", None),
            "local": ("output", ("output", None)),
            "full": ("input", ("input", None)),
            "static": ("/".join(fixed), fixed),
        }
        rows: list[BatchRow] = []
        for policy, (_, pin) in policies.items():
            rows += runner.run(policy, pin, trace, seconds)
    summary = Summary(model, throttle, trace, {name: label for name, (label, _) in policies.items()}, rows)
    plot = out / "demo.png"
    save_plot(summary, plot)
    if as_json:
        click.echo(json.dumps({**summary.to_json(), "plot": str(plot)}, indent=1))
    else:
        console.print(summary_table(summary))
        console.print(f"plot: {plot}")
