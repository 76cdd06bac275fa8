from __future__ import annotations

import copy
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

import landscape as ls
from landscape.errors import ComputeError, InputError
from landscape.geometry import CouplingGraph, alignment
from landscape.geometry.permuting import permuted_state, random_permutations
from landscape.records import Checkpoint
from landscape.zoo import models
from tests.geometry import alignment_job
from tests.geometry.networks import built
from tests.mpi_jobs import run_ranks

JOB = str(Path(alignment_job.__file__))
METHODS = ["weights", "activations"]


def objective_of(name, seed=0, samples=24, **options):
    """An objective on data by chance; float64, so that what differs is no rounding."""
    module, _ = built(name, seed)
    generator = torch.Generator().manual_seed(seed)
    if name == "transformer":
        tokens = torch.randint(0, 11, (samples, 7), generator=generator)
        data = tokens[:, :-1].contiguous(), tokens[:, 1:].contiguous()
        loss = lambda output, target: functional.cross_entropy(output.flatten(0, 1), target.flatten())  # noqa: E731
    else:
        _, example = built(name)
        inputs = torch.randn(samples, *example.shape[1:], generator=generator, dtype=torch.float64)
        with torch.no_grad():
            classes = module(inputs[:1]).shape[1]
        data = inputs, torch.randint(0, classes, (samples,), generator=generator)
        loss = nn.CrossEntropyLoss()
    return ls.Objective(module, loss, data, **options)


def shuffled(objective, seed):
    """The same network with its units in an order by chance, as a checkpoint."""
    graph = CouplingGraph.of(objective.model(), alignment._inputs(objective, objective._batches[0]))
    state = permuted_state({**objective.variables(), **objective.buffers}, graph, random_permutations(graph, seed))
    theta = torch.cat([state[name].reshape(-1) for name in objective.names])
    return Checkpoint(
        theta.numpy(),
        {name: state[name].numpy() for name in objective.buffers},
        objective.names,
        tuple(map(tuple, objective.shapes)),
        step=7,
    )


def barrier(objective, a, b):
    """Of the loss on the straight way, with statistics between those of the ends."""
    losses = []
    for s in np.linspace(0, 1, 5):
        buffers = {
            name: (1 - s) * np.asarray(a.buffers[name]) + s * np.asarray(b.buffers[name])
            for name in a.buffers
            if np.asarray(a.buffers[name]).dtype.kind == "f"
        }
        theta = (1 - s) * np.asarray(a.theta) + s * np.asarray(b.theta)
        losses.append(objective.at(theta, {name: torch.as_tensor(value) for name, value in buffers.items()}).loss())
    return max(losses) - min(losses)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    "name",
    [
        "mlp",
        "cnn",
        "residual",
        "transformer",
        *(pytest.param(one, marks=pytest.mark.slow) for one in ("resnet", "encoder")),
    ],
)
def test_a_network_and_its_permutation_have_no_barrier(name, method):
    objective = objective_of(name)
    for seed in range(3):
        other = shuffled(objective, seed)
        assert barrier(objective, objective, other) > 1e-3
        aligned = ls.align(objective, objective, other, method=method, seed=seed)
        assert barrier(objective, objective, aligned) < 1e-9
        assert aligned.deviation < 1e-12
        assert aligned.distance_before > 1 and aligned.value_after > aligned.value_before
        assert aligned.step == 7 and aligned.method == method
        if method == "weights":
            assert aligned.distance_after == 0
            for key, value in aligned.buffers.items():
                assert np.array_equal(value, objective.buffers[key].numpy())


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("seed", range(3))
def test_another_network_comes_nearer_and_keeps_its_function(method, seed):
    objective, other = (objective_of("cnn", number) for number in (seed, seed + 10))
    aligned = ls.align(objective, objective, other, method=method, seed=seed)
    there = objective.at(aligned)
    assert there.loss() == pytest.approx(objective.at(other).loss(), rel=1e-12)
    assert aligned.value_after > aligned.value_before
    assert aligned.distance_after == pytest.approx(
        float(np.linalg.norm(aligned.theta - objective.theta.numpy())), rel=1e-12
    )
    if method == "weights":
        assert aligned.distance_after < aligned.distance_before
        assert aligned.value_after == pytest.approx(float(aligned.theta @ objective.theta.numpy()), rel=1e-12)


