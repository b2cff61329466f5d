"""One booted container for the tests of this folder: booting takes seconds, installing takes more."""

from __future__ import annotations

import sysconfig
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.systemd.container import Container, booted

# This environment's packages, seen in the container as a vendor's torch is seen on a Jetson: installed already,
# outside the environment that the user makes for splitd.
SITE_PACKAGES = "/srv/site-packages"


@pytest.fixture(scope="session")
def container() -> Iterator[Container]:
    """A booted container that sees this environment's packages at SITE_PACKAGES."""
    with booted({Path(sysconfig.get_path("purelib")): SITE_PACKAGES}) as booted_container:
        yield booted_container
