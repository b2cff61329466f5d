"""Replays on the simulated clock: the yardstick itself, and the command around it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from splitd.agent.commands.replay import command
from splitd.agent.decide.decider import DeciderConfig
from splitd.agent.decide.planner import PlannerConfig
from splitd.agent.simulation.link import LinkShape
from splitd.agent.simulation.replay import Setting, open_pair, play, policy_names
from splitd.agent.simulation.summary import summarise
from splitd.agent.simulation.traces import BUILT_IN, LoadTrace, Trace, load_load_trace, open_trace, steps
from splitd.errors import InputError, ProfileError, UsageError

LTE = {
    # Half a minute of each of the measured uplinks that the project is judged by, thinned out to every fifth bin.
    "fast-lte": (441e3, 918e3, 1467e3, 2540e3, 3165e3, 3504e3, 1200e3, 750e3, 300e3, 1800e3),
    "slow-lte": (12e3, 132e3, 150e3, 138e3, 126e3, 144e3, 0.0, 63e3, 141e3, 153e3),
}


def lte(name: str) -> Trace:
    return steps(name, *((3.0, rate) for rate in LTE[name]))


def setting(batch: int = 1, *, privacy: bool = False) -> Setting:
    config = DeciderConfig(PlannerConfig(privacy=privacy))
    return Setting(open_pair(None), batch, LinkShape(), LoadTrace(), config)


def first(trace: Trace, seconds: float) -> Trace:
    kept = [i for i, time_s in enumerate(trace.times_s) if time_s < seconds]
    times, rates = (tuple(values[i] for i in kept) for values in (trace.times_s, trace.rates_bytes_per_s))
    return Trace(trace.name, times, rates, seconds)


# Of fewer batches the middle one is an accident where two choices take about the same time.
TELLING_BATCHES = 30
TRACES = [*(first(make(), 80.0) for make in BUILT_IN.values()), *map(lte, LTE)]


@pytest.mark.parametrize("trace", TRACES, ids=lambda trace: trace.name)
@pytest.mark.parametrize("batch", [1, 8])
@pytest.mark.parametrize("privacy", [False, True])
def test_the_median_regret_is_small_and_no_other_policy_has_less(trace: Trace, batch: int, privacy: bool) -> None:
    now = setting(batch, privacy=privacy)
    rivals = ["local", "ewma", "neurosurgeon", "static:blocks.1.0", "static:blocks.3.0"]
    rivals += [] if privacy else ["full", "jpeg"]
    played = play("dynamic", trace, now)
    ours = summarise(played, None)
    assert ours.regret_median <= 0.05
    if len(played) < TELLING_BATCHES:
        return
    for name in rivals:
        theirs = summarise(play(name, trace, now), None)
        # Where one fixed choice is right for most batches, its median regret is 0 too, up to rounding.
        assert ours.regret_median <= theirs.regret_median + 1e-9, name


def test_the_oracle_has_no_regret() -> None:
    figures = summarise(play("oracle", lte("fast-lte"), setting()), None)
    assert figures.regret_mean == pytest.approx(0.0, abs=1e-9)


def test_a_replay_is_the_same_every_time() -> None:
    assert play("dynamic", lte("slow-lte"), setting()) == play("dynamic", lte("slow-lte"), setting())


def test_every_policy_sees_the_same_number_of_batches() -> None:
    now, trace = setting(), lte("fast-lte")
    assert len({len(play(name, trace, now)) for name in policy_names(now.costs)[:7]}) == 1


def test_a_busy_server_is_left_and_found_again() -> None:
    busy = LoadTrace((0.0, 20.0, 40.0), (1.0, 1.0, 1.0), (0.0, 5.0, 0.0))
    trace = steps("flat", (60.0, 2e6))
    played = play("dynamic", trace, replace(setting(), load=busy))
    third = len(played) // 3
    during = [batch.label == "output" for batch in played[third + 10 : 2 * third - 10]]
    after = [batch.label == "output" for batch in played[2 * third + 20 :]]
    assert sum(during) > 0.9 * len(during)
    assert sum(after) < 0.1 * len(after)


def test_a_slow_server_is_noticed_by_its_speed_factor() -> None:
    slow = LoadTrace((0.0, 20.0, 40.0), (1.0, 12.0, 12.0), (0.0, 0.0, 0.0))
    played = play("dynamic", steps("flat", (60.0, 2e6)), replace(setting(), load=slow))
    late = [batch.time_s / batch.oracle_s for batch in played[len(played) // 2 :]]
    assert sorted(late)[len(late) // 2] < 1.05


def test_missed_deadlines_are_counted() -> None:
    played = play("full", lte("slow-lte"), setting())
    assert summarise(played, None).missed == 0
    assert summarise(played, 0.5).missed > 0


def test_the_command_prints_the_document_that_is_promised(tmp_path: Path) -> None:
    csv = tmp_path / "short.csv"
    csv.write_text("time_s,rate_bytes_per_s\n0,2000000\n5,300000\n10,2000000\n")
    arguments = ["--trace", str(csv), "--policy", "dynamic", "--policy", "static:blocks.3.0", "--json"]
    result = CliRunner().invoke(command, arguments)
    assert result.exit_code == 0, result.output
    printed = json.loads(result.stdout)
    assert printed["schema_version"] == 1
    (trace,) = printed["traces"]
    assert trace["trace"] == "short"
    assert trace["batches"] > 10
    assert set(trace["policies"]) == {"dynamic", "static:blocks.3.0"}
    fields = {"mean_ms", "p50_ms", "p90_ms", "p99_ms", "regret_mean", "regret_median", "switches", "missed"}
    assert set(trace["policies"]["dynamic"]) == fields


def test_the_table_names_trace_and_policies(tmp_path: Path) -> None:
    csv = tmp_path / "short.csv"
    csv.write_text("time_s,rate_bytes_per_s\n0,2000000\n5,2000000\n")
    result = CliRunner().invoke(command, ["--trace", str(csv), "--policy", "oracle", "--policy", "local"])
    assert result.exit_code == 0, result.output
    assert "short" in result.stdout
    assert "oracle" in result.stdout


def test_unknown_names_say_what_there_is(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="static:blocks"):
        play("static:nowhere", lte("fast-lte"), setting())
    with pytest.raises(InputError):
        open_trace(str(tmp_path / "missing.csv"))


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"kind": "something else"}'])
def test_what_is_no_profile_pair_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "profile.json"
    path.write_text(text)
    with pytest.raises(ProfileError):
        open_pair(path)


@pytest.mark.parametrize("row", ["0,0,0", "0,1,-1", "1,1,0", "0,nan,0", "0,1", "a,b,c"])
def test_a_bad_load_trace_is_refused_with_its_line(tmp_path: Path, row: str) -> None:
    path = tmp_path / "load.csv"
    path.write_text(f"time_s,k_srv,queue_s\n{row}\n")
    with pytest.raises(InputError, match=":2:"):
        load_load_trace(path)


def test_a_load_trace_repeats(tmp_path: Path) -> None:
    path = tmp_path / "load.csv"
    path.write_text("time_s,k_srv,queue_s\n0,1,0\n10,4,0.5\n")
    load = load_load_trace(path)
    assert [load.at(t) for t in (0.0, 9.9, 10.0, 19.9, 20.0)] == [(1, 0), (1, 0), (4, 0.5), (4, 0.5), (1, 0)]
