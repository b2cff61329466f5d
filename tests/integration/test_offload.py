"""One batch by one choice, over a real session: by the server, here, or here from what was kept when that fails."""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Iterator

import numpy as np
import pytest
import torch
from PIL import Image

from splitd.agent.backends import LocalBackend
from splitd.agent.client import Request
from splitd.agent.decide import CandidateCost
from splitd.agent.device.batcher import Job
from splitd.agent.device.inputs import Inputs
from splitd.agent.device.offload import Offload, Outcome
from splitd.agent.server.admission import Admitted
from splitd.agent.server.worker import arrays_of
from splitd.calibration.chain import Engine
from splitd.errors import InputError
from splitd.transport.device import Session
from splitd.transport.server import Endpoint, IncomingRequest
from splitd.transport.wire import Hello, ServerLoad, ServerTimings, names_hash
from tests.sessions import wait_state
from tests.support.server_parts import engine, images

PATIENCE_S = 20.0
Answerer = Callable[[IncomingRequest], None]


@pytest.fixture(scope="module")
def network() -> Iterator[Engine]:
    threads = torch.get_num_threads()
    yield engine()
    torch.set_num_threads(threads)


class Rig:
    """An Offload with a session to a real endpoint, whose answers a test can replace."""

    def __init__(self, network: Engine) -> None:
        self.network = network
        self.answer: Answerer = self.finish
        self.endpoint = Endpoint(
            "tcp://127.0.0.1:*",
            lambda: {"name": "test", "version": "1"},
            model_digest=network.digest,
            cut_names_hash=names_hash(network.names),
            on_request=self._on_request,
            load=ServerLoad,
        )
        self.endpoint.start()
        hello = Hello(network.digest, names_hash(network.names), "1", "test")
        self.session = Session(self.endpoint.address, hello)
        self.session.start()
        wait_state(self.session, "ready", timeout_s=PATIENCE_S)
        self.offload = Offload(network, self.session)

    def _on_request(self, request: IncomingRequest) -> None:
        self.answer(request)

    def finish(self, request: IncomingRequest) -> None:
        """Answer as the server's worker does."""
        batch = request.tensors[0].shape[0] if request.cut else 2
        arrays = arrays_of(Admitted(request, batch), self.network)
        request.reply(LocalBackend(self.network).load(request.cut, arrays)(), ServerTimings(0.0, 0.0, 0.0))

    def run(self, cut: int, codec: str, given: Inputs, *, patience_s: float = PATIENCE_S) -> Outcome:
        kind = "local" if cut == self.network.last else "split" if cut else "full"
        cost = CandidateCost(cut, self.network.names[cut], codec, kind, 0.0, 0.0, 0, 0.0, 0.0, 0)  # type: ignore[arg-type]
        return self.offload.run(cost, given, time.monotonic() + patience_s)

    def unsplit(self, batch: np.ndarray) -> np.ndarray:
        return self.network.tail(0, self.network.to_input(batch))[0]

    def close(self) -> None:
        self.session.close()
        self.endpoint.close()


@pytest.fixture
def rig(network: Engine) -> Iterator[Rig]:
    made = Rig(network)
    yield made
    made.close()


def inputs(network: Engine, *items: object) -> Inputs:
    kind = "encoded" if isinstance(items[0], bytes) else "uint8"
    jobs = [Job(b"test", Request(i, kind, (item,), None), 0.0, 1e9) for i, item in enumerate(items)]  # type: ignore[arg-type]
    return Inputs(jobs, network)


def test_every_cut_gives_the_unsplit_networks_answer(rig: Rig, network: Engine) -> None:
    batch = images(2)
    for cut in range(network.last + 1):
        codec = "raw" if cut == 0 else "-" if cut == network.last else "f32"
        outcome = rig.run(cut, codec, inputs(network, *batch))
        np.testing.assert_array_equal(outcome.outputs[0], rig.unsplit(batch))
        assert outcome.source == ("local" if cut == network.last else "server")
        assert (outcome.wire_bytes > 0) == (cut != network.last)
        assert outcome.cause is None


def test_the_applications_own_files_cross_untouched_and_are_not_prepared_here(rig: Rig, network: Engine) -> None:
    batch = images(2)
    files = []
    for image in batch:
        file = io.BytesIO()
        Image.fromarray(image).save(file, "JPEG", quality=95)
        files.append(file.getvalue())
    outcome = rig.run(0, "as-given", given := inputs(network, *files))
    assert outcome.source == "server"
    assert outcome.timings["prepare"] == given.prepare_s == 0.0
    assert sum(map(len, files)) < outcome.wire_bytes < sum(map(len, files)) + 2000
    np.testing.assert_array_equal(outcome.outputs[0], rig.unsplit(inputs(network, *files).prepared()))


@pytest.mark.parametrize("cut", [0, 2])
def test_what_the_server_refuses_is_finished_from_what_was_kept(rig: Rig, network: Engine, cut: int) -> None:
    rig.answer = lambda request: request.fail("overload", "too many others")
    batch = images(2)
    outcome = rig.run(cut, "u8" if cut else "raw", inputs(network, *batch))
    # From the activation as it was, not from what the codec made of it.
    np.testing.assert_array_equal(outcome.outputs[0], rig.unsplit(batch))
    assert outcome.source == "finished-locally"
    assert outcome.cause == "overload: too many others"
    assert outcome.reply is None


def test_the_head_never_runs_twice(rig: Rig, network: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[int] = []
    segment = network.runner.segment

    def counted(index: int, live: object) -> object:
        ran.append(index)
        return segment(index, live)  # type: ignore[arg-type]

    monkeypatch.setattr(network.runner, "segment", counted)
    rig.answer = lambda request: request.fail("internal", "broken")
    rig.run(2, "f32", inputs(network, *images(1)))
    assert ran == list(range(network.last))


def test_a_silent_server_is_given_up_in_time(rig: Rig, network: Engine) -> None:
    rig.answer = lambda _request: None
    started_s = time.monotonic()
    outcome = rig.run(1, "f32", inputs(network, *images(1)), patience_s=0.3)
    assert outcome.source == "finished-locally"
    assert outcome.cause is not None
    assert outcome.cause.startswith("deadline")
    assert 0.3 <= time.monotonic() - started_s < 10.0


def test_without_a_session_the_rest_is_done_here(rig: Rig, network: Engine) -> None:
    rig.session.close()
    batch = images(1)
    outcome = rig.run(2, "f32", inputs(network, *batch))
    assert outcome.source == "finished-locally"
    np.testing.assert_array_equal(outcome.outputs[0], rig.unsplit(batch))


def test_a_job_with_no_image_is_rejected_and_the_others_go_on(rig: Rig, network: Engine) -> None:
    file = io.BytesIO()
    Image.fromarray(images(1)[0]).save(file, "PNG")
    given = inputs(network, b"no image", file.getvalue())
    outcome = rig.run(1, "f32", given)
    assert len(outcome.outputs[0]) == 1
    assert [job.request.request_id for job, _ in given.rejected] == [0]
    with pytest.raises(InputError):
        rig.run(1, "f32", inputs(network, b"no image either"))
