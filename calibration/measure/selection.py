"""Which executor runs the network here: each that is installed is built, proved and timed; the fastest that agrees."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from splitd.calibration.chain import Engine, Runner
from splitd.calibration.executors import AUTO, EXECUTORS, BuildPlan, Executor, Found, Missing, SegmentSource
from splitd.calibration.measure.bench import Bench
from splitd.calibration.measure.chain_times import time_chain
from splitd.calibration.measure.environment import device_name, power_mode, profile_key
from splitd.calibration.measure.profiler import generated_batch
from splitd.calibration.measure.proof import prove
from splitd.calibration.measure.trials import Trial, TrialKey, TrialReport, fastest, report_path
from splitd.calibration.profile import MAX_TEXT
from splitd.errors import ConfigError, ModelError, ProfileError

log = logging.getLogger(__name__)

FOLDER = "executors"  # under the state directory
REFERENCE = "torch"
WITHOUT_TORCH = ("onnxruntime", "openvino")  # the reference of a bundle is the first that is installed


@dataclass(frozen=True)
class SelectionSettings:
    """What is chosen from, for what. `wanted` is `auto` or an executor's name; `throttle` a share, None full speed."""

    state_dir: Path
    wanted: str = AUTO
    device: str = "cpu"
    threads: int | None = None
    throttle: float | None = None
    batch_sizes: tuple[int, ...] = (1, 2, 4, 8)
    repeats: int = 5


