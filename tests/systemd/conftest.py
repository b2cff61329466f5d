"""One booted container for the tests of this folder, and splitd installed in it by the manual."""

from __future__ import annotations

import shutil
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.distribution import Archives, link_distributions, repack, requirements_of
from tests.source_tree import ROOT
from tests.systemd.container import Container, booted
from tests.systemd.manual import scripts, settings

SITE_PACKAGES = Path("/srv/site-packages")  # where the container sees the packages of this environment
VENDOR_PACKAGES = f"usr/local/lib/python{sys.version_info.major}.{sys.version_info.minor}/dist-packages"
WHEEL_FOLDER = "root/wheel"
INSTALL_DEADLINE_S = 300.0
PIP_WITHOUT_NETWORK = "export PIP_CONFIG_FILE=/dev/null PIP_NO_INDEX=1 PIP_FIND_LINKS=/srv/index"
MEMBER, STRANGER = "alice", "mallory"

# A small network, measured briefly: what is tested here is the service.
QUICK = {
    "model": {"name": "mobilenetv3_small_050", "weights": "random:0", "image_size": 64},
    "device": {"name": "cpu", "threads": 1},
    "calibration": {"batch_sizes": [1], "repeats": 3},
}


@pytest.fixture(scope="session")
def container() -> Iterator[Container]:
    """A booted container that sees this environment's packages at SITE_PACKAGES."""
    with booted({Path(sysconfig.get_path("purelib")): SITE_PACKAGES}) as booted_container:
        yield booted_container


@pytest.fixture(scope="session")
def installed(container: Container, archives: Archives) -> Container:
    """The container with splitd installed as the manual says, beside a torch that was there before, as on a Jetson."""
    packages = {*requirements_of(archives.wheel, "onnxruntime"), *requirements_of(archives.wheel, "models")}
    link_distributions(packages, container.root / VENDOR_PACKAGES, SITE_PACKAGES)
    # A new environment brings an old setuptools, which some builds of torch then want newer. There is no network.
    repack("setuptools", container.root / "srv/index")
    folder = container.root / WHEEL_FOLDER
    folder.mkdir()
    shutil.copy(archives.wheel, folder)
    follow(container, scripts("Install splitd"))
    for user, groups in ((MEMBER, ["--groups", "splitd"]), (STRANGER, [])):
        container.run("useradd", "--create-home", *groups, user)
    return container


@pytest.fixture(scope="session")
def running(installed: Container) -> Container:
    """The container with both daemons set up and started as the manual says, with keys, over its loopback."""
    prepare, start = scripts("Set up the server")
    follow(installed, [prepare])
    configure(installed, "server", settings("Set up the server"))
    follow(installed, [start])

    prepare, start = scripts("Set up the device")
    follow(installed, [prepare])
    text = settings("Set up the device").replace("EDGE-SERVER", "127.0.0.1")
    configure(installed, "agent", text.replace("SERVER-PUBLIC-KEY", public_key(installed, "server")))
    with (installed.root / "etc/splitd/keys/devices").open("a") as allowed:
        allowed.write(f"{public_key(installed, 'device')} this container\n")
    installed.run("systemctl", "reload", "splitd-server")
    follow(installed, [start])
    return installed


def follow(container: Container, blocks: list[str]) -> None:
    """Type what the manual says, where the wheel lies; a failure shows what the services said."""
    for block in blocks:
        try:
            script = f"{PIP_WITHOUT_NETWORK}\ncd /{WHEEL_FOLDER}\n{block}"
            container.run("bash", "-c", script, timeout_s=INSTALL_DEADLINE_S)
        except AssertionError as failure:
            raise AssertionError(f"{failure}\n{container.journal('splitd-*')}") from None


def configure(container: Container, kind: str, text: str) -> None:
    """Write /etc/splitd/KIND.yaml: the shipped example with the manual's changes and QUICK's."""
    example = yaml.safe_load((ROOT / "systemd" / f"{kind}.yaml").read_text())
    document = example | yaml.safe_load(text) | QUICK
    (container.root / f"etc/splitd/{kind}.yaml").write_text(yaml.safe_dump(document))


def public_key(container: Container, name: str) -> str:
    """The public key in a file that `splitd keygen` wrote: the quoted word behind `public-key`."""
    text = (container.root / f"etc/splitd/keys/{name}.key").read_text()
    return text.partition('public-key = "')[2].partition('"')[0]
