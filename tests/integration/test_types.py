"""mypy strict, over really every module: a package that it cannot find through the links would pass unseen."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.source_tree import ROOT, sources


@pytest.mark.slow
def test_mypy_passes_and_sees_every_module() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "-p", "splitd"], capture_output=True, text=True, cwd=ROOT, check=False
    )
    stubs = [path for path in sources(".pyi") if not path.with_suffix(".py").exists()]
    seen = len(sources(".py")) + len(stubs)
    assert done.stdout.strip().splitlines()[-1] == f"Success: no issues found in {seen} source files", done.stdout