class Selection:
    """The executors of one chain on this machine. One thread at a time tries; `trials` may be read by any.

    Attributes:
        engine: Runs the chain; its runner is the reference until a faster one is put in its place.
        trials: What is known of each executor, by name, in the order of the registry; replaced, never changed.
        problems: What was wrong with the state directory, in words.
    """

    def __init__(self, source: SegmentSource, settings: SelectionSettings, *, fresh: bool = False) -> None:
        """Find out what is installed, and build what was chosen the last time (not if `fresh`), or else the reference.

        Raises:
            ConfigError: The wanted executor is not there, or nothing can run this network.
            ModelError: The reference cannot be built.
        """
        self.problems: list[str] = []
        self._source = source
        self._settings = settings
        self._plan = BuildPlan(source, settings.device, settings.threads, settings.state_dir / FOLDER)
        found = {name: executor.find(settings.device) for name, executor in EXECUTORS.items()}
        self._reference = _reference(source, found)
        self.trials = {name: self._untried(EXECUTORS[name], found[name]) for name in EXECUTORS}
        self._check_wanted()
        self._built: dict[str, Runner] = {}
        runner = (None if fresh else self._remembered()) or self._build(EXECUTORS[self._reference])
        self.engine = Engine(source.description, runner, settings.throttle)

    @property
    def chosen(self) -> str:
        """The executor that should run the network, by what is known now."""
        usable = {name: self.trials[name] for name in self._candidates()}
        return fastest(usable) or self._reference

    def pending(self) -> tuple[Executor, ...]:
        """Return the executors that were not tried yet, the reference first: all others are held to it."""
        untried = [EXECUTORS[name] for name in self._candidates() if not self._known(name)]
        if all(executor.name == self._reference for executor in untried):
            return ()  # nothing to compare it with
        return tuple(sorted(untried, key=lambda executor: executor.name != self._reference))

    def unmade(self) -> tuple[tuple[Executor, int], ...]:
        """Return the pending executors whose pieces must still be made, each with how many there are already."""
        counts = [(executor, executor.ready(self._plan)) for executor in self.pending()]
        return tuple((executor, ready) for executor, ready in counts if ready < self._plan.count)

    @property
    def segments(self) -> int:
        """How many pieces each executor is made of."""
        return self._plan.count

    def made(self, name: str) -> int:
        """Return how many pieces of an executor there are."""
        return EXECUTORS[name].ready(self._plan)

    @property
    def batch_sizes(self) -> tuple[int, ...]:
        """What the trials' times belong to."""
        return tuple(sorted(set(self._settings.batch_sizes)))

    def make(self, executor: Executor, progress: Callable[[int, int], None]) -> None:
        """Make the executor's pieces and keep them; `progress` is told of how many of them. Raises ModelError."""
        for i in range(self._plan.count):
            progress(i, self._plan.count)
            executor.piece(self._plan, i)

    def give_up(self, executor: Executor, reason: str) -> None:
        """Take it that an executor cannot be made here."""
        self._note(replace(self.trials[executor.name], verdict="failed", reason=_printable(reason)))

    def settle(self, progress: Callable[[float, str], None]) -> None:
        """Try all whose pieces are at hand, and let the fastest run the engine; nothing may run on it meanwhile."""
        unmade = {executor.name for executor, _ in self.unmade()}
        ready = [executor for executor in self.pending() if executor.name not in unmade]
        if all(executor.name == self._reference for executor in ready):
            return
        for index, executor in enumerate(ready):
            progress(index / len(ready), f"trying {executor.name}")
            self.attempt(executor)
        self.engine.runner = self.best()

    def attempt(self, executor: Executor) -> Trial:
        """Build, prove and time one executor; whatever goes wrong with it is its verdict."""
        trial = self.trials[executor.name]
        try:
            runner = self._build(executor)
            trial = self._proved(trial, runner)
            trial = self._timed(trial, runner)
        except (ModelError, MemoryError) as error:
            trial = replace(trial, verdict="failed", reason=_printable(str(error)))
        except Exception as error:  # runtimes fail in their own ways, and none of them may stop the daemon
            log.exception("%s failed", executor.name)
            trial = replace(trial, verdict="failed", reason=_printable(f"{type(error).__name__}: {error}"))
        self._note(trial)
        log.info("executor %s: %s%s", executor.name, trial.verdict, f" ({trial.reason})" if trial.reason else "")
        return trial

    def best(self) -> Runner:
        """Return the runner of the chosen executor; the others are let go."""
        name = self.chosen
        if self._settings.wanted not in {AUTO, name}:
            log.warning("executor %s: %s; %s runs", self._settings.wanted, self._why_not(self._settings.wanted), name)
        runner = self._build(EXECUTORS[name])
        self._built = {name: runner}
        return runner

    def engine_on(self, runner: Runner) -> Engine:
        """Return another engine of the same chain, to measure with."""
        return Engine(self._source.description, runner, self._settings.throttle)

    def _candidates(self) -> tuple[str, ...]:
        """Return whom to choose from: all that are there, or the wanted one; the reference for what that cannot do."""
        usable = [name for name, trial in self.trials.items() if trial.verdict != "missing"]
        if self._settings.wanted == AUTO:
            return tuple(usable)
        wanted = self.trials[self._settings.wanted]
        return (wanted.executor,) if wanted.verdict not in {"disagrees", "failed"} else (self._reference,)

    def _known(self, name: str) -> bool:
        trial = self.trials[name]
        return bool(trial.head_s) or trial.verdict in {"disagrees", "failed"}

    def _untried(self, executor: Executor, found: Found | Missing) -> Trial:
        if isinstance(found, Missing):
            return Trial(executor.name, "-", "missing", _printable(f"{found.reason}; {found.remedy}"))
        if executor.needs_torch and self._source.torch_chain() is None:
            return Trial(executor.name, found.version, "missing", "it needs the model itself; a bundle runs here")
        return Trial(executor.name, found.version, "reference" if executor.name == self._reference else "untried")

    def _check_wanted(self) -> None:
        wanted = self._settings.wanted
        if wanted != AUTO and self.trials[wanted].verdict == "missing":
            raise ConfigError([f"device.executor: {wanted}: {self.trials[wanted].reason}"])

    def _why_not(self, name: str) -> str:
        trial = self.trials[name]
        return trial.reason or trial.verdict

    def _build(self, executor: Executor) -> Runner:
        if executor.name not in self._built:
            plan = self._plan
            self._built[executor.name] = executor.build(
                plan.source, device=plan.device, threads=plan.threads, cache_dir=plan.cache_dir
            )
        return self._built[executor.name]

    def _proved(self, trial: Trial, runner: Runner) -> Trial:
        known = self._source.reference()
        if known is None:
            return trial
        proof = prove(self.engine_on(runner), known)
        trial = replace(trial, relative_error=proof.relative_error, kl=proof.kl)
        if trial.verdict == "reference":
            return trial
        if not proof.agrees:
            return replace(trial, verdict="disagrees", reason=_printable(proof.reason))
        return replace(trial, verdict="agrees", reason=None)

    def _timed(self, trial: Trial, runner: Runner) -> Trial:
        if trial.verdict not in {"reference", "agrees"}:
            return trial
        engine, settings = self.engine_on(runner).at_full_speed(), self._settings
        key = profile_key(
            engine.description, runner, role="device", throttle=None, batch_sizes=settings.batch_sizes, codecs=()
        )
        bench = Bench(engine, generated_batch(engine, key.batch_sizes[-1]))
        times = time_chain(bench, key, settings.repeats, _silent)
        return replace(trial, head_s=tuple(times.heads.medians(engine.last)), tail_s=tuple(times.tails.medians(0)))

    def _remembered(self) -> Runner | None:
        """Take over what the last start found; return the runner that it chose, if that can be had at once."""
        try:
            saved = TrialReport.load(self._path, self._key())
        except ProfileError as error:
            log.warning("%s; trying the executors anew", error)
            self.problems.append(str(error))
            return None
        if saved is None:
            return None
        known = {trial.executor: trial for trial in saved.trials if trial.executor in self.trials}
        self.trials = {**self.trials, **known}
        executor = EXECUTORS[self.chosen]
        if executor.ready(self._plan) < self._plan.count:
            return None
        try:
            return self._build(executor)
        except ModelError as error:
            self.give_up(executor, str(error))
            return None

    def _note(self, trial: Trial) -> None:
        self.trials = {**self.trials, trial.executor: trial}
        try:
            TrialReport(self._key(), tuple(self.trials.values())).save(self._path)
        except ProfileError as error:
            log.warning("%s; the executors are tried again at the next start", error)

    @property
    def _path(self) -> Path:
        return report_path(self._settings.state_dir, self._source.description.digest)

    def _key(self) -> TrialKey:
        """What is installed is part of it: another version, or one that came later, has all of them tried again."""
        chain, settings = self._source.description, self._settings
        return TrialKey(
            model_digest=chain.digest,
            cut_names=chain.names,
            device=device_name(settings.device),
            power_mode=power_mode(),
            threads=settings.threads or 0,
            batch_sizes=tuple(sorted(set(settings.batch_sizes))),
            installed=tuple(
                f"{trial.executor} {trial.version}" for trial in self.trials.values() if trial.verdict != "missing"
            ),
        )


def _reference(source: SegmentSource, found: dict[str, Found | Missing]) -> str:
    if source.torch_chain() is not None:
        return REFERENCE
    for name in WITHOUT_TORCH:
        if isinstance(found[name], Found):
            return name
    missing = found[WITHOUT_TORCH[0]]
    remedy = missing.remedy if isinstance(missing, Missing) else ""
    raise ConfigError([f"device.executor: nothing is installed that runs a bundle; {remedy}"])


def _printable(text: str) -> str:
    line = " ".join(text.split())
    return "".join(char for char in line if char.isprintable())[:MAX_TEXT]


def _silent(share: float, doing: str) -> None:
    """Report to nobody: how long a trial takes is not known beforehand."""
