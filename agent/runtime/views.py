"""What the views of both daemons share: parts of the status, and parameters of a query."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict

from splitd.agent.client import DeviceView, ExecutorView, ModelView, PreprocessingView
from splitd.agent.configuration import DeviceConfig, ModelConfig
from splitd.calibration.chain import Engine
from splitd.calibration.measure import Selection, Trial
from splitd.errors import UsageError

MAX_COUNT = 256  # the largest batch of any configuration; also bounds what one answer may hold

Query = Mapping[str, str]


def configured_model(config: ModelConfig) -> ModelView:
    """Return which network is to run, before it is loaded; of a bundle only the file is known then."""
    weights = config.weights if config.bundle is None else "bundle"
    return ModelView(name=config.shown, weights=weights, image_size=config.image_size, digest="")


def loaded_model(config: ModelConfig, engine: Engine) -> ModelView:
    """Return which network runs, and what it takes."""
    known = engine.preprocessing
    bundled = {} if config.bundle is None else {"name": engine.description.model, "weights": str(config.bundle)}
    return configured_model(config).model_copy(
        update={
            **bundled,
            "image_size": known.size[1] if known is not None else None,
            "digest": engine.digest,
            "input": engine.sample_shape,
            "preprocessing": PreprocessingView(**asdict(known)) if known is not None else None,
        }
    )


def device_view(config: DeviceConfig, engine: Engine | None) -> DeviceView:
    """Return what it runs on; `throttle` is None unless a slower device is emulated."""
    threads = engine.threads if engine else config.threads
    throttle = config.throttle if config.throttle and config.throttle < 1 else None
    executor = engine.runner.name if engine else None
    return DeviceView(name=config.name, threads=threads, throttle=throttle, executor=executor)


def whole(query: Query, name: str) -> int | None:
    """Return a parameter that counts something, None if it is not there; raises UsageError."""
    text = query.get(name)
    if text is None:
        return None
    # Not every digit of Unicode is one for int(), and a number may have any length.
    if not (text.isascii() and text.isdigit() and len(text) <= len(str(MAX_COUNT)) and 0 < int(text) <= MAX_COUNT):
        raise UsageError(f"{name}: a whole number from 1 to {MAX_COUNT}, not {text!r}")
    return int(text)


def positive(query: Query, name: str) -> float | None:
    """Return a parameter that is a rate in bytes per second, None if it is not there; raises UsageError."""
    text = query.get(name)
    if text is None:
        return None
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise UsageError(f"{name}: a positive number of bytes per second, not {text!r}")
    return value


def executor_views(selection: Selection) -> tuple[ExecutorView, ...]:
    """Return all executors side by side, and how far those are that are still being made."""
    pending = {executor.name for executor in selection.pending()}
    return tuple(
        ExecutorView(
            name=trial.executor,
            version=trial.version,
            verdict=trial.verdict,
            reason=_made(selection, trial) if trial.executor in pending else trial.reason,
            relative_error=trial.relative_error,
            kl=trial.kl,
            batch_sizes=selection.batch_sizes,
            head_s=trial.head_s,
            tail_s=trial.tail_s,
        )
        for trial in selection.trials.values()
    )


def _made(selection: Selection, trial: Trial) -> str:
    return f"{selection.made(trial.executor)} of {selection.segments} segments made"