def test_activations_find_what_says_the_same_whatever_its_weights():
    """Units that are scaled and moved in their input say the same as before; by weights they are strangers."""
    objective = objective_of("mlp")
    state = {name: value.clone() for name, value in objective.variables().items()}
    factors = torch.linspace(0.2, 5, 7, dtype=torch.float64)
    order = torch.randperm(7, generator=torch.Generator().manual_seed(0))
    # Through tanh only nearly the same: small inputs, so that it is nearly linear.
    state["3.weight"], state["3.bias"] = (0.01 * state[key] for key in ("3.weight", "3.bias"))
    first = objective.at(torch.cat([state[name].reshape(-1) for name in objective.names]))
    scaled = dict(state)
    scaled["3.weight"], scaled["3.bias"] = (
        (factors[:, None] * state["3.weight"])[order],
        (factors * state["3.bias"])[order],
    )
    scaled["5.weight"] = (state["5.weight"] / factors)[:, order]
    second = objective.at(torch.cat([scaled[name].reshape(-1) for name in objective.names]))
    aligned = ls.align(objective, first, second, method="activations")
    assert order[aligned.permutations["3.weight[0]"]].tolist() == list(range(7))


def test_everything_else_stays_as_it_was():
    objective = objective_of("cnn")
    other = shuffled(objective, 1)
    theta, copied = objective.theta.clone(), copy.deepcopy(other)
    random = torch.get_rng_state()
    for method in METHODS:
        ls.align(objective, objective, other, method=method)
    assert torch.equal(theta, objective.theta) and np.array_equal(copied.theta, other.theta)
    assert all(np.array_equal(value, copied.buffers[name]) for name, value in other.buffers.items())
    assert torch.equal(random, torch.get_rng_state())


def test_points_of_every_kind():
    objective = objective_of("mlp")
    other = shuffled(objective, 0)
    expected = ls.align(objective, objective, other)
    for a, b in (
        (objective.theta.numpy(), other.theta),
        (objective.theta, torch.from_numpy(other.theta)),
        (objective, objective.at(other)),
    ):
        assert np.array_equal(ls.align(objective, a, b).theta, expected.theta)
    # A checkpoint that lists its parameters in another order, with the state of an optimizer.
    parts = np.split(other.theta, np.cumsum([int(np.prod(shape)) for shape in other.shapes])[:-1])
    backwards = Checkpoint(
        np.concatenate(parts[::-1]), {}, other.names[::-1], other.shapes[::-1], momentum=np.concatenate(parts[::-1])
    )
    aligned = ls.align(objective, objective, backwards)
    assert np.array_equal(aligned.theta, expected.theta) and aligned.names == objective.names
    assert np.array_equal(aligned.momentum, expected.theta)


@pytest.mark.parametrize("method", METHODS)
def test_a_loss_that_calls_the_model(method):
    plain = objective_of("mlp")
    batches = [plain._batches[index] for index in range(plain.batches)]
    opaque = ls.Objective(
        built("mlp")[0], lambda model, batch: functional.cross_entropy(model(batch[0]), batch[1]), batches
    )
    other = shuffled(plain, 2)
    expected = ls.align(plain, plain, other, method=method)
    assert np.array_equal(ls.align(opaque, opaque, other, method=method).theta, expected.theta)


def test_float32_and_half_of_the_samples():
    module = models.convolutional()
    objective = ls.Objective(
        module, nn.CrossEntropyLoss(), (torch.randn(60, 1, 8, 8), torch.randint(0, 10, (60,))), micro_batch=25
    )
    other = shuffled(objective, 0)
    for method in METHODS:
        aligned = ls.align(objective, objective, other, method=method, samples=30)
        assert aligned.theta.dtype == np.float32 and np.array_equal(aligned.theta, objective.theta.numpy())
        assert aligned.deviation < 1e-12  # compared in float64 all the same


def test_frozen_parameters_are_not_permuted():
    module, _ = built("mlp")
    module[3].requires_grad_(False)
    objective = ls.Objective(
        module, nn.CrossEntropyLoss(), (torch.randn(9, 6, dtype=torch.float64), torch.randint(0, 3, (9,)))
    )
    aligned = ls.align(objective, objective, objective.theta.flip(0))
    assert aligned.permutations == {} and np.array_equal(aligned.theta, objective.theta.flip(0).numpy())


