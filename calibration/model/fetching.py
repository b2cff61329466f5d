"""Lets a download of pretrained weights fail at once where there is no network."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit
from urllib.request import getproxies

from huggingface_hub import constants

# The hub's client repeats a failed look-up for about 45 s; a working network answers a connection within this time.
CONNECT_TIMEOUT_S = 3.0
_HTTPS_PORT = 443


@contextmanager
def offline_if_unreachable() -> Iterator[None]:
    """Within this context the model hub's client uses only its cache, if the hub cannot be reached now."""
    before = constants.HF_HUB_OFFLINE
    constants.HF_HUB_OFFLINE = before or not _reachable(constants.ENDPOINT)
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before


def _reachable(url: str) -> bool:
    """Try to connect; behind a proxy only the proxy knows, so the answer is yes."""
    if getproxies() or "HF_HUB_OFFLINE" in os.environ:
        return True
    parts = urlsplit(url)
    try:
        with socket.create_connection((parts.hostname or "", parts.port or _HTTPS_PORT), CONNECT_TIMEOUT_S):
            return True
    except OSError:
        return False
