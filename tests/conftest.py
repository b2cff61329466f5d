"""Who may run where: lab and systemd tests need root and tools, and say so instead of failing obscurely.

A developer without root sees them skipped with the reason. `SPLITD_REQUIRE_LAB=1` (set by `.ci/run`) turns every
missing requirement into a failure, so that a green run there means they really ran.

All tests, and the daemons that they start, run with the checker of thread ownership (`splitd.ownership`); benchmarks do
not.
"""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import pytest

from splitd.ownership import CHECK_VARIABLE
from tests.distribution import Archives, build

REQUIRE_LAB = "SPLITD_REQUIRE_LAB"
TOOLS = {"lab": ("ip", "tc"), "systemd": ("systemd-nspawn", "systemd-analyze", "nsenter", "mount")}
PATHS = {
    "lab": (Path("/dev/net/tun"),),
    # The container runs the distribution's interpreter: one below somebody's home is out of a service's sight.
    "systemd": (Path(f"/usr/bin/python{sys.version_info.major}.{sys.version_info.minor}"),),
}


def missing_requirements(kind: str) -> list[str]:
    """What this machine lacks for tests of `kind` ("lab" or "systemd"), in words; empty when they can run."""
    missing = [] if os.geteuid() == 0 else ["root"]
    missing += [tool for tool in TOOLS[kind] if shutil.which(tool) is None]
    return missing + [str(path) for path in PATHS[kind] if not path.exists()]


def pytest_configure(config: pytest.Config) -> None:
    """Switch the checker of thread ownership on, unless times are measured."""
    if not config.getoption("benchmark_enable"):
        os.environ[CHECK_VARIABLE] = "1"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what stands below `tests/lab` and `tests/systemd`, and skip it where it cannot run."""
    lacking = {kind: missing_requirements(kind) for kind in TOOLS}
    required = os.environ.get(REQUIRE_LAB) == "1"
    for item in items:
        if item.path.parent.name in TOOLS:
            item.add_marker(item.path.parent.name)
        for kind in TOOLS:
            if item.get_closest_marker(kind) and lacking[kind] and not required:
                item.add_marker(pytest.mark.skip(reason=f"{kind} tests need {', '.join(lacking[kind])}"))


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Fail, where they are required, the lab and systemd tests that this machine cannot run."""
    for kind in TOOLS:
        if item.get_closest_marker(kind) and (lacking := missing_requirements(kind)):
            pytest.fail(f"{REQUIRE_LAB}=1, but {kind} tests need {', '.join(lacking)}", pytrace=False)


@pytest.fixture(scope="session")
def archives(tmp_path_factory: pytest.TempPathFactory) -> Archives:
    """The sdist and the wheel of this checkout."""
    return build(tmp_path_factory.mktemp("dist"))
