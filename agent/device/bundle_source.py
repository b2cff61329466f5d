"""A device that has an address and keys, and no network: the file of its network comes from its server."""

from __future__ import annotations

import logging
import socket
from pathlib import Path

from splitd import __version__
from splitd.agent.configuration import AgentConfig
from splitd.agent.runtime import Phase
from splitd.transport.device import FetchedBundle, FetchLimits, FetchProgress, fetch_bundle
from splitd.transport.wire import ClientKeys, SessionLimits, newcomer

log = logging.getLogger(__name__)

MB = 1_000_000


def obtain_bundle(config: AgentConfig, keys: ClientKeys | None, phase: Phase) -> Path:
    """Return the file that the server offers, fetched now or at an earlier start, below `calibration.state_dir`.

    It waits for the server as long as it takes, unless an earlier file is there; the phase tells how far it is. The
    file's digest was checked, its contents were not.

    Raises:
        StoppedError: The phase was told to stop, within a tenth of a second.
        LinkError, OverloadError, PeerError, StateError: See splitd.transport.device.fetch_bundle.
    """
    address = config.server.address

    def tell(progress: FetchProgress) -> None:
        phase.check()
        phase.set("starting", _told(address, progress))

    found = fetch_bundle(
        address,
        newcomer(__version__, socket.gethostname()),
        into=config.calibration.state_dir / "bundles",
        progress=tell,
        keys=keys,
        limits=FetchLimits(max_bytes=int(config.link.max_bundle_mb * MB)),
        session_limits=SessionLimits(ping_interval_s=config.link.ping_interval_s),
    )
    _log_found(address, found)
    return found.path


def _told(address: str, progress: FetchProgress) -> str:
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
