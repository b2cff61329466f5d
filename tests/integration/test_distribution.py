"""What we ship: the archives' contents, and the wheel at work in an environment far from the checkout."""

from __future__ import annotations

import re
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from splitd import __version__
from tests.distribution import (
    Archives,
    closure,
    installed_bytes,
    link_distributions,
    make_environment,
    requirements_of,
    run,
)
from tests.source_tree import ROOT, SOURCE, sources

CODEC_AT_WORK = """
import numpy as np
from splitd.native import codecs, plan, select, spec

tensor = np.linspace(-1, 1, 2 * 3 * 40 * 40, dtype=np.float32).reshape(2, 3, 40, 40)
back = np.empty_like(tensor)
u8 = spec.parse("u8")
for part in plan.plan_chunks(tensor.shape, u8):
    chunk = codecs.encode_chunk(u8, tensor.ravel(), part, None)
    codecs.decode_chunk(chunk.codec, chunk.flags, chunk.payload, part, back.ravel())
assert np.abs(back - tensor).max() < 0.01, np.abs(back - tensor).max()
print(select.load_backend().NAME)
"""

BUNDLE_AT_WORK = """
import sys
from pathlib import Path
from splitd.calibration.bundle import open_bundle, prove_runner
from splitd.calibration.executors import EXECUTORS

bundle = open_bundle(Path(sys.argv[1]))
print(prove_runner(bundle, EXECUTORS["onnxruntime"].build(bundle, device="cpu", threads=1, cache_dir=None)))
"""
GOLDEN = ROOT / "tests" / "support" / "bundles" / "golden.splitd"
DRY_RUN = ("install", "--dry-run", "--no-index", "--disable-pip-version-check")

DEVICE = "onnxruntime"  # the extra of a device
MAX_INSTALLED_BYTES = 300e6
# As JetPack 6 has it: older than the extra `models` asks for, and nowhere on PyPI.
VENDORS_TORCH = "2.5.0a0+872d972e41.nv24.8"
NOT_DATA = {".py", ".pyc", ".pyx", ".pxd", ".h", ".c", ".so"}


