"""What is outside the Decider when a batch is decided: link and server, as they are known then, or afterwards."""

from __future__ import annotations

from dataclasses import dataclass, replace

from splitd.transport.estimate import LinkEstimate, LinkEstimator, PathModel, Quantiles


@dataclass(frozen=True)
class ReportedQueue:
    """What the server last said: how long a request would wait, and how old that word is; seconds."""

    queue_s: float
    age_s: float


@dataclass(frozen=True)
class Surroundings:
    """What is outside the Decider at one moment.

    `rate_bytes_per_s`: the uplink by its last readings alone; None while unknown. `queue`: None without a session.
    """

    now_s: float
    link: LinkEstimate
    rate_bytes_per_s: float | None = None
    queue: ReportedQueue | None = None


def see(estimator: LinkEstimator, now_s: float, queue: ReportedQueue | None) -> Surroundings:
    """Return the surroundings at `now_s`; the one estimate of the link that a batch is decided with."""
    return Surroundings(now_s, estimator.estimate(now_s), estimator.uplink_rate(now_s), queue)


def in_hindsight(around: Surroundings, rate_bytes_per_s: float | None) -> LinkEstimate:
    """Return the link that a batch was decided with, at the rate that is known after it."""
    # The ratio of two readings of the same filter: the rate of the path itself may come from a fit through transfers,
    # which the newest reading does not move at once.
    before, path = around.rate_bytes_per_s, around.link.up_path
    if before is None or rate_bytes_per_s is None or path is None:
        return around.link
    rate = path.rate.scaled(rate_bytes_per_s / before)
    return replace(around.link, up=rate, up_path=replace(path, rate=rate))


def with_rate(link: LinkEstimate, rate_bytes_per_s: float) -> LinkEstimate:
    """Return the estimate as if the uplink had this rate, and were up."""
    path = replace(link.up_path or PathModel(Quantiles.exactly(1.0)), rate=Quantiles.exactly(rate_bytes_per_s))
    return replace(
        link,
        state="up",
        up=path.rate,
        up_path=path,
        rtt_s=link.rtt_s or Quantiles.exactly(0.0),
    )
