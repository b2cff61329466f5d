"""A device that has an address and keys, and nothing else: the file of its network comes from its server."""

from __future__ import annotations

import logging
import socket
from collections.abc import Callable
from pathlib import Path

from splitd import __version__
from splitd.agent.configuration import AgentConfig
from splitd.errors import ConfigError
from splitd.transport.device import FetchedBundle, FetchLimits, FetchProgress, fetch_bundle
from splitd.transport.wire import ClientKeys, SessionLimits, load_pair, newcomer

log = logging.getLogger(__name__)

MB = 1_000_000


def client_keys(config: AgentConfig) -> ClientKeys | None:
    """Return the configured keys, None where there are none; raises ConfigError if they cannot be used."""
    keys = config.keys
    if keys is None or keys.peer_public_key is None:
        return None
    if len(keys.peer_public_key) != 40:
        raise ConfigError(
            [f"keys.peer_public_key: a CURVE key has 40 characters, this one {len(keys.peer_public_key)}"]
        )
    return ClientKeys(load_pair(keys.secret_file), keys.peer_public_key.encode())


def with_network(config: AgentConfig, keys: ClientKeys | None, tell: Callable[[str], None]) -> AgentConfig:
    """Return the configuration with the path of a file in place of `from-server`; see `obtain_bundle`."""
    if not config.model.comes_from_server:
        return config
    model = config.model.model_copy(update={"bundle": obtain_bundle(config, keys, tell)})
    return config.model_copy(update={"model": model})


def obtain_bundle(config: AgentConfig, keys: ClientKeys | None, tell: Callable[[str], None]) -> Path:
    """Return the file that the server offers, fetched now or at an earlier start, below `calibration.state_dir`.

    It waits for the server as long as it takes, unless an earlier file is there. `tell` is given one line about how far
    it is, at least ten times a second; what it raises ends the call. The file has the right digest; nothing more is
    known of what is in it.

    Raises:
        LinkError, OverloadError, PeerError, StateError: See splitd.transport.device.fetch_bundle.
    """
    address = config.server.address

    found = fetch_bundle(
        address,
        newcomer(__version__, socket.gethostname()),
        into=config.calibration.state_dir / "bundles",
        progress=lambda progress: tell(_line(address, progress)),
        keys=keys,
        limits=FetchLimits(max_bytes=int(config.link.max_bundle_mb * MB)),
        session_limits=SessionLimits(ping_interval_s=config.link.ping_interval_s),
    )
    _log_found(address, found)
    return found.path


def _line(address: str, progress: FetchProgress) -> str:
    """Return where a fetch stands, in one line."""
    doing = f"asking {address} for its network"
    if progress.total_bytes is not None:
        share, total_mb = progress.received_bytes / progress.total_bytes, progress.total_bytes / MB
        doing = f"fetching {progress.name} from {address}, {share:.0%} of {total_mb:.1f} MB"
    # What a server says goes to the service manager too, where a line end would begin another message.
    return doing if progress.trouble is None else f"{doing}: {' '.join(progress.trouble.split())}"


def _log_found(address: str, found: FetchedBundle) -> None:
    if found.trouble is not None:
        log.warning("using the network of an earlier start, %s: %s", found.path, found.trouble)
    elif found.is_new:
        log.info("got the network from %s: %s", address, found.path)
    else:
        log.info("the network of an earlier start is still that of %s: %s", address, found.path)
