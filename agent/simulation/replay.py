"""Replays a trace: every policy faces the same batches, and each of its choices is compared with hindsight."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from importlib import resources
from pathlib import Path

from splitd.agent.decide import CandidateCost, PlannerConfig, candidate_costs
from splitd.agent.simulation.link import LinkShape
from splitd.agent.simulation.policies import Dynamic, Policy, Static, ewma, neurosurgeon
from splitd.agent.simulation.traces import LoadTrace, Trace
from splitd.agent.simulation.world import Outcome, World
from splitd.calibration.profile import ProfilePair, load_pair
from splitd.errors import UsageError

FIXED = ("dynamic", "local", "full", "jpeg", "ewma", "neurosurgeon", "oracle")
# The daemon has long connected and probed when its first batch comes.
WARM_UP_S = 3.0
# The device keeps pace when it works alone, with a little room.
_INTERVAL = 1.05


@dataclass(frozen=True)
class Setting:
    """What is replayed: one batch size of one profile over one link."""

    costs: tuple[CandidateCost, ...]
    batch: int
    shape: LinkShape
    load: LoadTrace
    planner: PlannerConfig
    explore: float = 0.02
    interval_s: float | None = None
    deadline_s: float | None = None
    seed: int = 0

    @property
    def local(self) -> CandidateCost:
        """Return no offloading."""
        return next(cost for cost in self.costs if cost.kind == "local")

    @property
    def pace_s(self) -> float:
        """Return the seconds from one batch to the next."""
        return self.interval_s or _INTERVAL * self.local.head_s


@dataclass(frozen=True)
class Played:
    """One batch of one policy: its time, what the best choice would have taken, and what was chosen."""

    time_s: float
    oracle_s: float
    label: str


def open_pair(path: Path | None) -> ProfilePair:
    """Return the profiles of both ends from a file, or the reference that comes with splitd.

    The reference is efficientnet_b0 on one core throttled to 0.17, its server the same core at full speed.

    Raises:
        ProfileError: The file is not a pair of profiles.
    """
    if path is not None:
        return load_pair(path)
    with resources.as_file(
        resources.files("splitd.agent.simulation").joinpath("data/reference_profile.json")
    ) as reference:
        return load_pair(reference)


def costs_of(pair: ProfilePair, batch: int, *, privacy: bool = False) -> tuple[CandidateCost, ...]:
    """Return every candidate that the pair of profiles allows for a batch size; `privacy`: without full offloading."""

    def allowed(k: int, codec: str) -> bool:
        return (k, codec) not in pair.refused and (k > 0 or not privacy)

    return candidate_costs(pair.device, pair.server, batch, pair.device.key.codecs, allowed)


def policy_names(costs: Sequence[CandidateCost]) -> tuple[str, ...]:
    """Return all policies there are for a table: the fixed ones and every cut, each with the codec that sends least."""
    cuts = dict.fromkeys(cost.name for cost in costs if cost.kind == "split")
    fixed = (name for name in FIXED if name not in {"full", "jpeg"} or any(_is(name, cost) for cost in costs))
    return (*fixed, *(f"static:{cut}" for cut in cuts))


def play(
    name: str, trace: Trace, setting: Setting, progress: Callable[[float], None] = lambda _: None
) -> tuple[Played, ...]:
    """Run one policy through one lap of a trace, one batch at a time.

    Raises:
        UsageError: There is no such policy, or the profile lacks what it needs.
    """
    world = World(trace, setting.shape, setting.load, seed=setting.seed)
    policy = None if name == "oracle" else _policy(name, world, setting)
    rivals = tuple(_undominated(setting.costs))
    played, free_s = [], 0.0
    for index in range(max(1, int(trace.duration_s / setting.pace_s))):
        start_s = max(WARM_UP_S + index * setting.pace_s, free_s)
        if policy is not None:
            policy.advance(start_s)
        best_s, best = min((world.foretell(cost, index, start_s), i) for i, cost in enumerate(rivals))
        if policy is None:
            outcome = world.run(rivals[best], index, start_s)
        else:
            outcome = _one_batch(policy, world, setting, index, start_s)
        free_s = outcome.finish_s
        played.append(Played(free_s - start_s, best_s, outcome.cost.label))
        progress((index + 1) * setting.pace_s / trace.duration_s)
    return tuple(played)


def _one_batch(policy: Policy, world: World, setting: Setting, index: int, start_s: float) -> Outcome:
    cost, patience_s = policy.choose(start_s)
    if cost.kind == "local":
        outcome = world.run(cost, index, start_s)
        policy.advance(outcome.finish_s)
        policy.learn(outcome, given_up=False)
        return outcome
    policy.advance(start_s + world.head_s(cost, index))
    outcome = world.run(cost, index, start_s)
    given_up = outcome.finish_s > start_s + patience_s
    if given_up:
        outcome = replace(outcome, finish_s=start_s + patience_s + _rest_s(world, setting, cost, index))
    policy.advance(outcome.finish_s, busy=True)
    policy.learn(outcome, given_up=given_up)
    return outcome


def _rest_s(world: World, setting: Setting, cost: CandidateCost, index: int) -> float:
    """Return how long the device needs to finish from the activation it kept."""
    whole_s = world.head_s(setting.local, index)
    return max(0.0, whole_s - world.head_s(replace(cost, encode_s=0.0), index))


def _policy(name: str, world: World, setting: Setting) -> Policy:
    costs = setting.costs
    if name == "dynamic":
        return Dynamic(costs, world, setting.planner, explore=setting.explore, batch=setting.batch)
    if name in {"ewma", "neurosurgeon"}:
        return (ewma if name == "ewma" else neurosurgeon)(costs, world)
    found = [cost for cost in costs if _is(name, cost)]
    if not found:
        raise UsageError(f"there is no policy {name!r} for this profile; there are {', '.join(policy_names(costs))}")
    return Static(min(found, key=lambda cost: cost.wire_bytes))


def _is(name: str, cost: CandidateCost) -> bool:
    """Tell whether a candidate is what a static policy of this name does."""
    if name in {"full", "jpeg"}:
        return cost.kind == "full" and cost.codec.startswith("raw" if name == "full" else "jpeg")
    return cost.kind == "local" if name == "local" else cost.kind == "split" and f"static:{cost.name}" == name


def _undominated(costs: Sequence[CandidateCost]) -> list[CandidateCost]:
    """Return the candidates that hindsight has to look at: no other is at least as good in every term."""
    terms = {c.key: (c.head_s + c.encode_s, c.wire_bytes, c.decode_s + c.tail_s, c.kind != "local") for c in costs}

    def beaten(cost: CandidateCost) -> bool:
        mine = terms[cost.key]
        return any(o != mine and all(a <= b for a, b in zip(o, mine, strict=True)) for o in terms.values())

    return [cost for cost in costs if not beaten(cost)]
