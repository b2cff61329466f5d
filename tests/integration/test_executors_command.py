"""`splitd executors`: what there is, what is missing; segments made beforehand are at hand when a daemon starts."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import yaml

from splitd.calibration.executors import EXECUTORS
from tests.support.daemons import MODEL, ROOT, SPLITD, free_port


def executors(*arguments: str) -> dict[str, dict[str, Any]]:
    done = subprocess.run(
        [*SPLITD, "executors", "--json", *arguments], check=True, capture_output=True, text=True, cwd=ROOT, timeout=300
    )
    return {row["name"]: row for row in json.loads(done.stdout)["executors"]}


def test_it_lists_all_with_a_version_or_a_remedy() -> None:
    rows = executors()
    assert list(rows) == list(EXECUTORS)
    assert all((row["version"] is None) == (row["remedy"] is not None) for row in rows.values())
    assert rows["torch"]["version"]
    assert "GPU" in rows["tensorrt"]["missing"]


def test_people_read_the_same() -> None:
    done = subprocess.run([*SPLITD, "executors"], check=True, capture_output=True, text=True, cwd=ROOT, timeout=60)
    assert "onnxruntime" in done.stdout
    assert "set device.name: cuda" in done.stdout


def test_segments_are_made_beforehand(tmp_path: Path) -> None:
    config = tmp_path / "server.yaml"
    document = {
        "bind": f"tcp://127.0.0.1:{free_port()}",
        "model": MODEL,
        "device": {"threads": 1, "executor": "openvino"},
        "calibration": {"state_dir": str(tmp_path), "batch_sizes": [1]},
    }
    config.write_text(yaml.safe_dump(document))
    rows = executors("--make", "--config", str(config))
    count = int(rows["openvino"]["reason"].split(" of ")[0])
    assert rows["openvino"]["reason"] == f"{count} of {count} segments made"
    assert len([path for path in tmp_path.glob("executors/*/onnx-*/*") if path.is_file()]) == count