@pytest.fixture(scope="module")
def programs(archives: Archives, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The programs of a fresh environment with the wheel in it, as on a device: an executor is there, torch is not."""
    base = tmp_path_factory.mktemp("elsewhere")
    link_distributions(requirements_of(archives.wheel, DEVICE), base / "packages")
    programs = make_environment(base / "environment", sys.executable, base / "packages")
    run(str(programs / "pip"), "install", "--no-index", "--disable-pip-version-check", str(archives.wheel))
    return programs


def test_the_wheel_has_every_module_through_the_links(archives: Archives) -> None:
    with zipfile.ZipFile(archives.wheel) as wheel:
        packed = {name for name in wheel.namelist() if name.endswith(".py")}
    assert packed == {str(path.relative_to(SOURCE)) for path in sources(".py")}


def test_the_wheel_has_every_data_file(archives: Archives) -> None:
    with zipfile.ZipFile(archives.wheel) as wheel:
        packed = set(wheel.namelist())
    data = {str(path.relative_to(SOURCE)) for path in sources("") if path.suffix not in NOT_DATA}
    assert data
    assert data <= packed


def test_the_wheel_has_the_extension_and_its_types_and_no_sources(archives: Archives) -> None:
    with zipfile.ZipFile(archives.wheel) as wheel:
        names = wheel.namelist()
    assert "splitd/py.typed" in names
    assert "splitd/native/_codec.pyi" in names
    assert [name for name in names if re.fullmatch(r"splitd/native/_codec\..*\.so", name)]
    assert not [name for name in names if name.endswith((".c", ".pyx", ".pxd", ".h"))]
    assert all(name.startswith(("splitd/", "splitd-")) for name in names)


def test_the_sdist_has_the_sources_and_nothing_generated(archives: Archives) -> None:
    with tarfile.open(archives.sdist) as sdist:
        members = {member.name.partition("/")[2]: member for member in sdist.getmembers()}
    compiled = [*(ROOT / "native").glob("*.pyx"), *(ROOT / "native" / "kernels").glob("*.h")]
    native = {f"src/splitd/{path.relative_to(ROOT)}" for path in compiled}
    assert len(native) > 1
    assert native <= members.keys()
    assert {"src/splitd/py.typed", "setup.py", "systemd/splitd-agent.service", "docs/operations.md"} <= members.keys()
    assert not [name for name in members if name.endswith((".so", ".pyc")) or name == "src/splitd/native/_codec.c"]
    assert not [name for name, member in members.items() if member.issym()]


def test_the_installed_programs_say_who_they_are(programs: Path) -> None:
    assert run(str(programs / "splitd"), "--version").strip() == f"splitd, version {__version__}"
    assert "Usage: splitctl" in run(str(programs / "splitctl"), "--help")


def test_the_installed_codec_is_compiled_and_works(programs: Path) -> None:
    assert run(str(programs / "python"), "-c", CODEC_AT_WORK).strip() == "compiled"


def test_the_installed_package_does_not_come_from_the_checkout(programs: Path) -> None:
    place = run(str(programs / "python"), "-c", "import splitd; print(splitd.__file__)").strip()
    assert Path(place).is_relative_to(programs.parent)


def test_the_client_works_without_torch(programs: Path) -> None:
    run(str(programs / "python"), "-W", "error", "-c", "from splitd import Client; Client")


def test_a_command_that_needs_torch_says_how_to_get_it(programs: Path) -> None:
    with pytest.raises(AssertionError, match=r"pip install 'splitd\[models\]'"):
        run(str(programs / "splitd"), "inspect", "efficientnet_b0")


def test_a_bundle_is_opened_and_run_without_torch(programs: Path) -> None:
    assert "ant, bee, cat" in run(str(programs / "splitd"), "inspect", str(GOLDEN))
    assert run(str(programs / "python"), "-c", BUNDLE_AT_WORK, str(GOLDEN)).split()[-1] == "0.0"


def test_a_devices_packages_are_few_and_small(archives: Archives) -> None:
    needed = requirements_of(archives.wheel, DEVICE)
    assert not {"torch", "timm", "safetensors", "onnx", "scipy", "sympy"} & closure(needed).keys()
    assert installed_bytes(needed) + archives.wheel.stat().st_size < MAX_INSTALLED_BYTES


@pytest.mark.parametrize("extra", [DEVICE, "openvino"])
def test_pip_leaves_a_vendors_torch_alone(archives: Archives, tmp_path: Path, extra: str) -> None:
    environment = beside_a_vendors_torch(archives, tmp_path, extra)
    would = run(str(environment / "pip"), *DRY_RUN, f"splitd[{extra}] @ file://{archives.wheel}")
    assert [line for line in would.splitlines() if line.startswith("Would install")] == [
        f"Would install splitd-{__version__}"
    ]


def test_only_the_extra_for_models_asks_for_a_torch(archives: Archives, tmp_path: Path) -> None:
    environment = beside_a_vendors_torch(archives, tmp_path, DEVICE)
    with pytest.raises(AssertionError, match=r"torch|timm|safetensors"):
        run(str(environment / "pip"), *DRY_RUN, f"splitd[models] @ file://{archives.wheel}")


def beside_a_vendors_torch(archives: Archives, place: Path, extra: str) -> Path:
    """An environment with all that `extra` needs, a vendor's torch, and no network; its folder of programs."""
    link_distributions(requirements_of(archives.wheel, extra), place / "packages")
    info = place / "packages" / f"torch-{VENDORS_TORCH}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: torch\nVersion: {VENDORS_TORCH}\n")
    (info / "RECORD").write_text("")
    return make_environment(place / "environment", sys.executable, place / "packages")


def test_configurations_can_be_checked_without_torch(programs: Path) -> None:
    for name in ("agent.yaml", "server.yaml"):
        assert "a valid" in run(str(programs / "splitd"), "check-config", str(ROOT / "systemd" / name))
