"""Does an executor give the reference's answers? How far its outputs are off, and what that does to the classes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from splitd.calibration.chain import Array, Engine
from splitd.calibration.executors import KnownAnswers
from splitd.calibration.profile import rounded

# Float32 added up in another order is off by 3e-8 to 5e-6 of the largest output in all networks that were tried. The
# smallest fault that is not rounding is a narrower type inside: TF32 and half precision give 3e-4 and more, bfloat16
# 4e-3. TF32 is what torch itself uses for convolutions on GPUs, so it has to pass, and bfloat16 must not.
MAX_RELATIVE_ERROR = 1e-3
# In nats. A relative error of 1e-3 in logits of magnitude 10 is 5e-5 at most; no class changes for it but a tie.
MAX_KL = 1e-4
BATCH = 4  # more samples than one, and a part of them left over, so that a batch is never the size it was built with
CLASSES_RANK = 2


@dataclass(frozen=True)
class Proof:
    """The largest difference of any output as a share of that output's largest value, and the classes' divergence.

    `kl` is the largest KL divergence of the first output's softmax over the samples, in nats; None where that output
    is not one number for each of several classes.
    """

    relative_error: float
    kl: float | None

    @property
    def agrees(self) -> bool:
        """Whether both are within the tolerance; NaN is not."""
        return self.relative_error <= MAX_RELATIVE_ERROR and (self.kl is None or self.kl <= MAX_KL)

    @property
    def reason(self) -> str:
        """What was found, in words."""
        kl = "" if self.kl is None else f", KL divergence {self.kl:.1g} (at most {MAX_KL:g})"
        return f"outputs differ by {self.relative_error:.1g} of the largest (at most {MAX_RELATIVE_ERROR:g}){kl}"


def prove(engine: Engine, known: KnownAnswers) -> Proof:
    """Run the samples in batches through the engine's segments and compare; the throttle is left out.

    Raises:
        ModelError: A segment cannot be run, or gives another shape than the description says.
    """
    fast = engine.at_full_speed()
    fast.verify()
    parts = [
        fast.tail(0, fast.from_arrays((np.ascontiguousarray(known.inputs[start : start + BATCH]),)))
        for start in range(0, len(known.inputs), BATCH)
    ]
    outputs = [np.concatenate([part[i] for part in parts]) for i in range(len(known.outputs))]
    error = max(_relative_error(a, b) for a, b in zip(known.outputs, outputs, strict=True))
    return Proof(rounded(error), _divergence(known.outputs[0], outputs[0]))


def _relative_error(expected: Array, found: Array) -> float:
    exact = expected.astype(np.float64)
    scale, worst = float(np.abs(exact).max(initial=0.0)), float(np.abs(found - exact).max(initial=0.0))
    if not np.isfinite(worst):
        return float("inf")
    return worst / scale if scale else worst


def _divergence(expected: Array, found: Array) -> float | None:
    if expected.ndim != CLASSES_RANK or expected.shape[1] < CLASSES_RANK:
        return None
    p, q = _log_softmax(expected), _log_softmax(found)
    divergence = float(np.max(np.sum(np.exp(p) * (p - q), axis=1)))
    return rounded(max(divergence, 0.0)) if np.isfinite(divergence) else float("inf")


def _log_softmax(logits: Array) -> npt.NDArray[np.float64]:
    values = logits.astype(np.float64)
    values -= values.max(axis=1, keepdims=True)
    return np.asarray(values - np.log(np.exp(values).sum(axis=1, keepdims=True)))
