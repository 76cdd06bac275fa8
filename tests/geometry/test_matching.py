from __future__ import annotations

from itertools import permutations, product

import numpy as np
import pytest
import torch
from torch import nn

from landscape.geometry import CouplingGraph
from landscape.geometry.matching import assigned, best_order, matched_weights
from landscape.geometry.permuting import permuted_state, random_permutations
from tests.geometry.networks import NETWORKS, built, state_of


def similarity(first, second):
    return sum(float((first[name] * second[name]).sum()) for name in first)


def parameters(module):
    return {name: value.detach().clone() for name, value in module.named_parameters()}


def every_order(graph):
    """All permutations of all spaces of a small network."""
    choices = []
    for name, units in graph.spaces.items():
        orders = [np.array(order) for order in permutations(range(units.width))]
        if units.within:
            orders = [np.stack(rows) for rows in product(orders, repeat=units.blocks)]
        choices.append([(name, order) for order in orders])
    for chosen in product(*choices):
        yield dict(chosen)


def networks(build, seed):
    """Two networks with nothing in common but their structure, and the graph of both."""
    first, second = (build() for _ in range(2))
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(seed)
        for parameter in [*first.parameters(), *second.parameters()]:
            parameter.copy_(torch.randn_like(parameter))
    return first, second


def attention():
    return nn.Sequential(nn.TransformerEncoderLayer(4, 2, 2, batch_first=True), nn.Linear(4, 1)).double().eval()


@pytest.mark.parametrize("seed", range(5))
def test_one_hidden_layer_is_matched_exactly(seed):
    build = lambda: nn.Sequential(nn.Linear(2, 5), nn.Tanh(), nn.Linear(5, 2)).double()  # noqa: E731
    first, second = map(parameters, networks(build, seed))
    graph = CouplingGraph.of(build(), torch.zeros(2, 2, dtype=torch.float64))
    best = max(similarity(first, permuted_state(second, graph, order)) for order in every_order(graph))
    found = matched_weights(graph, first, second, restarts=1, seed=seed)
    aligned = permuted_state(second, graph, found.permutations)
    assert similarity(first, aligned) == pytest.approx(best, rel=1e-13)
    assert found.before == pytest.approx(
        sum(float((first[name] * second[name]).sum()) for name in first if name != "2.bias"), rel=1e-12
    )


@pytest.mark.parametrize("seed", range(4))
def test_two_hidden_layers_reach_the_best_of_all_orders(seed):
    build = lambda: nn.Sequential(nn.Linear(2, 4), nn.Tanh(), nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 1)).double()  # noqa: E731
    first, second = map(parameters, networks(build, seed))
    graph = CouplingGraph.of(build(), torch.zeros(2, 2, dtype=torch.float64))
    best = max(similarity(first, permuted_state(second, graph, order)) for order in every_order(graph))
    found = matched_weights(graph, first, second, restarts=12, seed=seed)
    assert similarity(first, permuted_state(second, graph, found.permutations)) == pytest.approx(best, rel=1e-13)


@pytest.mark.parametrize("seed", range(3))
def test_heads_and_what_is_inside_of_them_reach_the_best_of_all_orders(seed):
    first, second = networks(attention, seed)
    # The stream stays: 2 heads, each with 2 features for queries and keys and 2 for values; 2 units.
    frozen = ["1.weight"]
    graph = CouplingGraph.of(attention(), torch.zeros(2, 3, 4, dtype=torch.float64), frozen=frozen)
    orders = list(every_order(graph))
    assert len(orders) == 2 * 4 * 4 * 2
    first, second = parameters(first), parameters(second)
    best = max(similarity(first, permuted_state(second, graph, order)) for order in orders)
    found = matched_weights(graph, first, second, restarts=1, seed=seed)
    assert similarity(first, permuted_state(second, graph, found.permutations)) == pytest.approx(best, rel=1e-13)


