"""Replays a trace: every policy faces the same batches, and each of its choices is compared with hindsight."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from importlib import resources
from pathlib import Path

from splitd.agent.decide import CandidateCost, Decider, DeciderConfig, answer_bytes, candidate_costs, undominated
from splitd.agent.simulation.link import LinkShape
from splitd.agent.simulation.policies import Dynamic, Policy, Static, ewma, neurosurgeon
from splitd.agent.simulation.traces import LoadTrace, Trace
from splitd.agent.simulation.world import SimulatedBatch, World
from splitd.calibration.profile import ProfilePair, load_pair
from splitd.errors import UsageError

FIXED = ("dynamic", "local", "full", "jpeg", "ewma", "neurosurgeon", "oracle")
# The daemon has long connected and probed when its first batch comes.
WARM_UP_S = 3.0
# The device keeps pace when it works alone, with a little room.
_INTERVAL = 1.05
# What a pair of profiles does not say: the outputs are the logits of 1000 classes, as of most image classifiers.
RESULT_ELEMENTS = (1000,)


@dataclass(frozen=True)
class Setting:
    """What is replayed: one batch size of one pair of profiles over one link."""

    pair: ProfilePair
    batch: int
    shape: LinkShape
    load: LoadTrace
    config: DeciderConfig = field(default_factory=DeciderConfig)
    interval_s: float | None = None
    deadline_s: float | None = None
    seed: int = 0

    @cached_property
    def costs(self) -> tuple[CandidateCost, ...]:
        """Return every candidate that the pair of profiles and the configuration allow for the batch size."""
        return costs_of(self.pair, self.batch, privacy=self.config.planner.privacy)

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

    result_bytes = answer_bytes(RESULT_ELEMENTS, batch)
    return candidate_costs(pair.device, pair.server, batch, pair.device.key.codecs, allowed, result_bytes=result_bytes)


def decider_of(setting: Setting) -> Decider:
    """Return the daemon's Decider with the profiles and the configuration of a replay."""
    pair = setting.pair
    decider = Decider(
        pair.device,
        setting.config,
        codecs=pair.device.key.codecs,
        refusals=dict.fromkeys(pair.refused, "refused when the pair was saved"),
        result_elements=RESULT_ELEMENTS,
    )
    decider.follow(pair.server)
    return decider


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
    rivals = undominated(setting.costs)
    played, free_s = [], 0.0
    for index in range(max(1, int(trace.duration_s / setting.pace_s))):
        start_s = max(WARM_UP_S + index * setting.pace_s, free_s)
        if policy is not None:
            policy.advance(start_s)
        best_s, best = min((world.foretell(cost, index, start_s), i) for i, cost in enumerate(rivals))
        if policy is None:
            batch = world.run(rivals[best], index, start_s)
        else:
            batch = _one_batch(policy, world, setting, index, start_s)
        free_s = batch.finish_s
        played.append(Played(free_s - start_s, best_s, batch.cost.label))
        progress((index + 1) * setting.pace_s / trace.duration_s)
    return tuple(played)


def _one_batch(policy: Policy, world: World, setting: Setting, index: int, start_s: float) -> SimulatedBatch:
    cost, patience_s = policy.choose(start_s)
    if cost.kind == "local":
        batch = world.run(cost, index, start_s)
        policy.advance(batch.finish_s)
        policy.learn(batch, given_up=False)
        return batch
    policy.advance(start_s + world.device_s(cost, index))
    batch = world.run(cost, index, start_s)
    given_up = batch.terms.total_s > patience_s
    if given_up:
        batch = batch.given_up(patience_s, _rest_s(world, setting, cost, index))
    policy.advance(batch.finish_s, busy=True)
    policy.learn(batch, given_up=given_up)
    return batch


def _rest_s(world: World, setting: Setting, cost: CandidateCost, index: int) -> float:
    """Return how long the device needs to finish from the activation it kept."""
    whole_s = world.device_s(setting.local, index)
    return max(0.0, whole_s - world.device_s(replace(cost, encode_s=0.0), index))


def _policy(name: str, world: World, setting: Setting) -> Policy:
    costs = setting.costs
    if name == "dynamic":
        return Dynamic(decider_of(setting), world, batch=setting.batch)
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
