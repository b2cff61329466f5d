"""Payloads that once were on the wire, kept so that they stay readable; run as a program it adds missing ones.

They are the fuzzer's first inputs too. Each is one line of golden.jsonl: what it is, its plan, the payload in hex, and
the SHA-256 of the decoded floats (their arithmetic is exact, so every machine gets the same). Existing lines are never
rewritten: old bytes are the point.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from splitd.native import codecs
from splitd.native.codecs import EncodedChunk
from splitd.native.plan import ChunkPlan
from splitd.native.spec import CodecId, parse, tensor_labels

GOLDEN = Path(__file__).with_name("golden.jsonl")
CORPUS = GOLDEN.with_name("corpus")
PLAN = ChunkPlan(0, 4 * 144, 144, 12)


def tensors() -> dict[str, npt.NDArray[np.float32]]:
    """Made without a random generator, whose streams may change."""
    i = np.arange(PLAN.n_elements, dtype=np.int64)
    noise = ((i * 2654435761 % 2**32) / 2**32 + (i * 40503 % 65536) / 65536 - 1).astype(np.float32)
    row, column = i // 12, i % 12
    return {
        "dense": noise,
        "uniform": np.frombuffer(hashlib.shake_128(b"uniform").digest(i.size), np.uint8).astype(np.float32),
        "sparse": np.maximum(noise - np.float32(0.3), np.float32(0)),
        "smooth": (row * row / 50 + column * 1.5 + noise / 20).astype(np.float32),
        "constant": np.repeat(np.array([0.0, 2.5, -1e-3, 7e20], np.float32), 144),
    }


def decoded_digest(codec: int, flags: int, payload: bytes, plan: ChunkPlan) -> str:
    """SHA-256 of the floats that a payload decodes to."""
    out = np.empty(plan.n_elements, np.float32)
    codecs.decode_chunk(codec, flags, payload, plan, out)
    return hashlib.sha256(out.tobytes()).hexdigest()


def entries() -> list[dict[str, Any]]:
    """The kept lines."""
    return [json.loads(line) for line in GOLDEN.read_text().splitlines()] if GOLDEN.exists() else []


def _entry(name: str, chunk: EncodedChunk) -> dict[str, Any]:
    codec, flags, payload = int(chunk.codec), chunk.flags, bytes(chunk.payload)
    digest = decoded_digest(codec, flags, payload, PLAN)
    return {"name": name, "codec": codec, "flags": flags, "plan": PLAN, "payload": payload.hex(), "sha256": digest}


def _seed_fuzzers(entry: dict[str, Any], tensor: npt.NDArray[np.float32]) -> None:
    """The same chunk as input of both harnesses, which see neither F32 nor LZ4."""
    name, codec = entry["name"].replace(" ", "-"), bytes([entry["codec"]])
    planes, plane, row = PLAN.n_elements // PLAN.plane_elements, PLAN.plane_elements, PLAN.row_elements
    header = codec + bytes([planes]) + plane.to_bytes(2, "little")
    (CORPUS / "decode" / name).write_bytes(header + bytes.fromhex(entry["payload"]))
    (CORPUS / "roundtrip" / name).write_bytes(codec + bytes([0, planes - 1, row]) + tensor.tobytes())


def main() -> None:
    """Adds a line and fuzzer inputs for each codec and tensor that has none."""
    kept = {entry["name"] for entry in entries()}
    with GOLDEN.open("a") as file:
        for label in tensor_labels():
            for kind, tensor in tensors().items():
                if f"{label} {kind}" not in kept:
                    chunk = codecs.encode_chunk(parse(label), tensor, PLAN)
                    entry = _entry(f"{label} {kind}", chunk)
                    file.write(json.dumps(entry) + "\n")
                    if chunk.codec != CodecId.F32 and not chunk.flags:
                        _seed_fuzzers(entry, tensor)


if __name__ == "__main__":
    main()
