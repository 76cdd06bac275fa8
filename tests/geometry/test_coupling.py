from __future__ import annotations

import copy
import sys
from itertools import permutations, product
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from landscape.errors import InputError
from landscape.geometry import CouplingGraph
from landscape.geometry.permuting import composed, permuted_state, random_permutations
from tests.geometry.networks import NETWORKS, built, output, state_of

sys.path.append(str(Path(__file__).parents[2] / "tools" / "benchmarks"))


def change(before, after):
    return float((before - after).abs().max() / before.abs().max())


@pytest.mark.parametrize("name", NETWORKS)
def test_permutations_keep_the_function(name):
    module, data = built(name)
    graph, state = CouplingGraph.of(module, data[:2]), state_of(module)
    differ = False
    for seed in range(3):
        chosen = random_permutations(graph, seed)
        moved = permuted_state(state, graph, chosen)
        assert change(output(module, state, data), output(module, moved, data)) < 1e-12
        # Twice is once with the composed permutations.
        more = random_permutations(graph, seed + 10)
        twice = permuted_state(moved, graph, more)
        once = permuted_state(state, graph, composed(graph, chosen, more))
        assert all(torch.equal(twice[key], once[key]) for key in state)
        differ |= any(not torch.equal(moved[key], state[key]) for key in state)
    assert differ


@pytest.mark.parametrize("name", NETWORKS)
def test_every_space_counts_and_moves_all_its_members(name):
    """A space alone keeps the function; leaving one of its members out does not."""
    module, data = built(name)
    graph, state = CouplingGraph.of(module, data[:2]), state_of(module)
    for space, units in graph.spaces.items():
        rolled = np.roll(np.arange(units.width), 1)
        order = {space: np.tile(rolled, (units.blocks, 1)) if units.within else rolled}
        moved = permuted_state(state, graph, order)
        assert change(output(module, state, data), output(module, moved, data)) < 1e-12
        for member in graph.members()[space]:
            assert not torch.equal(moved[member], state[member])
            broken = {**moved, member: state[member]}
            if len(graph.members()[space]) > 1:
                assert change(output(module, state, data), output(module, broken, data)) > 1e-9, (space, member)


def test_nothing_else_may_be_permuted_in_a_small_network():
    """Of all orders of rows and of the next layer's columns those keep the function that the graph names."""
    module = nn.Sequential(nn.Linear(2, 3), nn.Tanh(), nn.Linear(3, 3), nn.Tanh(), nn.Linear(3, 2)).double()
    data = torch.randn(7, 2, dtype=torch.float64)
    state, keep = state_of(module), []
    for rows, columns in product(permutations(range(3)), repeat=2):
        first, second = list(rows), list(columns)
        moved = {**state, "0.weight": state["0.weight"][first], "0.bias": state["0.bias"][first]}
        moved["2.weight"] = state["2.weight"][:, second]
        if change(output(module, state, data), output(module, moved, data)) < 1e-9:
            keep.append((first, second))
    assert all(first == second for first, second in keep) and len(keep) == 6
    graph = CouplingGraph.of(module, data)
    assert {name: units.width for name, units in graph.spaces.items()} == {"0.weight[0]": 3, "2.weight[0]": 3}


def test_structures_that_are_known():
    from reference_nets import Transformer, resnet20

    graph = CouplingGraph.of(resnet20(), torch.zeros(2, 3, 32, 32))
    # One stream of 16 channels to which 16, then 32 are added; nine channels inside of blocks.
    assert sorted(units.width for units in graph.spaces.values()) == [16] * 5 + [32] * 4 + [64] * 3
    stream = graph.members()["0.weight[0]"]
    assert {"1.running_mean", "1.running_var", "3.second_norm.bias", "11.second.weight", "14.weight"} <= set(stream)
    assert "3.first_norm.weight" not in stream

    graph = CouplingGraph.of(Transformer(), torch.zeros(2, 64, dtype=torch.int64))
    widths = sorted((units.width, units.blocks) for units in graph.spaces.values())
    # The stream; in each block heads, what query and key share in each, what value and output share, the perceptron.
    assert widths == [(4, 1)] * 4 + [(32, 4)] * 8 + [(128, 1)] + [(512, 1)] * 4
    inside = graph.inside("blocks.0.mix.weight[0]")
    assert len(inside) == 2 and [("blocks.0.output.weight", 1) in graph.spaces[name].members for name in inside] == [
        False,
        True,
    ]


def test_inputs_outputs_and_vocabularies_stay():
    module, data = built("transformer")
    graph = CouplingGraph.of(module, data[:2])
    assert "output.weight" not in graph.shapes  # tied to the embedding
    assert ("embedding.weight", 0) not in graph.axes and ("position.weight", 0) not in graph.axes
    module, data = built("mlp")
    graph = CouplingGraph.of(module, data[:2])
    assert {("1.weight", 1), ("5.weight", 0), ("5.bias", 0)}.isdisjoint(graph.axes)


def test_positions_that_a_short_batch_does_not_reach_stay():
    module, data = built("transformer")
    graph = CouplingGraph.of(module, data[:2, :3])
    assert ("position.weight", 0) not in graph.axes


def test_flattened_pixels_move_with_their_channel():
    module, data = built("dense")
    segments = CouplingGraph.of(module, data[:2]).axes["head.weight", 1]
    assert [(one.offset, one.sizes, one.loops[0].stride) for one in segments] == [(0, (5, 16), 16), (80, (4, 16), 16)]


def test_frozen_parameters_stay_and_hold_what_meets_them():
    module, data = built("mlp")
    graph = CouplingGraph.of(module, data[:2], frozen=["3.weight"])
    assert graph.spaces == {}
    assert list(CouplingGraph.of(module, data[:2], frozen=["5.bias"]).spaces) == ["1.weight[0]", "3.weight[0]"]


def test_a_loss_that_calls_the_model():
    module, data = built("mlp")
    graph = CouplingGraph.of(module, data[:2], call=lambda model, batch: model(batch).square().mean())
    # The mean does not see the order of the outputs; they stay all the same.
    assert list(graph.spaces) == ["1.weight[0]", "3.weight[0]"]


def test_the_model_stays_as_it_was():
    module, data = built("cnn")
    module.train()
    before, hooks = copy.deepcopy(module.state_dict()), [len(one._forward_hooks) for one in module.modules()]
    random = torch.get_rng_state()
    CouplingGraph.of(module, data[:2])
    assert module.training and torch.equal(random, torch.get_rng_state())
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())
    assert hooks == [len(one._forward_hooks) for one in module.modules()]


class Strange(nn.Module):
    def forward(self, x):
        return torch.fft.rfft(x).real


class Branching(nn.Module):
    def forward(self, x):
        return x if x.sum() > 0 else -x


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        (Strange(), r"1\.0 \(Strange\) uses the operation aten::_fft_r2c.*align=False"),
        (Branching(), r"cannot be traced in 1\.0 \(Branching\).*align=False"),
    ],
)
def test_what_is_not_understood_is_named(layer, message):
    module = nn.Sequential(nn.Linear(4, 6), nn.Sequential(layer), nn.LazyLinear(2))
    module(torch.zeros(2, 4))
    with pytest.raises(InputError, match=message):
        CouplingGraph.of(module, torch.zeros(2, 4))


def test_what_is_not_understood_may_be_done_to_inputs():
    module = nn.Sequential(Strange(), nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, 2))
    assert list(CouplingGraph.of(module, torch.zeros(2, 4)).spaces) == ["1.weight[0]"]
