"""Runs the models of a study in worker processes: export is single-threaded Python, so two cores halve the time."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from functools import partial

import torch

from splitd.calibration.study.evaluate import ModelResult, evaluate_roofline
from splitd.calibration.study.settings import Processors, StudySettings
from splitd.calibration.study.subjects import open_subject
from splitd.errors import UsageError

MAX_WORKERS = 2  # each holds a whole exported model and starts its own torch: more gains little and costs gigabytes

Progress = Callable[[int, int, str], None]


def study_roofline(models: Sequence[str], settings: StudySettings, progress: Progress) -> list[ModelResult]:
    """Evaluate all models by roofline, in the order given.

    `progress` is called with the number of models done, their total, and the one that was finished last.

    Raises:
        UsageError: the settings name no processors.
        ModelError: one of the models cannot be exported.
    """
    if settings.processors is None:
        raise UsageError("a roofline study needs a device and a server")
    work = partial(_evaluate, settings=settings, processors=settings.processors)
    if len(models) == 1:
        results = [work(models[0])]
        progress(1, 1, models[0])
        return results
    return _in_processes(work, models, progress)


def _in_processes(work: Callable[[str], ModelResult], models: Sequence[str], progress: Progress) -> list[ModelResult]:
    # spawn: torch's threads do not survive a fork
    workers = min(MAX_WORKERS, len(models))
    executor = ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), initializer=_start_worker)
    # the larger models come last in every list that people write; starting with them keeps both workers busy
    futures = {executor.submit(work, model): model for model in dict.fromkeys(reversed(models))}
    try:
        for done, future in enumerate(as_completed(futures), start=1):
            future.result()
            progress(done, len(futures), futures[future])
    finally:
        executor.shutdown(cancel_futures=True)
    by_model = {model: future.result() for future, model in futures.items()}
    return [by_model[model] for model in models]


def _evaluate(model: str, settings: StudySettings, processors: Processors) -> ModelResult:
    return evaluate_roofline(open_subject(model), settings, processors)


def _start_worker() -> None:
    torch.set_num_threads(1)
