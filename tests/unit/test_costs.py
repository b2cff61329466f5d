"""From two latency profiles to the planner's candidates."""

from __future__ import annotations

from dataclasses import replace

import pytest

from splitd.agent.decide.candidates import candidate_costs
from splitd.agent.decide.decision import THE_SERVER, CandidateKey
from splitd.agent.simulation.replay import open_pair
from splitd.calibration.profile.latency import LatencyProfile
from splitd.errors import ProfileError

RESULT_BYTES = 4096


@pytest.fixture(scope="module")
def pair() -> tuple[LatencyProfile, LatencyProfile]:
    return open_pair(None).device, open_pair(None).server


def test_every_cut_and_codec_that_both_ends_measured_is_a_candidate(
    pair: tuple[LatencyProfile, LatencyProfile],
) -> None:
    device, server = pair
    costs = candidate_costs(device, server, 1, ("f32", "u8", "jpeg90"), result_bytes=RESULT_BYTES)
    cuts = len(device.cut_names) - 2
    assert sum(cost.kind == "split" for cost in costs) == 2 * cuts
    assert {cost.codec for cost in costs if cost.kind == "full"} == {"raw", "jpeg90"}
    assert [cost.kind for cost in costs].count("local") == 1
    cost = next(cost for cost in costs if cost.key == CandidateKey(THE_SERVER, 3, "u8"))
    assert cost.name == device.cut_names[3]
    assert (cost.head_s, cost.tail_s) == (device.head_s(3, 1), server.tail_s(3, 1))
    assert (cost.encode_s, cost.decode_s) == (device.encode_s(3, "u8", 1), server.decode_s(3, "u8", 1))
    assert cost.wire_bytes == device.wire_bytes(3, "u8", 1)
    assert cost.result_bytes == RESULT_BYTES


def test_images_cross_in_every_calibrated_way_and_activations_only_in_the_named_ones(
    pair: tuple[LatencyProfile, LatencyProfile],
) -> None:
    costs = candidate_costs(*pair, 1, ("f32",), result_bytes=RESULT_BYTES)
    assert {cost.codec for cost in costs if cost.kind == "full"} == {"raw", "jpeg90"}
    assert {cost.codec for cost in costs if cost.kind == "split"} == {"f32"}


def test_what_is_not_admissible_is_no_candidate(pair: tuple[LatencyProfile, LatencyProfile]) -> None:
    costs = candidate_costs(*pair, 1, ("f32", "u8"), lambda _, codec: codec != "u8", result_bytes=RESULT_BYTES)
    assert {cost.codec for cost in costs if cost.kind == "split"} == {"f32"}


def test_without_a_server_only_local_is_left(pair: tuple[LatencyProfile, LatencyProfile]) -> None:
    (only,) = candidate_costs(pair[0], None, 4, ("f32", "u8"), result_bytes=RESULT_BYTES)
    assert only.kind == "local"
    assert only.head_s == pair[0].head_s(len(pair[0].cut_names) - 1, 4)


def test_costs_grow_with_the_batch_also_between_the_calibrated_sizes(
    pair: tuple[LatencyProfile, LatencyProfile],
) -> None:
    tables = [
        {c.key: c for c in candidate_costs(*pair, batch, ("u8",), result_bytes=RESULT_BYTES)} for batch in (2, 3, 4)
    ]
    for key, cost in tables[1].items():
        assert tables[0][key].wire_bytes <= cost.wire_bytes <= tables[2][key].wire_bytes
        assert tables[0][key].head_s <= cost.head_s <= tables[2][key].head_s


def test_different_cuts_are_refused(pair: tuple[LatencyProfile, LatencyProfile]) -> None:
    device, server = pair
    names = (*server.cut_names[:-2], "elsewhere", server.cut_names[-1])
    with pytest.raises(ProfileError, match=r"planner\.cuts"):
        candidate_costs(
            device, replace(server, key=replace(server.key, cut_names=names)), 1, ("u8",), result_bytes=RESULT_BYTES
        )
