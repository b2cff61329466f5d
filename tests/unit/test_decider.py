"""The Decider by itself: times, links and profiles in, decisions and lessons out."""

from __future__ import annotations

from dataclasses import replace

import pytest

from splitd.agent.decide.candidates import Wanted
from splitd.agent.decide.decider import DEADLINE_MARGIN, MIN_PATIENCE_S, Decider, DeciderConfig
from splitd.agent.decide.learning import Done, Remote
from splitd.agent.decide.planner import PlannerConfig
from splitd.agent.decide.surroundings import ReportedQueue, Surroundings, see
from splitd.agent.simulation.replay import open_pair
from splitd.calibration.profile.pair import ProfilePair
from splitd.errors import ProfileError, UsageError
from splitd.transport.estimate.link import LinkEstimate, LinkEstimator
from splitd.transport.estimate.observations import Quantiles
from splitd.transport.estimate.path import PathModel

CODECS = ("f16", "u8", "u8h", "u6h")
FAST, SLOW = 50e6, 2e3


@pytest.fixture(scope="module")
def pair() -> ProfilePair:
    return open_pair(None)


def make(
    pair: ProfilePair, config: DeciderConfig | None = None, *, connected: bool = True, jpeg: bool = True
) -> Decider:
    refusals = {} if jpeg else {(0, "jpeg90"): "too rough"}
    decider = Decider(pair.device, config, codecs=CODECS, refusals=refusals, result_elements=(1000,))
    if connected:
        decider.follow(pair.server)
    return decider


def around(
    rate: float | None, *, now_s: float = 100.0, queue: ReportedQueue | None = None, rtt_s: float = 0.002
) -> Surroundings:
    if rate is None:
        return Surroundings(now_s, LinkEstimate("unknown"), None, queue)
    path = PathModel(Quantiles.exactly(rate), rtt_s)
    link = LinkEstimate("up", rtt_s=Quantiles.exactly(rtt_s), up=path.rate, up_path=path, idle_s=0.0)
    return Surroundings(now_s, link, rate, queue)


def done(decider: Decider, **changes: object) -> Done:
    assert decider.last is not None
    chosen = decider.last[0].chosen
    assert chosen.predicted is not None
    plain = Done(
        now_s=101.0,
        measured_s=chosen.predicted.p50,
        head_s=chosen.cost.head_s,
        prepare_s=0.0,
        samples=1,
        kind="uint8",
        rate_bytes_per_s=FAST,
    )
    return replace(plain, **changes)  # type: ignore[arg-type]


def test_without_a_server_everything_stays_here(pair: ProfilePair) -> None:
    decider = make(pair, connected=False)
    assert decider.decide(Wanted(1), around(FAST)).chosen.cost.kind == "local"
    decider.follow(pair.server)
    assert decider.decide(Wanted(1), around(FAST)).chosen.cost.kind == "full"
    assert decider.decide(Wanted(1), around(None)).chosen.cost.kind == "local"


def test_a_servers_profile_that_does_not_fit_is_refused_and_changes_nothing(pair: ProfilePair) -> None:
    decider = make(pair)
    names = (*pair.server.cut_names[:-2], "elsewhere", pair.server.cut_names[-1])
    with pytest.raises(ProfileError, match="different places"):
        decider.follow(replace(pair.server, key=replace(pair.server.key, cut_names=names)))
    undecoded = {where: replace(cost, decode=None) for where, cost in pair.server.codecs.items()}
    with pytest.raises(ProfileError, match="decoding time"):
        decider.follow(replace(pair.server, codecs=undecoded))
    assert decider.decide(Wanted(1), around(FAST)).chosen.cost.kind == "full"


def test_the_servers_queue_is_as_old_as_its_word(pair: ProfilePair) -> None:
    queued_s = [
        decider.decide(Wanted(1), around(FAST, queue=queue)).chosen.terms
        for decider in [make(pair)]
        for queue in (ReportedQueue(0.004, 0.0), ReportedQueue(0.004, 0.003), ReportedQueue(0.004, 9.0))
    ]
    assert [terms and pytest.approx(terms.queue_s) for terms in queued_s] == [0.004, 0.001, 0.0]


def test_a_throttled_device_is_learned_and_sends_earlier(pair: ProfilePair) -> None:
    decider = make(pair, jpeg=False)
    rate = 150e3
    before = decider.decide(Wanted(1), around(rate)).chosen.cost
    assert before.kind != "full"
    for _ in range(20):
        decision = decider.decide(Wanted(1), around(rate))
        if decision.chosen.cost.kind != "full":
            lesson = decider.learn(decision, done(decider, head_s=4.0 * decision.chosen.cost.head_s))
    assert lesson.k_dev.p50 == pytest.approx(4.0, rel=0.05)
    assert decider.decide(Wanted(1), around(rate)).chosen.cost.cut < before.cut


def test_a_slow_server_is_learned_from_its_own_times(pair: ProfilePair) -> None:
    decider = make(pair)
    for _ in range(12):
        decision = decider.decide(Wanted(1), around(FAST))
        cost = decision.chosen.cost
        if cost.kind == "local":
            break
        remote = Remote(0.0, 20.0 * cost.decode_s, 20.0 * cost.tail_s)
        lesson = decider.learn(decision, done(decider, remote=remote))
    assert lesson.k_srv.p50 > 10.0
    assert decider.decide(Wanted(1), around(FAST)).chosen.cost.kind == "local"


def test_what_was_given_up_was_better_done_here(pair: ProfilePair) -> None:
    decider = make(pair)
    decision = decider.decide(Wanted(1), around(FAST))
    lesson = decider.learn(decision, done(decider, measured_s=30.0, given_up=True, rate_bytes_per_s=None))
    local_s = pair.device.tail_s(0, 1)
    assert lesson.hindsight_s == pytest.approx(local_s, rel=0.1)