def test_what_is_inside_of_heads_is_told_by_head():
    objective = objective_of("transformer")
    aligned = ls.align(objective, objective, shuffled(objective, 0))
    shapes = {name: order.shape for name, order in aligned.permutations.items()}
    assert shapes["attention.query_key_value.weight[0]"] == (2,)
    assert shapes["attention.query_key_value.weight[0] inside"] == (2, 12)


def test_progress_is_told():
    objective = objective_of("mlp")
    told = []
    ls.align(objective, objective, shuffled(objective, 0), restarts=2, progress=lambda *what: told.append(what))
    assert [what[:2] for what in told] == [(1, 2), (2, 2)]
    told.clear()
    ls.align(
        objective, objective, shuffled(objective, 0), method="activations", progress=lambda *what: told.append(what)
    )
    assert told[-1][:2] == (objective.batches, objective.batches)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"method": "hungarian"}, r"method must be one of weights, activations, not 'hungarian'"),
        ({"restarts": 0}, "restarts must be at least 1, not 0"),
        ({"seed": 1.5}, "seed must be a whole number, not 1.5"),
        ({"samples": 99}, "samples must lie between 1 and the 24 samples"),
        ({"b": "run.h5"}, "b must be a checkpoint.*not a str"),
        ({"b": np.full(157, np.nan)}, "b holds NaN or inf at 157 of 157 places"),
        ({"b": np.zeros(3)}, "the objective has n = 157 parameters, but b has 3"),
        (
            {"a": Checkpoint(np.zeros(4), {}, ("0.weight",), ((2, 2),))},
            r"different models: a has no parameter '1.weight' \(9, 6\)",
        ),
        ({"a": Checkpoint(np.zeros(157), {"mean": np.zeros(2)})}, "a has a buffer 'mean', but the model has none"),
    ],
)
def test_wrong_input(arguments, message):
    objective = objective_of("mlp")
    given = {"a": objective, "b": objective, "method": "activations" if "samples" in arguments else "weights"}
    given |= arguments
    with pytest.raises(InputError, match=message):
        ls.align(objective, given.pop("a"), given.pop("b"), **given)


def test_no_objective():
    with pytest.raises(InputError, match=r"align needs a landscape\.Objective, not Linear"):
        ls.align(nn.Linear(2, 2), np.zeros(6), np.zeros(6))


def test_a_buffer_of_another_shape():
    objective = objective_of("cnn")
    broken = Checkpoint(objective.theta.numpy(), {"1.running_mean": np.zeros(3)})
    with pytest.raises(InputError, match=r"'1.running_mean' has shape \(3,\) in b, but \(8,\) in the model"):
        ls.align(objective, objective, broken)


def test_a_network_that_is_not_understood():
    class Strange(nn.Module):
        def forward(self, x):
            return torch.linalg.matrix_exp(x[:, :, None] * x[:, None, :]).sum(1)

    module = nn.Sequential(nn.Linear(3, 4), Strange(), nn.Linear(4, 2))
    objective = ls.Objective(module, nn.CrossEntropyLoss(), (torch.randn(8, 3), torch.randint(0, 2, (8,))))
    with pytest.raises(InputError, match=r"1 \(Strange\) uses the operation aten::linalg_matrix_exp.*align=False"):
        ls.align(objective, objective, objective.theta.flip(0))


def test_a_wrong_graph_is_noticed(monkeypatch):
    objective = objective_of("mlp")
    right = CouplingGraph.of_network

    def wrong(*arguments, **options):
        graph = right(*arguments, **options)
        axes = {place: segments for place, segments in graph.axes.items() if place != ("3.bias", 0)}
        return CouplingGraph(graph.spaces, axes, graph.shapes, graph.traced, graph.taps)

    monkeypatch.setattr(alignment.CouplingGraph, "of_network", wrong)
    with pytest.raises(ComputeError, match=r"computes something else: its outputs change by 0\.\d+ of the largest one"):
        ls.align(objective, objective, shuffled(objective, 0))


@pytest.mark.mpi
@pytest.mark.parametrize("ranks", [2, *(pytest.param(more, marks=pytest.mark.slow) for more in (3, 4))])
def test_any_number_of_ranks_gives_the_same_bits(ranks):
    found = json.loads(run_ranks(ranks, [JOB], timeout=120).check().stdout)
    assert found == alignment_job.facts() and len(found["digests"]) == 1
    assert found["refused"] == 1
