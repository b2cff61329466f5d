"""A network is proved before it serves: the first dimension is the batch, and the export says what the network says."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from splitd.calibration.model.failures import MOST_CHARACTERS, cause
from splitd.calibration.model.graph import Graph, export_graph, find_cuts
from splitd.calibration.model.inputs import InputPart, declared_inputs, packed_module, packed_shape
from splitd.calibration.model.proof import BUDGET_S, prove_batch
from splitd.errors import ModelError
from tests.support.kinds import SIDE, Convolutions, MixedSamples, TwoInputs

CPU = torch.device("cpu")
SHAPE = (3, SIDE, SIDE)


class Counting:
    """A network that remembers its batches."""

    def __init__(self, module: nn.Module) -> None:
        self._module = module
        self.batches: list[int] = []

    def __call__(self, x: torch.Tensor) -> object:
        self.batches.append(len(x))
        return self._module(x)


@pytest.fixture(scope="module")
def module() -> nn.Module:
    torch.manual_seed(1)
    return Convolutions(3).eval().requires_grad_(False)


@pytest.fixture(scope="module")
def graph(module: nn.Module) -> Graph:
    return export_graph(module, SHAPE)


def test_batches_of_one_two_and_three_are_compared(module: nn.Module, graph: Graph) -> None:
    counting = Counting(module)
    prove_batch(counting, graph, CPU)
    assert set(counting.batches) == {1, 2, 3}


def test_a_slow_network_is_compared_less_often(module: nn.Module, graph: Graph) -> None:
    counting = Counting(module)
    times = iter([0.0, BUDGET_S / 2, BUDGET_S + 1, BUDGET_S + 2])
    prove_batch(counting, graph, CPU, clock=lambda: next(times))
    assert counting.batches == [1, 3]


def test_an_export_of_another_network_is_found_out(graph: Graph) -> None:
    torch.manual_seed(2)
    with pytest.raises(ModelError, match="does not say what the network itself says"):
        prove_batch(Convolutions(3).eval(), graph, CPU)


def test_samples_that_depend_on_each_other_are_found_out() -> None:
    mixed = MixedSamples(3).eval()
    with pytest.raises(ModelError, match="depends on the other samples"):
        prove_batch(mixed, export_graph(mixed, SHAPE), CPU)


def test_rows_that_are_not_the_batch_are_found_out(graph: Graph, module: nn.Module) -> None:
    with pytest.raises(ModelError, match=r"1 samples give \[\(2, 10\)\], not \[\(1, 10\)\]"):
        prove_batch(lambda x: module(x).repeat(2, 1), graph, CPU)


def test_a_network_that_fails_says_on_which_batch(graph: Graph) -> None:
    def fail(x: torch.Tensor) -> object:
        raise ValueError("no")

    with pytest.raises(ModelError, match="fails on a batch of 1: ValueError: no"):
        prove_batch(fail, graph, CPU)


def test_whole_numbers_are_cut_out_where_they_are_used_so_that_float32_crosses() -> None:
    inputs = declared_inputs(TwoInputs())
    assert inputs == (InputPart(SHAPE), InputPart((2,), torch.int64))
    assert packed_shape(inputs) == (3 * SIDE * SIDE + 2,)
    network = packed_module(TwoInputs().eval(), inputs)
    cuts = find_cuts(export_graph(network, packed_shape(inputs)), "block")
    assert [cut.name for cut in cuts][-1] == "image.blocks.2.1"
    assert cuts[-1].shapes[-1] == (16, 4, 4)


def test_the_module_itself_is_used_where_it_takes_one_float32_tensor(module: nn.Module) -> None:
    assert packed_module(module, (InputPart(SHAPE),)) is module


@pytest.mark.parametrize("examples", [(), ("text",), (torch.tensor(1.0),)])
def test_example_inputs_are_tensors_with_a_batch_dimension(examples: tuple[object, ...]) -> None:
    network = Convolutions(3)
    network.example_inputs = examples
    with pytest.raises(ModelError, match="example_inputs must be tensors"):
        declared_inputs(network)


def test_complex_inputs_are_refused() -> None:
    with pytest.raises(ModelError, match="complex64"):
        InputPart((3,), torch.complex64)


def test_the_cause_of_a_failure_is_one_short_line() -> None:
    pages = RuntimeError("\n\n" + "x" * 1000 + "\n%0 : Tensor = aten::relu(%1)\n" * 50)
    assert len(cause(pages)) == MOST_CHARACTERS + 1
    assert cause(KeyError()) == "KeyError"
    assert cause(RuntimeError("Constraints violated (batch)!")).startswith("it works for one batch size only")
