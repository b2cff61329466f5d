"""A runner gives back what only a large batch needed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from splitd.calibration.executors import EXECUTORS, Found
from tests.source_tree import SOURCE

GOLDEN = Path(__file__).parents[1] / "support" / "bundles" / "golden.splitd"
BATCH = 400_000  # 77 MB of input, 13 MB behind the first segment
KEPT_MB = {"onnxruntime": 25, "openvino": 120}  # of 100 and more; openvino keeps the buffers of its largest batch
PROGRAM = """
import sys
from pathlib import Path
import numpy as np
from splitd.calibration.bundle import open_bundle
from splitd.calibration.executors import EXECUTORS

def resident_mb():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 1e6

bundle = open_bundle(Path(sys.argv[1]))
runner = EXECUTORS[sys.argv[2]].build(bundle, threads=1)
def run(batch):
    live = runner.to_live((np.ones(bundle.description.input.at(batch), np.float32),))
    for i in range(bundle.description.last):
        live = runner.segment(i, live)
    return runner.to_arrays(live)[0]
small = run(1)
before = resident_mb()
run(int(sys.argv[3]))
runner.trim()
assert np.array_equal(run(1), small)
print(resident_mb() - before)
"""


@pytest.mark.parametrize("name", KEPT_MB)
def test_memory_of_a_large_batch_is_given_back(name: str) -> None:
    assert isinstance(EXECUTORS[name].find("cpu"), Found)
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(GOLDEN), name, str(BATCH)],
        check=True, capture_output=True, text=True, cwd=SOURCE,
    )  # fmt: skip
    assert float(done.stdout) < KEPT_MB[name]