@pytest.mark.parametrize("name", NETWORKS)
def test_a_permuted_network_is_found_again(name):
    module, data = built(name)
    graph, state = CouplingGraph.of(module, data[:2]), state_of(module)
    weights = parameters(module)
    for seed in range(3):
        moved = permuted_state(state, graph, random_permutations(graph, seed))
        found = matched_weights(graph, weights, moved, restarts=1, seed=seed)
        back = permuted_state(moved, graph, found.permutations)
        assert all(torch.equal(back[key], value) for key, value in state.items())
        assert found.value >= found.before


@pytest.mark.parametrize("seed", range(3))
def test_every_step_goes_up_and_restarts_never_lose(seed):
    module, data = built("transformer", seed)
    other, _ = built("transformer", seed + 10)
    graph = CouplingGraph.of(module, data[:2])
    first, second = parameters(module), parameters(other)
    told = []
    one = matched_weights(graph, first, second, restarts=1, seed=seed)
    four = matched_weights(graph, first, second, restarts=4, seed=seed, progress=lambda *what: told.append(what[:2]))
    assert one.before <= one.value <= four.value
    assert told == [(1, 4), (2, 4), (3, 4), (4, 4)]
    again = matched_weights(graph, first, second, restarts=4, seed=seed)
    assert all(np.array_equal(order, again.permutations[key]) for key, order in four.permutations.items())


@pytest.mark.parametrize("seed", range(3))
def test_a_space_on_both_sides_of_a_matrix_never_makes_it_worse(seed):
    class Returning(nn.Module):
        """The same matrix again and again: its rows are its columns."""

        def __init__(self):
            super().__init__()
            self.first, self.again, self.last = nn.Linear(2, 4), nn.Linear(4, 4), nn.Linear(4, 1)

        def forward(self, x):
            x = torch.tanh(self.first(x))
            for _ in range(3):
                x = torch.tanh(self.again(x))
            return self.last(x)

    first, second = networks(lambda: Returning().double(), seed)
    graph = CouplingGraph.of(first, torch.zeros(2, 2, dtype=torch.float64))
    assert [units.width for units in graph.spaces.values()] == [4]
    first, second = parameters(first), parameters(second)
    best = max(similarity(first, permuted_state(second, graph, order)) for order in every_order(graph))
    found = matched_weights(graph, first, second, restarts=12, seed=seed)
    assert similarity(first, second) <= found.value + similarity({"last.bias": first["last.bias"]}, second)
    assert similarity(first, permuted_state(second, graph, found.permutations)) <= best + 1e-12
    moved = permuted_state(first, graph, random_permutations(graph, seed))
    found = matched_weights(graph, first, moved, restarts=12, seed=seed)
    assert all(
        torch.equal(value, first[key]) for key, value in permuted_state(moved, graph, found.permutations).items()
    )


@pytest.mark.parametrize("seed", range(3))
def test_blocks_are_matched_with_the_best_order_inside(seed):
    generator = np.random.default_rng(seed)
    alone, inside, other = generator.standard_normal((3, 3)), *generator.standard_normal((2, 3, 3, 2, 2))

    def value(order, first, second):
        total = 0.0
        for unit, from_ in enumerate(order):
            total += alone[unit, from_]
            for table, rows in ((inside, first), (other, second)):
                total += sum(table[unit, from_, place, rows[unit][place]] for place in range(2))
        return total

    pairs = [(0, 1), (1, 0)]
    best = max(
        value(order, first, second)
        for order in permutations(range(3))
        for first in product(pairs, repeat=3)
        for second in product(pairs, repeat=3)
    )
    found = best_order("h", alone, {"a": inside, "b": other})
    assert value(found["h"], found["a"], found["b"]) == pytest.approx(best)


def test_assignment_against_all_orders():
    for seed in range(5):
        matrix = np.random.default_rng(seed).standard_normal((5, 5))
        best = max(matrix[np.arange(5), list(order)].sum() for order in permutations(range(5)))
        assert matrix[np.arange(5), assigned(matrix)].sum() == pytest.approx(best)