def test_hindsight_knows_the_rate_that_the_batch_met(pair: ProfilePair) -> None:
    decider = make(pair)
    decision = decider.decide(Wanted(1), around(FAST))
    slow = decider.learn(decision, done(decider, measured_s=30.0, rate_bytes_per_s=SLOW)).hindsight_s
    fast = decider.learn(decision, done(decider, measured_s=30.0, rate_bytes_per_s=FAST)).hindsight_s
    assert fast < slow
    assert decider.learn(decision, done(decider, measured_s=1e-6)).hindsight_s == 1e-6


def test_the_server_is_waited_for_so_long_that_a_local_finish_still_meets_the_deadline(pair: ProfilePair) -> None:
    decider = make(pair)
    now_s, own_s = 100.0, pair.device.tail_s(0, 1)
    patient = decider.decide(Wanted(1), around(FAST, now_s=now_s))
    assert patient.chosen.cost.kind == "full"
    assert patient.chosen.predicted is not None
    assert patient.give_up_s == pytest.approx(now_s + max(own_s, MIN_PATIENCE_S) + patient.chosen.predicted.p90)
    tight = decider.decide(Wanted(1, deadline_s=now_s + 2.0 * own_s), around(FAST, now_s=now_s))
    assert tight.give_up_s == pytest.approx(now_s + (2.0 - DEADLINE_MARGIN) * own_s)
    late = decider.decide(Wanted(1, deadline_s=now_s - 1.0), around(FAST, now_s=now_s))
    assert late.give_up_s == now_s


def test_what_the_application_gives_decides_how_it_may_cross(pair: ProfilePair) -> None:
    decider = make(pair)
    given = decider.decide(Wanted(1, kind="encoded", jpeg_bytes=9_000), around(1e6))
    assert given.chosen.cost.codec == "as-given"
    tensors = decider.decide(Wanted(1, kind="float32", is_image=False), around(FAST))
    assert all(scored.cost.codec not in {"raw", "jpeg90", "as-given"} for scored in tensors.scored)


def test_preparing_is_learned_by_kind_and_added_to_every_head(pair: ProfilePair) -> None:
    decider = make(pair)
    rate = around(SLOW)
    plain = decider.decide(Wanted(2), rate).chosen.cost
    decider.learn(decider.decide(Wanted(2), rate), done(decider, prepare_s=0.1, samples=2))
    assert decider.decide(Wanted(2), rate).chosen.cost.head_s == pytest.approx(plain.head_s + 0.1, rel=0.05)
    assert decider.decide(Wanted(2, kind="encoded"), rate).chosen.cost.head_s == plain.head_s


def test_exploring_has_a_budget_and_happens_only_while_local_is_best(pair: ProfilePair) -> None:
    decider = make(pair, DeciderConfig(explore=0.1), jpeg=False)
    doubtful = around(100e3)
    path = replace(doubtful.link.up_path, residual=Quantiles(0.3, 1.0, 2.0))  # type: ignore[type-var]
    doubtful = replace(doubtful, link=replace(doubtful.link, up_path=path))
    explored = [decider.decide(Wanted(1), doubtful).explored for _ in range(100)]
    assert 0 < sum(explored) <= 10
    assert not any(decider.decide(Wanted(1), around(FAST)).explored for _ in range(500))
    # What was saved up in all that certainty is a handful, not fifty.
    assert sum(decider.decide(Wanted(1), doubtful).explored for _ in range(10)) <= 6


def test_a_pin_survives_a_reload_and_names_what_is_there(pair: ProfilePair) -> None:
    decider = make(pair)
    cut = pair.device.cut_names[3]
    with pytest.raises(UsageError, match="no cut"):
        decider.pin("nowhere", None)
    with pytest.raises(UsageError, match="not a candidate"):
        decider.pin(cut, "jpeg90")
    decider.pin(cut, "u8")
    decider.reconfigure(DeciderConfig(PlannerConfig(objective="p90")))
    assert decider.pinned == f"{cut}/u8"
    assert decider.decide(Wanted(1), around(FAST)).chosen.cost.label == f"{cut}/u8"
    decider.unpin()
    assert decider.pinned is None
    assert decider.decide(Wanted(1), around(FAST)).chosen.cost.kind == "full"


def test_explaining_changes_nothing(pair: ProfilePair) -> None:
    decider = make(pair)
    first = decider.decide(Wanted(2), around(FAST))
    assert decider.explain(None, None, around(SLOW)) == (first, 2)
    asked, batch = decider.explain(1, SLOW, around(FAST))
    assert (asked.chosen.cost.kind, batch) == ("local", 1)
    assert decider.learned.previous == first.chosen.cost.key
    assert decider.last == (first, 2)


def test_privacy_and_refusals_keep_candidates_out(pair: ProfilePair) -> None:
    decider = make(pair, DeciderConfig(PlannerConfig(privacy=True)))
    assert decider.decide(Wanted(1), around(FAST)).chosen.cost.kind != "full"
    refusing = make(pair, jpeg=False)
    assert all(cost.codec != "jpeg90" for cost in refusing.costs(1))
    assert refusing.candidates.refused() == [("input", "jpeg90", "too rough")]


def test_surroundings_are_what_the_estimator_says() -> None:
    estimator = LinkEstimator()
    estimator.on_up(1.0)
    estimator.on_ping(1.1, 0.02)
    seen = see(estimator, 2.0, None)
    assert seen.link == estimator.estimate(2.0)
    assert seen.rate_bytes_per_s is None
