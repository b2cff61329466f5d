"""Old payloads stay readable, the kept corpus covers all codecs, and a short run under the sanitizers finds nothing."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from splitd.native.codecs import TensorCodec
from splitd.native.plan import ChunkPlan
from splitd.native.select import load_backend
from splitd.native.spec import CodecId
from tests.fuzz import golden

HERE = Path(__file__).parent
COMPUTED = {int(codec) for codec in CodecId if CodecId.F32 < codec < CodecId.IMAGE_RAW}
SHORT_S = 10


@pytest.mark.parametrize("pure", [False, True], ids=["compiled", "twin"])
@pytest.mark.parametrize("entry", golden.entries(), ids=lambda entry: entry["name"])
def test_old_payloads_decode_to_what_they_meant(entry: dict[str, Any], pure: bool) -> None:
    plan, out = ChunkPlan(*entry["plan"]), np.empty(entry["plan"][1], np.float32)
    TensorCodec(load_backend(pure)).decode_chunk(
        entry["codec"], entry["flags"], bytes.fromhex(entry["payload"]), plan, out
    )
    assert hashlib.sha256(out.tobytes()).hexdigest() == entry["sha256"]


def test_there_is_an_old_payload_for_every_codec_and_with_lz4() -> None:
    kept = golden.entries()
    assert {entry["codec"] for entry in kept} == COMPUTED | {int(CodecId.F32)}
    assert {entry["flags"] for entry in kept} == {0, 1}
    # Every mode of the entropy coder: stored, pairs, values, both with the row above.
    modes = {bytes.fromhex(entry["payload"])[16] for entry in kept if entry["codec"] >= CodecId.U8H}
    assert modes >= {0, 1, 2, 5}


def test_the_corpus_has_every_codec() -> None:
    assert {path.read_bytes()[0] & 15 for path in (HERE / "corpus" / "decode").iterdir()} >= COMPUTED
    assert {path.read_bytes()[0] & 7 for path in (HERE / "corpus" / "roundtrip").iterdir()} >= COMPUTED


def test_a_short_run_under_the_sanitizers_finds_nothing() -> None:
    if shutil.which("clang") is None and os.environ.get("SPLITD_REQUIRE_LAB") != "1":
        pytest.skip("fuzzing needs clang with libFuzzer: apt-get install clang")
    done = subprocess.run(
        [sys.executable, str(HERE / "run.py"), "--seconds", str(SHORT_S)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-4000:]
    assert done.stdout.count("no findings") == 2
