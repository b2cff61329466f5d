"""`splitctl`: asks a running daemon how it is doing, over its control socket. Does not need torch."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import click
from rich.console import Console, RenderableType
from rich.live import Live

from splitd import __version__
from splitd.agent.client import (
    DEFAULT_SOCKET,
    AgentStatus,
    ChangeAnswer,
    ControlClient,
    Document,
    Explanation,
    HistoryDocument,
    LinkDocument,
    ServerStatus,
    Splits,
)
from splitd.agent.commands import ctl_tables
from splitd.errors import DaemonUnreachableError, DeadlineError, SplitdError

EXIT_DEGRADED = 4
POLL_S = 0.2
RECORDS_WATCHED = 12  # as many as fit below the status on a terminal of 24 lines

DocumentT = TypeVar("DocumentT", bound=Document)

console = Console()


class Caller:
    """What the options of the group say, for the commands: whom to ask, and how to print the answer."""

    def __init__(self, socket: Path, *, as_json: bool) -> None:
        self.client = ControlClient(socket)
        self.as_json = as_json

    def show(self, document: DocumentT, table: Callable[[DocumentT], RenderableType]) -> None:
        """Print one document: as JSON, or as a table for people."""
        if self.as_json:
            click.echo(json.dumps(document.to_json(), indent=2))
        else:
            console.print(table(document))

    def say(self, answer: ChangeAnswer) -> None:
        """Print what a change answers: on one line, however long, since people copy paths from it."""
        click.echo(json.dumps(answer.to_json(), indent=2) if self.as_json else answer.message)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="splitctl")
@click.option(
    "--socket",
    type=click.Path(path_type=Path),
    default=lambda: os.environ.get("SPLITD_CONTROL_SOCKET", str(DEFAULT_SOCKET)),
    help=f"The daemon's control socket.  [default: {DEFAULT_SOCKET}]",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@click.pass_context
def cli(context: click.Context, socket: Path, *, as_json: bool) -> None:
    """Ask splitd how it is doing, and steer it."""
    context.obj = Caller(socket, as_json=as_json)


def _json_option(function: Callable[..., None]) -> Callable[..., None]:
    """Accept --json after the command too."""

    def remember(context: click.Context, _parameter: click.Parameter, value: bool) -> None:
        if value:
            context.obj.as_json = True

    option = click.option(
        "--json", is_flag=True, expose_value=False, callback=remember, help="Print one JSON document."
    )
    return option(function)


@cli.command()
@_json_option
@click.pass_obj
def status(caller: Caller) -> None:
    """State, split, link and server at a glance. Exits 4 when degraded."""
    document = caller.client.status()
    caller.show(document, ctl_tables.status)
    if document.state == "degraded":
        sys.exit(EXIT_DEGRADED)


@cli.command()
@click.option("--interval", type=click.FloatRange(min=0.1), default=1.0, show_default=True, help="Seconds.")
@click.option("--count", type=click.IntRange(min=1), help="Stop after so many looks.")
@_json_option
@click.pass_obj
def watch(caller: Caller, interval: float, count: int | None) -> None:
    """Status and the last decisions, again and again."""
    looks = 0
    with Live(console=console, auto_refresh=False) as live:
        while True:
            status, history = _look(caller.client)
            if caller.as_json:
                document = {**status.to_json(), **({"history": history.to_json()["records"]} if history else {})}
                live.console.print_json(json.dumps(document), indent=None)
            else:
                live.update(ctl_tables.watch(status, history), refresh=True)
            looks += 1
            if looks == count:
                return
            time.sleep(interval)


def _look(client: ControlClient) -> tuple[AgentStatus | ServerStatus, HistoryDocument | None]:
    """Return what `watch` shows; a server keeps no history."""
    status = client.status()
    is_agent = isinstance(status, AgentStatus)
    return status, client.get(HistoryDocument, count=RECORDS_WATCHED) if is_agent else None


@cli.command()
@_json_option
@click.pass_obj
def splits(caller: Caller) -> None:
    """Every cut with its size and calibrated times."""
    caller.show(caller.client.get(Splits), ctl_tables.splits)


@cli.command()
@_json_option
@click.pass_obj
def link(caller: Caller) -> None:
    """The link estimate with its bounds."""
    caller.show(caller.client.get(LinkDocument), ctl_tables.link)


@cli.command()
@click.option("--batch", type=click.IntRange(min=1), help="For this batch size.")
@click.option("--rate", type=click.FloatRange(min=0, min_open=True), help="As if the uplink had this many MB/s.")
@_json_option
@click.pass_obj
def explain(caller: Caller, batch: int | None, rate: float | None) -> None:
    """Every candidate with its predicted time, and why it was not chosen."""
    rate_bytes_per_s = None if rate is None else rate * 1e6
    caller.show(caller.client.get(Explanation, batch=batch, rate=rate_bytes_per_s), ctl_tables.explain)


@cli.command()
@click.option("--count", type=click.IntRange(min=1), default=20, show_default=True, help="How many.")
@_json_option
@click.pass_obj
def history(caller: Caller, count: int) -> None:
    """The last decisions with predicted and measured time."""
    caller.show(caller.client.get(HistoryDocument, count=count), ctl_tables.history)


@cli.command()
@click.argument("cut")
@click.option("--codec", help="Use this codec too.")
@_json_option
@click.pass_obj
def pin(caller: Caller, cut: str, codec: str | None) -> None:
    """Use one CUT for every batch: a name from `splitctl splits`, `input` (full offloading) or `output` (local)."""
    caller.say(caller.client.post("pin", cut=cut, codec=codec))


@cli.command()
@_json_option
@click.pass_obj
def unpin(caller: Caller) -> None:
    """Choose the split for each batch again."""
    caller.say(caller.client.post("unpin"))


@cli.command()
@_json_option
@click.pass_obj
def recalibrate(caller: Caller) -> None:
    """Measure the latency profile anew, between batches."""
    caller.say(caller.client.post("recalibrate"))


@cli.command()
@_json_option
@click.pass_obj
def record(caller: Caller) -> None:
    """Save what the flight recorder holds now, for `splitd replay --recording`."""
    caller.say(caller.client.post("record"))


@cli.command()
@_json_option
@click.pass_obj
def reload(caller: Caller) -> None:
    """Read the configuration again; a broken one changes nothing."""
    caller.say(caller.client.post("reload"))


@cli.command()
@click.option("--timeout", type=click.FloatRange(min=0), default=60.0, show_default=True, help="Seconds.")
@click.option("--server", "for_server", is_flag=True, help="Wait until the edge server is connected too.")
@_json_option
@click.pass_obj
def wait(caller: Caller, timeout: float, *, for_server: bool) -> None:
    """Wait until the daemon is ready; exits 5 if that takes too long."""
    end_s = time.monotonic() + timeout
    wanted = {"ready"} if for_server else {"ready", "degraded"}
    last = "the daemon does not answer"
    while True:
        try:
            document = caller.client.status()
        except DaemonUnreachableError as error:
            last = str(error)
        else:
            if document.state in wanted:
                caller.show(document, ctl_tables.state_line)
                return
            last = f"the daemon is {document.state}: {document.state_text}"
        if time.monotonic() >= end_s:
            raise DeadlineError(f"not ready after {timeout:g} s; {last}")
        time.sleep(POLL_S)


@cli.command()
@click.pass_obj
def metrics(caller: Caller) -> None:
    """Prometheus metrics."""
    click.echo(caller.client.metrics(), nl=False)


def main(argv: Sequence[str] | None = None) -> None:
    """Run `splitctl`; a SplitdError becomes one message on stderr and the exit code of its class."""
    try:
        cli.main(args=argv, prog_name="splitctl")
    except SplitdError as error:
        click.echo(f"splitctl: {error}", err=True)
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
