"""The machine as a latency profile sees it: which processor, at which clock policy, with how many threads."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from pathlib import Path

from splitd.calibration.chain import ChainDescription, Runner
from splitd.calibration.profile import MAX_TEXT, ProfileKey, Role

ROOT = Path("/")
UNKNOWN = "-"

_NVPMODEL_STATUS = Path("var/lib/nvpmodel/status")  # what `nvpmodel -q` prints, readable without root
_GOVERNOR = Path("sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")
_BOARD = Path("proc/device-tree/model")
_CPUINFO = Path("proc/cpuinfo")
_GPUS = Path("proc/driver/nvidia/gpus")  # one folder for each, in the order of the bus


def profile_key(
    chain: ChainDescription,
    runner: Runner,
    *,
    role: Role,
    throttle: float | None,
    batch_sizes: Sequence[int],
    codecs: Sequence[str],
) -> ProfileKey:
    """Return the key of a profile measured here and now with these settings."""
    return ProfileKey(
        model_digest=chain.digest,
        cut_names=chain.names,
        device=device_name(runner.device),
        power_mode=power_mode(),
        executor=runner.name,
        executor_version=runner.version,
        threads=runner.threads,
        throttle=1.0 if throttle is None else throttle,
        batch_sizes=tuple(sorted(set(batch_sizes))),
        codecs=tuple(codecs),
        role=role,
    )


def device_name(device: str, root: Path = ROOT) -> str:
    """Return the name of the processor behind `cpu`, `cuda` or `cuda:N`.

    That of a GPU is the driver's; that of a CPU the board's where the firmware gives one (Jetson), else its own. What
    cannot be read is called as in the configuration.
    """
    if device != "cpu":
        board = _read(root / _BOARD)
        return _gpu_model(int(device.partition(":")[2] or 0), root) or (f"{board} {device}" if board else device)
    return _read(root / _BOARD) or _cpu_model(root) or platform.machine()


def power_mode(root: Path = ROOT) -> str:
    """Return the Jetson power mode and the CPU frequency governor, as far as they can be read; "-" if neither can.

    Both change every latency by up to a factor of ten.
    """
    mode = _read(root / _NVPMODEL_STATUS).removeprefix("pmode:")
    parts = [f"nvpmodel {mode}" if mode else "", _read(root / _GOVERNOR)]
    return " ".join(part for part in parts if part) or UNKNOWN


def _cpu_model(root: Path) -> str:
    try:
        lines = (root / _CPUINFO).read_text(errors="replace").splitlines()
    except OSError:
        return ""
    names = [line.partition(":")[2] for line in lines if line.startswith("model name")]
    return _printable(names[0]) if names else ""


def _gpu_model(index: int, root: Path) -> str:
    """Return the name of a GPU as the driver lists it; empty where there is no such list (Jetson)."""
    try:
        text = sorted((root / _GPUS).iterdir())[index].joinpath("information").read_text(errors="replace")
    except (OSError, IndexError):
        return ""
    names = [line.partition(":")[2] for line in text.splitlines() if line.startswith("Model:")]
    return _printable(names[0]) if names else ""


def _read(path: Path) -> str:
    try:
        return _printable(path.read_text(errors="replace"))
    except OSError:
        return ""


def _printable(text: str) -> str:
    return "".join(char for char in text if char.isprintable()).strip()[:MAX_TEXT]
