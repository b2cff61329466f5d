"""A finished study: what was asked, what came out, on which machines; and all of it as one JSON document."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from splitd.calibration.study.evaluate import ModelResult
from splitd.calibration.study.gains import CandidateSet, Gains, mean_gains
from splitd.calibration.study.hardware import Hardware
from splitd.calibration.study.reality import ShareCheck
from splitd.calibration.study.settings import StudySettings

SCHEMA_VERSION = 1


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


def study_document(results: Sequence[ModelResult], settings: StudySettings, device: str, server: str) -> dict[str, Any]:
    """Return the document; gains are fractions, null where there is no such static policy."""
    return {
        "schema_version": SCHEMA_VERSION,
        "cost": settings.cost,
        "latency": settings.latency,
        "device": device,
        "server": server,
        "models": [_model(result) for result in results],
        "mean": _mean(results),
    }


def means(results: Sequence[ModelResult]) -> dict[CandidateSet, Gains]:
    """Return the mean gains over the models for each candidate set."""
    sets = results[0].sets if results else {}
    return {candidates: mean_gains([result.sets[candidates].gains for result in results]) for candidates in sets}


def _model(result: ModelResult) -> dict[str, Any]:
    facts = result.facts
    return {
        "model": facts.model,
        "image_size": facts.image_shape[1],
        "flops": facts.flops,
        "blocks": len(facts.cuts),
        "natural": facts.natural,
        "compressive": len(facts.compressive),
        "candidates": _candidates({candidates: one.gains for candidates, one in result.sets.items()}),
    }


def _mean(results: Sequence[ModelResult]) -> dict[str, Any]:
    models = [_model(result) for result in results]
    counts = ("image_size", "flops", "blocks", "natural", "compressive")
    averages = {key: float(np.mean([model[key] for model in models])) for key in counts} if models else {}
    return {**averages, "candidates": _candidates(means(results))}


def _candidates(gains: Mapping[CandidateSet, Gains]) -> dict[str, Any]:
    return {
        candidates.value: {
            "optimal_splits": one.optimal_splits,
            "split_share": one.split_share,
            "gain_vs_none": one.gain_vs_none,
            "gain_vs_full": one.gain_vs_full,
            "gain_vs_best_static": one.gain_vs_best_static,
            "gain_vs_mean_static": one.gain_vs_mean_static,
            "gain_vs_static": dict(one.gain_vs_static),
        }
        for candidates, one in gains.items()
    }
