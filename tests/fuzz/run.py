"""Fuzzes every decoder and encoder kernel for a given time, under ASan and UBSan; ends with 1 if anything was found.

`python tests/fuzz/run.py --seconds 60`. Needs clang with libFuzzer. Each harness starts from the corpus kept here; what
it learns goes to build/fuzz, and `--merge` brings the part that adds coverage back into the kept corpus.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
BUILD = ROOT / "build" / "fuzz"
HARNESSES = ("decode", "roundtrip")
FLAGS = ("-g", "-O2", "-ffp-contract=off", "-fsanitize=fuzzer,address,undefined", "-fno-sanitize-recover=all")
MAX_INPUT_BYTES = 4096


def build(name: str) -> Path:
    """The harness, built with its sanitizers."""
    clang = shutil.which("clang")
    if clang is None:
        sys.exit("fuzzing needs clang with libFuzzer: apt-get install clang")
    BUILD.mkdir(parents=True, exist_ok=True)
    binary = BUILD / name
    subprocess.run(
        [clang, *FLAGS, f"-I{ROOT / 'native' / 'kernels'}", str(HERE / f"{name}.c"), "-o", str(binary)],
        check=True,
        cwd=ROOT,
    )
    return binary


def fuzz(name: str, seconds: int) -> tuple[int, bool]:
    """Executions, and whether the harness ended without a finding."""
    learned = BUILD / f"{name}-corpus"
    learned.mkdir(parents=True, exist_ok=True)
    command = [
        *(str(build(name)), str(learned), str(HERE / "corpus" / name)),
        *(f"-max_total_time={seconds}", f"-max_len={MAX_INPUT_BYTES}", "-print_final_stats=1", "-timeout=10"),
        *("-rss_limit_mb=2048", f"-artifact_prefix={BUILD}/{name}-"),
    ]
    done = subprocess.run(command, stderr=subprocess.PIPE, text=True, check=False)
    executions = re.search(r"number_of_executed_units:\s*(\d+)", done.stderr)
    if done.returncode:
        sys.stderr.write(done.stderr)
    return int(executions.group(1)) if executions else 0, done.returncode == 0


def merge(name: str) -> None:
    """Adds to the kept corpus what was learned and covers something new."""
    kept, learned = HERE / "corpus" / name, BUILD / f"{name}-corpus"
    command = [str(build(name)), "-merge=1", f"-max_len={MAX_INPUT_BYTES}", str(kept), str(learned)]
    subprocess.run(command, check=True, stderr=subprocess.DEVNULL)


def main() -> int:
    """Runs all harnesses, the time shared equally."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=60, help="time for all harnesses together")
    parser.add_argument("--merge", action="store_true", help="afterwards, add what was learned to the kept corpus")
    options = parser.parse_args()
    clean = True
    for name in HARNESSES:
        executions, passed = fuzz(name, max(1, options.seconds // len(HARNESSES)))
        sys.stdout.write(f"fuzz {name}: {executions} executions, {'no findings' if passed else 'FAILED'}\n")
        sys.stdout.flush()
        clean &= passed
        if options.merge and passed:
            merge(name)
    return 0 if clean else 1


if __name__ == "__main__":
    sys.exit(main())
