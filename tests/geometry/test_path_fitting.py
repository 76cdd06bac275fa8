"""Curves that are trained: against a closed form, on trained networks, and without a trace in what the user has."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import landscape as ls
from landscape import zoo
from landscape.errors import ComputeError, InputError
from landscape.geometry import Path
from landscape.records import Checkpoint
from tests.cases import cases, mlp, points


def quadratic() -> tuple[ls.Objective, np.ndarray]:
    """A loss ½|theta - m|² but for a factor, and m."""
    target = torch.tensor([[1.0, -2.0, 3.0]], dtype=torch.float64)
    model = nn.Linear(1, 3, bias=False).double()
    return ls.Objective(model, nn.MSELoss(), (torch.ones(1, 1, dtype=torch.float64), target)), target[0].numpy()


def slowing_down(parameters: Any) -> torch.optim.Optimizer:
    """An optimizer with a schedule of its own."""
    optimizer = torch.optim.Adam(parameters, lr=0.05)
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, 1000)
    optimizer.register_step_post_hook(lambda *_: schedule.step())
    return optimizer


def highest(objective: ls.Objective, path: Path, points: int = 21) -> float:
    return max(objective.at(path.point(s), path.buffers(s) or None).loss() for s in np.linspace(0, 1, points))


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_control_point_of_a_quadratic_loss(seed):
    # ∫ w (theta(t) - m) dt = 0 with w = 2t(1-t), ∫w = 1/3, ∫w² = 2/15, ∫w(1-t)² = ∫wt² = 1/10.
    objective, lowest = quadratic()
    a, b = np.random.default_rng(seed).standard_normal((2, 3))
    path = ls.BezierPath.fit(objective, a, b, epochs=1000, batch=1, seed=seed, optimizer=slowing_down)
    best = 2.5 * lowest - 0.75 * (a + b)
    assert np.linalg.norm(path.controls[0] - best) < 0.05 * np.linalg.norm(best - (a + b) / 2)


def test_the_corner_of_a_quadratic_loss():
    # The same with the hat w: ∫w = 1/2, ∫w² = 1/3, and ∫w(1-w) = 1/12 over each half.
    objective, lowest = quadratic()
    a, b = np.random.default_rng(3).standard_normal((2, 3))
    path = ls.PolygonalPath.fit(objective, a, b, epochs=1000, batch=1, optimizer=slowing_down)
    best = 1.5 * lowest - 0.25 * (a + b)
    assert np.linalg.norm(path.controls[0] - best) < 0.05 * np.linalg.norm(best - (a + b) / 2)


@pytest.mark.parametrize("seeds", [(0, 1), *(pytest.param(pair, marks=pytest.mark.slow) for pair in ((2, 3), (4, 5)))])
def test_a_trained_path_avoids_the_barrier_between_two_networks(seeds):
    objectives = [zoo.build("digits-mlp", seed=seed, epochs=10) for seed in seeds]
    ends = max(one.loss() for one in objectives)
    straight = highest(objectives[0], ls.LinearPath(*objectives)) - ends
    for kind, options in ((ls.BezierPath, {"degree": 2}), (ls.BezierPath, {"degree": 3}), (ls.PolygonalPath, {})):
        path = kind.fit(objectives[0], *objectives, epochs=20, **options)
        assert highest(objectives[0], path) - ends < 0.25 * straight, (seeds, kind, straight)
        assert path.fit_loss[-50:].mean() < path.fit_loss[:50].mean()


def test_batch_norm_uses_the_statistics_of_the_mini_batch():
    case = cases()["convolution and batch norm"]
    objective = case.objective()
    other = objective.theta + torch.randn(objective.n, generator=torch.Generator().manual_seed(0)) * 0.3
    one = ls.BezierPath.fit(objective, objective, other, epochs=1, batch=23, seed=4)
    model = copy.deepcopy(case.model).eval().requires_grad_(False)
    model[1].train()
    line = ls.LinearPath(objective, other)
    images, targets = (torch.cat([batch[side] for batch in case.data]) for side in (0, 1))
    losses = []
    for s in np.linspace(0, 1, 201):  # the place is not told, but somewhere the loss is that of the mini-batch
        torch.nn.utils.vector_to_parameters(torch.from_numpy(line.point(s)), model.parameters())
        losses.append(float(case.loss(model(images), targets)))
    assert min(losses) <= one.fit_loss[0] <= max(losses)
    assert np.abs(np.array(losses) - one.fit_loss[0]).min() <= np.abs(np.diff(losses)).max() < 0.05
    kept = ls.BezierPath.fit(objective, objective, other, epochs=1, batch=23, seed=4, batchnorm="eval")
    assert kept.fit_loss[0] != one.fit_loss[0]
    there = [objective.at(line.point(s)).loss() for s in np.linspace(0, 1, 201)]
    assert np.abs(np.array(there) - kept.fit_loss[0]).min() <= np.abs(np.diff(there)).max() < 0.05
    assert one.provenance["configuration"]["batchnorm"] == "batch"
    assert ls.BezierPath.fit(*ends_of_mlp(), epochs=1).provenance["configuration"]["batchnorm"] == "none"


def ends_of_mlp() -> tuple[ls.Objective, Any, Any]:
    objective = cases()["mlp"].objective()
    return objective, objective, objective.theta + 1


def test_the_same_seed_gives_the_same_bits_and_leaves_no_trace():
    case = cases()["convolution and batch norm"]
    before = copy.deepcopy(case.model.state_dict())
    objective = case.objective()
    theta, buffers = objective.theta.clone(), copy.deepcopy(objective.buffers)
    b = theta + 0.5
    torch.manual_seed(123)
    expected = torch.rand(3)
    torch.manual_seed(123)
    threads = torch.get_num_threads()
    paths = [ls.BezierPath.fit(objective, objective, b, epochs=3, batch=6, seed=seed) for seed in (0, 0, 1)]
    assert torch.equal(torch.rand(3), expected) and torch.get_num_threads() == threads
    assert np.array_equal(paths[0].controls, paths[1].controls) and paths[0].digest() == paths[1].digest()
    assert np.array_equal(paths[0].fit_loss, paths[1].fit_loss)
    assert not np.array_equal(paths[0].controls, paths[2].controls)
    assert torch.equal(objective.theta, theta)
    assert all(torch.equal(objective.buffers[name], value) for name, value in buffers.items())
    assert all(torch.equal(case.model.state_dict()[name], value) for name, value in before.items())
    assert case.model.training == cases()["convolution and batch norm"].model.training
    assert all(value.grad is None for value in case.model.parameters())


def test_ends_keep_their_order_of_parameters():
    objective, a, b = ends_of_mlp()
    names, shapes = objective.names[::-1], [tuple(shape) for shape in objective.shapes][::-1]
    turned = [
        Checkpoint(
            np.concatenate([part.reshape(-1).numpy() for part in reversed(objective.variables(theta).values())]),
            {},
            names,
            tuple(shapes),
        )
        for theta in (objective.theta, b)
    ]
    for found, expected in (
        (ls.BezierPath.fit(objective, *turned, epochs=2), ls.BezierPath.fit(objective, a, b, epochs=2)),
        (
            ls.PolygonalPath.elastic_band(objective, *turned, images=2, steps=3, tol=1e-9),
            ls.PolygonalPath.elastic_band(objective, a, b, images=2, steps=3, tol=1e-9),
        ),
    ):
        assert found.layout.names == names and np.array_equal(found.ends[0].theta, turned[0].theta)
        there = found.aligned(expected.layout)
        assert there.controls == pytest.approx(expected.controls, abs=1e-12)
        assert there.digest() == expected.digest() or found.kind == "band"


def test_any_optimizer_and_a_report_of_every_step():
    objective, a, b = ends_of_mlp()
    seen: list[tuple[int, int, str]] = []
    path = ls.BezierPath.fit(objective, a, b, epochs=4, batch=10, progress=lambda *what: seen.append(what))
    assert len(path.fit_loss) == 4 * 3 == len(seen)  # 23 samples: 10, 10, 3
    assert seen[-1][:2] == (12, 12) and seen[0][2].startswith("loss ")
    assert path.source == "quadratic Bezier curve from A to B, trained for 12 steps"
    for make, words in (
        (lambda parameters: torch.optim.SGD(parameters, lr=0.1, momentum=0.9), "SGD, lr 0.1"),
        (lambda parameters: torch.optim.LBFGS(parameters, max_iter=3), "LBFGS, lr 1"),
        (torch.optim.AdamW, "AdamW, lr 0.001"),
    ):
        other = ls.PolygonalPath.fit(objective, a, b, bends=2, epochs=2, optimizer=make)
        assert other.provenance["configuration"]["optimizer"] == words
        assert other.controls.shape == (2, objective.n) and not np.array_equal(other.controls[0], other.controls[1])


def test_parameters_of_the_optimizer_have_the_shapes_of_the_network():
    objective, a, b = ends_of_mlp()
    shapes: list[tuple[int, ...]] = []

    def make(parameters: Any) -> torch.optim.Optimizer:
        parameters = list(parameters)
        shapes.extend(tuple(value.shape) for value in parameters)
        return torch.optim.SGD(parameters, lr=0.1)

    ls.BezierPath.fit(objective, a, b, degree=3, epochs=1, optimizer=make)
    assert shapes == 2 * [tuple(shape) for shape in objective.shapes]


def test_what_cannot_be_fitted():
    objective, a, b = ends_of_mlp()
    frozen = torch.optim.SGD(mlp().parameters(), lr=0.1)
    for options, message in (
        ({"epochs": 0}, "epochs must be at least 1"),
        ({"batch": 0}, "batch must be at least 1"),
        ({"seed": -1}, "seed must not be negative"),
        ({"degree": 1}, "degree must be at least 2"),
        ({"optimizer": frozen}, "made of the parameters that it is given"),
        ({"optimizer": lambda parameters: frozen}, "made of the parameters that it is given"),
        (
            {"optimizer": lambda parameters: None},
            r"function that makes a torch optimizer.*lambda parameters.*not NoneType",
        ),
        ({"batchnorm": "recompute"}, "batchnorm must be one of batch, eval.*interpolate"),
    ):
        with pytest.raises(InputError, match=message):
            ls.BezierPath.fit(objective, a, b, **options)
    with pytest.raises(InputError, match="bends must be at least 1"):
        ls.PolygonalPath.fit(objective, a, b, bends=0)
    with pytest.raises(InputError, match=r"fit needs the landscape.Objective.*not Sequential"):
        ls.BezierPath.fit(mlp(), a, b)
    with pytest.raises(InputError, match=r"the objective has n = \d+ parameters, but the path has 4"):
        ls.BezierPath.fit(objective, np.zeros(4), np.ones(4))
    bowl, _ = quadratic()
    with pytest.raises(ComputeError, match=r"NaN or infinite in step 1, at t = .*: take smaller steps"):
        ls.BezierPath.fit(
            bowl, bowl, np.ones(3), batch=1, optimizer=lambda parameters: torch.optim.SGD(parameters, lr=1e200)
        )
    single = ls.Objective(cases()["convolution and batch norm"].model, *one_sample())
    with pytest.raises(InputError, match="no mini-batch"):
        ls.BezierPath.fit(single, single, single.theta + 1)


def one_sample() -> tuple[Any, Any]:
    _, targets = points()
    images = torch.randn(1, 1, 6, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    return nn.CrossEntropyLoss(), [(images, targets[:1])]
