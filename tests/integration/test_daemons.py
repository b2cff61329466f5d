"""Both daemons as real processes: same answers at every cut, and what people see of them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import simplejpeg
import torch

from splitd.agent.client.control_routes import DaemonKind, routes_of, schema
from splitd.agent.client.documents import AgentStatus, ServerStatus
from splitd.calibration.chain import Engine
from splitd.calibration.images.preprocess import prepare_image
from splitd.calibration.model import ModelSpec
from splitd.calibration.profile.pair import load_pair
from splitd.errors import RemoteError
from tests.support.chains import open_engine
from tests.support.daemons import MODEL, ROOT, Pair, eventually

IMAGES = np.random.default_rng(0).integers(0, 256, (4, 64, 64, 3), np.uint8)


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    started = Pair(tmp_path_factory.mktemp("pair"))
    try:
        yield started.start()
    finally:
        started.stop()


@pytest.fixture(autouse=True)
def unpinned(pair: Pair) -> Iterator[None]:
    yield
    pair.agent.control.post("unpin")


@pytest.fixture(scope="module")
def network() -> Iterator[Engine]:
    threads = torch.get_num_threads()
    yield open_engine(ModelSpec(**MODEL))
    torch.set_num_threads(threads)


def splitctl(pair: Pair, *arguments: str, user: str | None = None) -> subprocess.CompletedProcess[str]:
    socket = pair.agent.config["control"]["socket"]
    command = [sys.executable, "-m", "splitd.agent.commands.ctl", "--socket", socket, *arguments]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "COLUMNS": "200"}
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment, user=user, cwd="/")


def document(pair: Pair, *arguments: str) -> dict[str, Any]:
    result = splitctl(pair, *arguments, "--json")
    assert result.returncode == 0, result.stderr
    parsed: dict[str, Any] = json.loads(result.stdout)
    assert parsed["schema_version"] == 1
    return parsed


def test_every_cut_gives_the_unsplit_models_answer(pair: Pair, network: Engine) -> None:
    expected = network.tail(0, network.to_input(IMAGES))[0]
    with pair.client() as client:
        for name in network.names:
            pair.agent.control.post("pin", cut=name, codec={"input": "raw", "output": None}.get(name, "f32"))
            result = client.infer(IMAGES)
            assert result.split == name
            assert result.source == ("local" if name == "output" else "server")
            np.testing.assert_array_equal(result.outputs[0], expected)


def test_a_quantised_cut_stays_close(pair: Pair, network: Engine) -> None:
    expected = network.tail(0, network.to_input(IMAGES))[0]
    pair.agent.control.post("pin", cut=network.names[2], codec="u8")
    with pair.client() as client:
        result = client.infer(IMAGES)
    assert (result.split, result.codec) == (network.names[2], "u8")
    np.testing.assert_allclose(result.outputs[0], expected, atol=0.02 * np.abs(expected).max())


def jpeg(image: np.ndarray[Any, Any], quality: int = 95) -> bytes:
    return bytes(simplejpeg.encode_jpeg(image, quality=quality))


def test_the_applications_own_jpeg_files_cross_untouched(pair: Pair, network: Engine) -> None:
    files = [jpeg(np.repeat(np.repeat(image, 3, 0), 2, 1)) for image in IMAGES]
    expected = network.tail(0, network.to_input(np.stack([prepare_image(f, network.preprocessing) for f in files])))[0]
    with pair.client() as client:
        pair.agent.control.post("pin", cut="input", codec="as-given")
        result = client.infer(files)
        assert (result.split, result.codec, result.source) == ("input", "as-given", "server")
        np.testing.assert_array_equal(result.outputs[0], expected)
        pair.agent.control.post("pin", cut=network.names[1], codec="f32")
        np.testing.assert_array_equal(client.infer(files).outputs[0], expected)


def test_a_damaged_jpeg_is_the_callers_error_wherever_it_is_found(pair: Pair) -> None:
    pair.agent.control.post("pin", cut="input", codec="as-given")
    with pair.client() as client, pytest.raises(RemoteError) as caught:
        client.infer(jpeg(IMAGES[0])[:40])
    assert caught.value.code == "input"


def test_images_cross_as_jpeg_where_the_guard_allows_it(pair: Pair, network: Engine) -> None:
    pair.agent.control.post("pin", cut="input", codec="jpeg90")
    with pair.client() as client:
        result = client.infer(IMAGES)
    assert (result.codec, result.source) == ("jpeg90", "server")
    assert result.outputs[0].shape == (4, 10)


def test_prepared_tensors_are_taken_too(pair: Pair, network: Engine) -> None:
    tensors = np.random.default_rng(1).standard_normal((2, 3, 64, 64)).astype(np.float32)
    expected = network.tail(0, network.to_input(tensors))[0]
    pair.agent.control.post("pin", cut=network.names[1], codec="f32")
    with pair.client() as client:
        np.testing.assert_array_equal(client.infer(tensors).outputs[0], expected)


def test_a_bad_image_is_refused_and_the_good_one_beside_it_answered(pair: Pair) -> None:
    outcome: list[object] = []

    def bad() -> None:
        with pair.client() as client:
            try:
                client.infer(b"this is not an image")
            except RemoteError as error:
                outcome.append(error.code)

    thread = threading.Thread(target=bad)
    thread.start()
    with pair.client() as client:
        assert client.infer(IMAGES[0]).outputs[0].shape == (1, 10)
    thread.join()
    assert outcome == ["input"]


def test_a_tensor_of_the_wrong_shape_is_named(pair: Pair) -> None:
    with pair.client() as client, pytest.raises(RemoteError, match=r"\(3, 64, 64\)"):
        client.infer(np.zeros((3, 32, 32), np.float32))


def test_status_shows_state_split_link_and_server(pair: Pair) -> None:
    with pair.client() as client:
        client.infer(IMAGES)
    status = document(pair, "status")
    assert status["state"] == "ready"
    assert status["server"]["state"] == "ready"
    assert status["split"]["name"]
    assert status["device"]["throttle"] == 0.2
    text = splitctl(pair, "status").stdout
    assert "emulating a device at 0.2 of its speed" in text
    assert "tests.support.tiny:make" in text


def test_the_link_estimate_has_bounds(pair: Pair) -> None:
    with pair.client() as client:
        pair.agent.control.post("pin", cut="input", codec=None)
        for _ in range(4):
            client.infer(IMAGES)
    link = document(pair, "link")
    assert link["state"] == "up"
    assert link["up_bytes_per_s"]["p10"] <= link["up_bytes_per_s"]["p50"] <= link["up_bytes_per_s"]["p90"]
    assert link["congestion"]["algorithm"]


def test_splits_lists_every_cut_with_what_its_codecs_send(pair: Pair, network: Engine) -> None:
    rows = document(pair, "splits")["splits"]
    assert [row["name"] for row in rows] == list(network.names)
    assert {codec["codec"] for codec in rows[1]["codecs"]} >= {"f32", "f16", "u8"}
    assert rows[0]["codecs"][0]["wire_bytes"] >= 3 * 64 * 64


def test_explain_gives_each_candidate_a_time_and_a_reason(pair: Pair) -> None:
    shown = document(pair, "explain", "--batch", "1", "--rate", "0.5")
    assert sum(row["chosen"] for row in shown["candidates"]) == 1
    assert all(row["reason"] for row in shown["candidates"])
    chosen = next(row for row in shown["candidates"] if row["chosen"])
    assert sum(chosen["terms"].values()) == pytest.approx(chosen["predicted"]["p50"])


def test_history_compares_predicted_with_measured(pair: Pair) -> None:
    with pair.client() as client:
        client.infer(IMAGES)
    record = document(pair, "history", "--count", "1")["records"][0]
    assert record["measured_s"] > 0
    assert record["predicted_s"] > 0
    assert 0 < record["hindsight_s"] <= record["measured_s"]


def test_both_profiles_are_saved_for_replays(pair: Pair) -> None:
    with pair.client() as client:
        client.infer(IMAGES)
    saved = eventually(lambda: list(pair.agent.path.parent.glob("profile-pair-*.json")), what="the saved profiles")
    both = load_pair(saved[0])
    assert (both.device.role, both.server.role) == ("device", "server")


def test_status_reports_the_regret_against_hindsight(pair: Pair) -> None:
    with pair.client() as client:
        client.infer(IMAGES)
    regret = document(pair, "status")["regret"]
    assert regret["batches"] > 0
    assert regret["median"] >= 0
    assert regret["mean"] >= 0


@pytest.mark.parametrize("kind", ["agent", "server"])
def test_a_daemon_has_the_routes_that_its_schema_names(pair: Pair, kind: DaemonKind) -> None:
    control = {"agent": pair.agent, "server": pair.server}[kind].control
    for route in routes_of(kind):
        if route.method == "POST":
            with pytest.raises(RemoteError, match="405"):  # it is there, and is for changing
                control._request("GET", route.name)
        elif route.answer is not None:
            assert control.get(route.answer).schema_version == 1
    served = json.loads(control._request("GET", "schema"))
    assert served == schema(kind)


def test_the_server_shows_what_its_protocol_counts(pair: Pair) -> None:
    assert pair.server.control.get(ServerStatus).counters["hellos"] >= 1
    text = pair.server.control.metrics()
    assert 'splitd_server_protocol_events_total{kind="hellos"}' in text
    assert 'splitd_server_protocol_events_total{kind="wire_errors"} 0.0' in text


@pytest.mark.parametrize("name", ["status", "splits", "link", "explain", "history", "metrics"])
def test_every_view_prints_for_people(pair: Pair, name: str) -> None:
    result = splitctl(pair, name)
    assert result.returncode == 0, result.stderr
    assert result.stdout.strip()
    assert "Traceback" not in result.stderr


def test_watch_ends_after_the_asked_number_of_looks(pair: Pair) -> None:
    assert splitctl(pair, "watch", "--count", "2", "--interval", "0.1").returncode == 0


def test_wait_returns_at_once_when_ready_and_with_5_when_never(pair: Pair, tmp_path: Path) -> None:
    assert splitctl(pair, "wait", "--server", "--timeout", "5").returncode == 0
    nobody = subprocess.run(
        [
            sys.executable,
            "-m",
            "splitd.agent.commands.ctl",
            "--socket",
            str(tmp_path / "x"),
            "wait",
            "--timeout",
            "0.3",
        ],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
    )
    assert nobody.returncode == 5


def test_without_a_daemon_splitctl_exits_with_3(tmp_path: Path) -> None:
    result = subprocess.run(
        [sys.executable, "-m", "splitd.agent.commands.ctl", "--socket", str(tmp_path / "x"), "status"],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
    )
    assert result.returncode == 3
    assert "no such socket" in result.stderr


def test_pinning_an_unknown_cut_says_where_to_look(pair: Pair) -> None:
    result = splitctl(pair, "pin", "blocks.99")
    assert result.returncode == 1
    assert "splitctl splits" in result.stderr


def test_recalibration_happens_between_batches(pair: Pair) -> None:
    assert "measuring anew" in document(pair, "recalibrate")["message"]
    eventually(lambda: pair.agent.control.get(AgentStatus).profile == "measured", what="a new profile")
    with pair.client() as client:
        assert client.infer(IMAGES[0]).outputs[0].shape == (1, 10)
