"""The manual's installation in a real machine."""

from __future__ import annotations

import re

from splitd import __version__
from tests.systemd.conftest import SITE_PACKAGES
from tests.systemd.container import Container

WORST_EXPOSURE = 2.5  # of 10, by systemd-analyze's own count; the open devices and the network are most of it
UNITS = ("splitd-agent.service", "splitd-server.service")


def test_the_programs_are_on_the_path_for_everybody(installed: Container) -> None:
    assert installed.run("splitd", "--version", user="nobody").stdout.strip() == f"splitd, version {__version__}"
    installed.run("splitctl", "--help", user="nobody")


def test_the_vendors_torch_is_kept(installed: Container) -> None:
    where = installed.run("/opt/splitd/bin/python", "-c", "import torch; print(torch.__file__)").stdout
    assert str(SITE_PACKAGES) in installed.run("readlink", "-f", where.strip()).stdout


def test_the_units_are_clean(installed: Container) -> None:
    done = installed.run("systemd-analyze", "verify", *(f"/etc/systemd/system/{unit}" for unit in UNITS))
    assert done.stdout + done.stderr == ""


def test_the_units_leave_little_open(installed: Container) -> None:
    for unit in UNITS:
        report = installed.run("systemd-analyze", "security", "--no-pager", unit).stdout
        found = re.search(r"Overall exposure level for .*: ([0-9.]+)", report)
        assert found
        assert float(found[1]) <= WORST_EXPOSURE, report


def test_the_devices_of_a_gpu_stay_reachable(installed: Container) -> None:
    for unit in UNITS:
        assert installed.property(unit, "DevicePolicy") == "auto"
        assert installed.property(unit, "DeviceAllow") == ""
        assert installed.property(unit, "PrivateDevices") == "no"
    assert {"video", "render"} <= set(installed.run("id", "-Gn", "splitd").stdout.split())


def test_secret_keys_are_for_the_daemon_alone(installed: Container) -> None:
    assert installed.run("stat", "-c", "%A %U %G", "/etc/splitd/keys").stdout.strip() == "drwxr-x--- splitd splitd"
