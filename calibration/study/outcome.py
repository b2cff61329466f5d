"""A finished study: what was asked, what came out, and on which machines."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from splitd.calibration.study.evaluate import ModelResult
from splitd.calibration.study.hardware import Hardware
from splitd.calibration.study.reality import ShareCheck
from splitd.calibration.study.settings import StudySettings


@dataclass(frozen=True)
class Study:
    """What was asked, what came out, and how the roofline compares with this machine (empty if not checked)."""

    settings: StudySettings
    results: Sequence[ModelResult]
    checks: Sequence[ShareCheck] = ()

    @property
    def device(self) -> str:
        """The device in words."""
        processors = self.settings.processors
        if processors is None:
            return f"this machine at {self.settings.throttle:g} of its speed"
        return describe_hardware(processors.device)

    @property
    def server(self) -> str:
        """The server in words."""
        processors = self.settings.processors
        return "this machine" if processors is None else describe_hardware(processors.server)


def describe_hardware(hardware: Hardware) -> str:
    """Return the figures that a reader needs to judge a roofline by."""
    return (
        f"{hardware.name}: {hardware.peak_flops / 1e12:.4g} TFLOPS peak, {hardware.efficiency:.0%} of it reached, "
        f"{hardware.bandwidth_bytes_per_s / 1e9:.4g} GB/s, {hardware.kernel_overhead_s * 1e6:.3g} us per kernel"
    )
