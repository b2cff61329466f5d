"""The state of Decider and estimator as the first event of a file, and both of them back from it."""

from __future__ import annotations

import time
from collections.abc import Mapping

from splitd.agent.decide import CandidateKey, Decider, Learned, Pin, SpeedFactor
from splitd.agent.recorder.events import VERSION, Start
from splitd.calibration.profile import LatencyProfile
from splitd.errors import StateError
from splitd.transport.estimate import LinkEstimator, load_state, save_state

_LEARNED_TYPES: Mapping[str, type] = {"learned": Learned, "speed": SpeedFactor, "candidate": CandidateKey}


def take_snapshot(decider: Decider, estimator: LinkEstimator, now_s: float) -> Start:
    """Return the present state; the caller holds the locks of both."""
    candidates = decider.candidates
    return Start(
        version=VERSION,
        time=time.time(),
        now_s=now_s,
        device=candidates.device.to_json(),
        server=None if candidates.server is None else candidates.server.to_json(),
        config=decider.config,
        codecs=candidates.codecs,
        refusals=tuple((k, codec, reason) for (k, codec), reason in candidates.refusals.items()),
        result_elements=candidates.result_elements,
        pinned=decider.pinning,
        learned=save_state(decider.learned, _LEARNED_TYPES),
        estimator=save_state(estimator, skip=("recorder",)),
    )


def resume(start: Start) -> tuple[Decider, LinkEstimator]:
    """Return a Decider and an estimator in the state of a snapshot.

    Raises:
        StateError: It is of another version, or of a state that is none.
        ProfileError: A latency profile in it is damaged.
    """
    if start.version != VERSION:
        raise StateError(f"a recording of version {start.version}; this splitd reads version {VERSION}")
    decider = Decider(
        LatencyProfile.from_json(start.device),
        start.config,
        codecs=start.codecs,
        refusals={(k, codec): reason for k, codec, reason in start.refusals},
        result_elements=start.result_elements,
    )
    if start.server is not None:
        decider.follow(LatencyProfile.from_json(start.server))
    decider.set_pin(None if start.pinned is None else Pin(*start.pinned))
    load_state(decider.learned, start.learned, _LEARNED_TYPES)
    estimator = LinkEstimator()
    load_state(estimator, start.estimator)
    return decider, estimator
