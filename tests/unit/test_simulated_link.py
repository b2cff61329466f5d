"""The simulated link does what its description says, to the byte."""

from __future__ import annotations

import pytest

from splitd.agent.simulation.link import LinkShape, RateClock, SimulatedLink
from splitd.agent.simulation.traces import Trace, steps

PLAIN = LinkShape(delay_s=0.01, slow_start=False)
STAIRS = steps("stairs", (1.0, 1e6), (1.0, 0.0), (2.0, 5e5))


def moved(trace: Trace, start_s: float, end_s: float, step_s: float = 1e-4) -> float:
    """Integrate a trace the slow way."""
    count = round((end_s - start_s) / step_s)
    return sum(trace.rate_at(start_s + (i + 0.5) * step_s) for i in range(count)) * step_s


@pytest.mark.parametrize("start_s", [0.0, 0.3, 0.999, 1.0, 1.5, 2.0, 3.7, 4.0, 11.25])
@pytest.mark.parametrize("n_bytes", [1e3, 3e5, 7e5, 1e6, 2.5e6, 6e6])
def test_bytes_take_the_time_in_which_the_trace_moves_them(start_s: float, n_bytes: float) -> None:
    finish_s = RateClock(STAIRS, PLAIN).finish(start_s, n_bytes)
    assert finish_s > start_s
    assert moved(STAIRS, start_s, finish_s) == pytest.approx(n_bytes, rel=0.01, abs=200)
    assert moved(STAIRS, start_s, finish_s - 1e-3) < n_bytes


def test_delay_comes_on_top_and_a_busy_link_is_waited_for() -> None:
    link = SimulatedLink(steps("flat", (10.0, 1e6)), PLAIN)
    assert link.send(0.0, (50_000, 50_000)) == pytest.approx([0.06, 0.11])
    assert link.send(0.05, (100_000,)) == pytest.approx([0.21])
    assert link.arrivals(1.0, (100_000,)) == pytest.approx([1.11])


def test_an_outage_is_waited_out() -> None:
    link = SimulatedLink(STAIRS, PLAIN)
    assert link.send(0.95, (100_000,)) == pytest.approx([2.11])


def test_a_sender_waits_for_acknowledgements_until_its_window_fills_the_pipe() -> None:
    link = SimulatedLink(steps("flat", (10.0, 10e6)), LinkShape(delay_s=0.05))
    took = [link.send(start_s := max(0.0, link.last_s), (150_000,))[0] - start_s for _ in range(3)]
    # 14.6, 29.2 and 58.4 KB take a round trip of 100 ms each, the rest runs through; then 116.8 KB; then all at once.
    assert took == pytest.approx([0.05 + 0.3 + 0.00478, 0.05 + 0.1 + 0.00332, 0.05 + 0.015])


def test_silence_halves_the_window_with_every_timeout() -> None:
    link = SimulatedLink(steps("flat", (10.0, 10e6)), LinkShape(delay_s=0.05))
    for _ in range(3):
        link.send(max(0.0, link.last_s), (150_000,))

    def after(idle_s: float) -> float:
        return link.arrivals(link.last_s + idle_s, (150_000,))[0] - link.last_s - idle_s

    warm, once, twice, often = after(0.29), after(0.31), after(0.61), after(60.0)
    assert warm == pytest.approx(0.065)
    assert once == pytest.approx(0.05 + 0.1 + (150_000 - 116_800) / 10e6)
    assert twice == pytest.approx(0.05 + 0.1 + (150_000 - 58_400) / 10e6)
    assert often == pytest.approx(0.05 + 0.3 + 0.00478)


def test_a_slow_link_has_no_slow_start_to_speak_of() -> None:
    shape = LinkShape(delay_s=0.005)
    flat = steps("flat", (10.0, 1e5))
    cold = SimulatedLink(flat, shape).arrivals(0.0, (150_000,))[0]
    assert cold == pytest.approx(1.505)


def test_loss_is_a_drop_of_goodput() -> None:
    shape = LinkShape(delay_s=0.01, loss=0.01, slow_start=False)
    assert shape.goodput(1e5) == pytest.approx(0.99e5)
    # Mathis et al.: MSS / rtt · sqrt(3/2 / p).
    assert shape.goodput(1e9) == pytest.approx(1460 / 0.02 * (1.5 / 0.01) ** 0.5)
