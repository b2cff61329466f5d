"""What the numbers say, in sentences: where splitting pays and where not, and why the gains are not the paper's."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from splitd.calibration.study import prose
from splitd.calibration.study.document import Study, means
from splitd.calibration.study.evaluate import ModelResult
from splitd.calibration.study.gains import CandidateSet, Gains, mean_gains
from splitd.calibration.study.grid import MEGABYTE
from splitd.calibration.study.prose import PAPER_GAIN, SET_TITLES, percent

RARELY = 0.05  # share of the states under which splitting is not worth having
HARDLY = 0.05  # gain under which a policy is as good as the dynamic one


def where_it_does_not_pay(study: Study, candidates: CandidateSet) -> list[str]:
    """Return one sentence per finding about a candidate set."""
    return [sentence for sentence in _set_findings(study, candidates) if sentence]


def against_the_paper(study: Study) -> list[str]:
    """Return our mean gains next to the paper's 20-30 %, and the reasons for the difference that the data show."""
    mean = means(study.results)
    low, high = (f"{100 * bound:.0f}" for bound in PAPER_GAIN)
    sentences = [
        f"{SET_TITLES[candidates]}: mean gain {percent(gains.gain_vs_none)} over no offloading, "
        f"{percent(gains.gain_vs_mean_static)} over a fixed split (mean of them), "
        f"{percent(gains.gain_vs_best_static)} over the best fixed split"
        + (f", {percent(gains.gain_vs_full)} over full offloading" if gains.gain_vs_full is not None else "")
        + f". The paper: {low} to {high} %."
        for candidates, gains in mean.items()
    ]
    sentences += [sentence for sentence in (_efficiency_finding(study), _model_finding(study.results)) if sentence]
    if CandidateSet.FULL_U8 in mean and CandidateSet.NO_FULL in mean:
        sentences.append(_width_finding(study, mean))
    return sentences


def _set_findings(study: Study, candidates: CandidateSet) -> list[str]:
    gains = {result.facts.model: result.sets[candidates].gains for result in study.results}
    rare = [model for model, one in gains.items() if one.split_share < RARELY]
    fixed = [model for model, one in gains.items() if (one.gain_vs_best_static or 0.0) < HARDLY]
    extremes = "both extremes" if candidates.allows_full else "no offloading"
    mean_share = percent(float(np.mean([one.split_share for one in gains.values()])))
    return [
        f"a split beats {extremes} in {mean_share} of the states on average.",
        f"splitting does not pay (it wins under {percent(RARELY, 0)} of the states) for {_listed(rare, len(gains))}."
        if rare
        else "",
        f"one well chosen split is nearly as good (choosing gains under {percent(HARDLY, 0)} over it) for "
        f"{_listed(fixed, len(gains))}."
        if fixed
        else "",
        _local_finding(study, candidates),
        _full_finding(study, candidates),
    ]


def _local_finding(study: Study, candidates: CandidateSet) -> str:
    """Up to which rate computing locally is the fastest for most batch sizes."""
    rates = study.settings.grid.rates_bytes_per_s / MEGABYTE
    limits = []
    for result in study.results:
        one = result.sets[candidates]
        local = (one.best(candidates) == len(one.names) - 1).mean(axis=0) > 0.5
        limits.append(float(rates[local].max()) if local.any() else 0.0)
    if not max(limits, default=0.0):
        return ""
    slowest = study.results[int(np.argmax(limits))].facts.model
    return (
        "on slow links no offloading is the fastest for most batch sizes: up to "
        f"{np.median(limits):.0f} MB/s for the median model, {max(limits):.0f} MB/s for {slowest}."
    )


def _full_finding(study: Study, candidates: CandidateSet) -> str:
    if not candidates.allows_full:
        return ""
    shares = [result.sets[candidates].winners(candidates)["input"] for result in study.results]
    return f"full offloading itself is the fastest in {percent(float(np.mean(shares)))} of the states on average."


def _efficiency_finding(study: Study) -> str:
    swept = [result.sweep for result in study.results if result.sweep]
    if not swept or CandidateSet.NO_FULL not in study.settings.candidates:
        return ""
    by_efficiency = {
        efficiency: mean_gains([one[efficiency][CandidateSet.NO_FULL] for one in swept]).gain_vs_none
        for efficiency in swept[0]
    }
    met = [efficiency for efficiency, gain in by_efficiency.items() if PAPER_GAIN[0] <= gain <= PAPER_GAIN[1]]
    first, last = min(by_efficiency), max(by_efficiency)
    text = (
        "the share of peak decides: without full offloading the mean gain over no offloading falls from "
        f"{percent(by_efficiency[first])} at {percent(first, 0)} of peak to {percent(by_efficiency[last])} at "
        f"{percent(last, 0)}"
    )
    if not met:
        return f"{text}; none of the shares tried gives the paper's figure."
    span = percent(met[0], 0) if len(met) == 1 else f"{percent(min(met), 0)} to {percent(max(met), 0)}"
    return f"{text}; it is within the paper's range at {span}."


def _model_finding(results: Sequence[ModelResult]) -> str:
    if len(results) < 2 or CandidateSet.NO_FULL not in results[0].sets:
        return ""
    gains = {result.facts.model: result.sets[CandidateSet.NO_FULL].gains.gain_vs_none for result in results}
    least, most = min(gains, key=gains.__getitem__), max(gains, key=gains.__getitem__)
    return (
        "the model decides: without full offloading the gain over no offloading is "
        f"{percent(gains[least])} for {least} and {percent(gains[most])} for {most}; the more a model computes per "
        "input byte, the more there is to gain."
    )


def _width_finding(study: Study, mean: dict[CandidateSet, Gains]) -> str:
    private, u8 = mean[CandidateSet.NO_FULL], mean[CandidateSet.FULL_U8]
    return (
        f"full offloading at one byte per value leaves a split {percent(u8.split_share)} of the states instead of "
        f"{percent(private.split_share)}: {prose.WIDTH[study.settings.cost]}"
    )


def _listed(names: Sequence[str], total: int) -> str:
    return f"all {total} models" if len(names) == total > 1 else ", ".join(names)
