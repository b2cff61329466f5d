"""Links for the lab tests; each test gets a fresh one."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.lab import links


@pytest.fixture
def veth_link() -> Iterator[links.VethLink]:
    """Two namespaces joined by a veth pair: exact rates, no delay."""
    with links.veth_link() as link:
        yield link


@pytest.fixture
def tun_link() -> Iterator[links.TunLink]:
    """Two namespaces joined by a relay: rates, traces, delay, loss, outages."""
    with links.tun_link() as link:
        yield link
