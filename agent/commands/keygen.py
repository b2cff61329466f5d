"""`splitd keygen DIR`: a CURVE key pair for one machine."""

from __future__ import annotations

from pathlib import Path

import click

from splitd.transport.wire import generate_keys, load_public


@click.command(name="keygen", short_help="make a CURVE key pair")
@click.argument("directory", type=click.Path(path_type=Path))
@click.option("--name", default="splitd", show_default=True, help="Base name of the two files.")
def command(directory: Path, name: str) -> None:
    """Write NAME.key (public: give it to the other end) and NAME.key_secret (keep it here) into DIRECTORY."""
    public, secret = generate_keys(directory, name)
    click.echo(f"public key  {public}  {load_public(public).decode()}")
    click.echo(f"secret key  {secret}")
