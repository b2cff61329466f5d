"""The machine as a latency profile sees it: which processor, at which clock policy, with how many threads."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from pathlib import Path

import torch

from splitd.calibration.profile import MAX_TEXT, ProfileKey, Role

ROOT = Path("/")
UNKNOWN = "-"

_NVPMODEL_STATUS = Path("var/lib/nvpmodel/status")  # what `nvpmodel -q` prints, readable without root
_GOVERNOR = Path("sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")
_BOARD = Path("proc/device-tree/model")
_CPUINFO = Path("proc/cpuinfo")


def profile_key(
    model_digest: str,
    cut_names: Sequence[str],
    device: torch.device,
    *,
    role: Role,
    throttle: float | None,
    batch_sizes: Sequence[int],
    codecs: Sequence[str],
) -> ProfileKey:
    """Return the key of a profile measured here and now with these settings."""
    return ProfileKey(
        model_digest=model_digest,
        cut_names=tuple(cut_names),
        device=device_name(device),
        power_mode=power_mode(),
        torch_version=str(torch.__version__),
        threads=torch.get_num_threads(),
        throttle=1.0 if throttle is None else throttle,
        batch_sizes=tuple(sorted(set(batch_sizes))),
        codecs=tuple(codecs),
        role=role,
    )


def device_name(device: torch.device, root: Path = ROOT) -> str:
    """Return the name of the GPU; of a CPU, the board's where the firmware gives one (Jetson), else the processor's."""
    if device.type == "cuda":
        return _printable(torch.cuda.get_device_name(device))
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


def _read(path: Path) -> str:
    try:
        return _printable(path.read_text(errors="replace"))
    except OSError:
        return ""


def _printable(text: str) -> str:
    return "".join(char for char in text if char.isprintable()).strip()[:MAX_TEXT]
