"""The preconditioned Hessian against dense matrices, and its metric against what optimizers of torch divide by."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import landscape as ls
from landscape.optim.metric import optimizer_metric
from tests.cases import cases, mlp, points

CASES = cases()
LOSS = nn.CrossEntropyLoss()

# Without momentum a step is -lr · gradient / P, so that the step itself shows P.
OPTIMIZERS: list[tuple[str, dict[str, Any]]] = [
    ("Adam", {"betas": (0.0, 0.9)}),
    ("Adam", {"betas": (0.0, 0.9), "amsgrad": True}),
    ("AdamW", {"betas": (0.0, 0.9), "weight_decay": 0.0}),
    ("RMSprop", {}),
    ("RMSprop", {"centered": True}),
    ("Adagrad", {}),
    ("SGD", {}),
]


def trained(name: str, options: dict[str, Any], steps: int = 4) -> tuple[nn.Module, torch.optim.Optimizer]:
    model = mlp()
    optimizer = getattr(torch.optim, name)(model.parameters(), lr=0.01, **options)
    for _ in range(steps):
        step(model, optimizer)
    return model, optimizer


def step(model: nn.Module, optimizer: torch.optim.Optimizer) -> torch.Tensor:
    optimizer.zero_grad()
    inputs, targets = points()
    LOSS(model(inputs), targets).backward()
    gradient = torch.cat([parameter.grad.reshape(-1).clone() for parameter in model.parameters()])
    optimizer.step()
    return gradient


def flat(model: nn.Module) -> torch.Tensor:
    return torch.cat([parameter.detach().reshape(-1) for parameter in model.parameters()])


@pytest.mark.parametrize(("name", "options"), OPTIMIZERS)
def test_the_metric_is_what_a_step_is_divided_by(name: str, options: dict[str, Any]) -> None:
    model, optimizer = trained(name, options)
    before = flat(model)
    gradient = step(model, optimizer)
    moved = flat(model) - before
    metric = optimizer_metric(optimizer, dict(model.named_parameters()))
    assert torch.allclose(moved, -0.01 * gradient / metric, rtol=1e-9, atol=0)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_it_is_the_dense_one(seed: int) -> None:
    case = CASES["mlp"]
    objective = case.objective()
    P = torch.rand(objective.n, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)) + 0.1
    operator = ls.Preconditioned(ls.Hessian(objective), P)
    expected = P[:, None] ** -0.5 * case.hessian() * P**-0.5
    assert (operator @ torch.eye(objective.n, dtype=torch.float64) - expected).abs().max() <= 1e-12
    # The eigenvalues are those of P⁻¹H, the matrix that the optimizer iterates.
    iterated = torch.linalg.eigvals(case.hessian() / P[:, None]).real.sort().values.numpy()
    assert np.allclose(ls.spectral_density(operator).nodes, iterated, atol=1e-9)
    assert operator.name == "preconditioned hessian"


def test_learning_rates_that_differ_are_part_of_it() -> None:
    model = mlp()
    groups = [{"params": model[0].parameters(), "lr": 0.1}, {"params": model[2].parameters(), "lr": 0.4}]
    optimizer = torch.optim.SGD(groups)
    operator = ls.Preconditioned.from_optimizer(ls.Hessian(ls.Objective(model, LOSS, points())), optimizer, model)
    assert operator.diagonal.tolist() == [1.0] * 25 + [0.25] * 18
    optimizer.param_groups[1]["lr"] = 0.0  # frozen: nothing curves there
    operator = ls.Preconditioned.from_optimizer(ls.Hessian(ls.Objective(model, LOSS, points())), optimizer, model)
    assert operator.scale.tolist() == [1.0] * 25 + [0.0] * 18
    assert torch.isfinite(operator @ torch.ones(43, dtype=torch.float64)).all()


@pytest.mark.parametrize("name", ["Adam", "RMSprop", "SGD"])
def test_a_recorded_checkpoint_has_the_metric_of_the_live_optimizer(name: str, tmp_path: Path) -> None:
    model = mlp()
    optimizer = getattr(torch.optim, name)(model.parameters(), lr=0.01)
    with ls.Recorder(tmp_path / "run.h5", model, optimizer, every=1) as recorder:
        for _ in range(5):
            step(model, optimizer)
            recorder.step(loss=1.0)
    run = ls.Trajectory(tmp_path / "run.h5")
    objective = ls.Objective(model, LOSS, points())
    recorded = ls.Preconditioned.from_checkpoint(ls.Hessian(objective.at(run[-1])), run[-1], run.optimizer)
    live = ls.Preconditioned.from_optimizer(ls.Hessian(objective), optimizer, model)
    assert torch.allclose(recorded.diagonal, live.diagonal, rtol=1e-12)


def test_wrong_requests_are_refused_in_words() -> None:
    model, adam = trained("Adam", {})
    hessian = ls.Hessian(ls.Objective(model, LOSS, points()))
    with pytest.raises(ls.InputError, match=r"has shape \(3,\), but hessian has n = 43"):
        ls.Preconditioned(hessian, torch.ones(3))
    with pytest.raises(ls.InputError, match="must be positive, but 43 of its 43"):
        ls.Preconditioned(hessian, torch.zeros(43))
    with pytest.raises(ls.InputError, match=r"has not moved the parameter '0\.weight' yet"):
        ls.Preconditioned.from_optimizer(hessian, torch.optim.Adam(model.parameters()), model)
    with pytest.raises(ls.InputError, match=r"does not move the parameter '0\.weight': was it built for another copy"):
        ls.Preconditioned.from_optimizer(hessian, adam, mlp())
    with pytest.raises(ls.InputError, match="the step of LBFGS is not known; known are SGD, Adam"):
        ls.Preconditioned.from_optimizer(hessian, torch.optim.LBFGS(model.parameters()), model)
    checkpoint = ls.Checkpoint(theta=np.zeros(43))
    with pytest.raises(
        ls.InputError, match="does not hold what the Adam divides by: record the run with its optimizer"
    ):
        ls.Preconditioned.from_checkpoint(hessian, checkpoint, {"class": "Adam", "defaults": {}})
