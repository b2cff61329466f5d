"""Does a runner of a bundle's segments say what the network said, when the bundle was made?"""

from __future__ import annotations

import numpy as np

from splitd.calibration.bundle.reading import Bundle
from splitd.calibration.chain import Array, Runner
from splitd.errors import ModelError

# Float32 summed in another order gives 1e-6 after a whole network, a rounding step of a quantised one 1e-2 of the
# largest value; a wrong operator or weight gives more than all of it.
MAX_RELATIVE_ERROR = 0.05


def prove_runner(bundle: Bundle, runner: Runner) -> float | None:
    """Run the reference samples through all segments; return the largest relative error, None if there are no samples.

    Raises:
        ModelError: It is above MAX_RELATIVE_ERROR, or outputs have other shapes.
    """
    reference = bundle.reference()
    if reference is None:
        return None
    live = runner.to_live((reference.inputs,))
    for i in range(bundle.description.last):
        live = runner.segment(i, live)
    outputs = runner.to_arrays(live)
    if len(outputs) != len(reference.outputs):
        raise ModelError(f"{bundle.path}: {runner.name} gives {len(outputs)} outputs, not {len(reference.outputs)}")
    error = max(map(relative_error, reference.outputs, outputs))
    if not error <= MAX_RELATIVE_ERROR:
        raise ModelError(
            f"{bundle.path}: {runner.name} {runner.version} computes something else than the network that it was made "
            f"from: the outputs differ by {error:.2g} of their range; try another device.executor"
        )
    return error


def relative_error(expected: Array, found: Array) -> float:
    """Return the largest difference as a share of the largest value; infinite where shapes differ."""
    if expected.shape != found.shape:
        return float("inf")
    if not expected.size:
        return 0.0
    exact, other = expected.astype(np.float64), found.astype(np.float64)
    worst, scale = float(np.abs(exact - other).max()), float(np.abs(exact).max())
    return worst / scale if scale else worst
