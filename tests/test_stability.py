"""What an optimizer sees: against dense matrices, direct sums over mini-batches, and trainings that must diverge."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import landscape as ls
from tests.cases import caller, cross_entropies, mlp, points

LOSS = nn.CrossEntropyLoss()


def steps(model: nn.Module, optimizer: torch.optim.Optimizer, count: int) -> None:
    inputs, targets = points()
    for _ in range(count):
        optimizer.zero_grad()
        LOSS(model(inputs), targets).backward()
        optimizer.step()


def hessian_of(model: nn.Module, decay: float = 0.0) -> torch.Tensor:
    call, (inputs, targets) = caller(model), points()
    theta = torch.cat([value.detach().reshape(-1) for value in model.parameters()])
    return torch.autograd.functional.hessian(
        lambda point: cross_entropies(call(point, inputs), targets).mean() + 0.5 * decay * point @ point, theta
    )


@pytest.mark.parametrize("kind", ["SGD", "Adam", "AdamW", "RMSprop"])
@pytest.mark.parametrize("in_objective", [0.0, 0.02])
def test_the_view_is_that_of_the_function_that_is_descended(kind: str, in_objective: float) -> None:
    model = mlp()
    optimizer = getattr(torch.optim, kind)(model.parameters(), lr=0.01, weight_decay=0.02)
    steps(model, optimizer, 3)
    objective = ls.Objective(model, LOSS, points(), weight_decay=in_objective)
    view = ls.optimizer_view(objective, optimizer, model)
    # AdamW shrinks the parameters beside the gradient: its function has the weight decay of the objective only.
    matrix = hessian_of(model, in_objective if kind == "AdamW" else 0.02)
    P = torch.ones(43, dtype=torch.float64) if kind == "SGD" else view.operator.diagonal
    expected = P[:, None] ** -0.5 * matrix * P**-0.5
    assert (view.operator @ torch.eye(43, dtype=torch.float64) - expected).abs().max() <= 1e-11 * expected.abs().max()
    gradient = ls.Objective(model, LOSS, points(), weight_decay=in_objective if kind == "AdamW" else 0.02).gradient()
    assert torch.allclose(view.gradient(), gradient * P**-0.5, rtol=1e-10)


@pytest.mark.parametrize("kind", ["SGD", "Adam"])
def test_a_recorded_checkpoint_has_the_view_of_the_live_optimizer(kind: str, tmp_path) -> None:
    model = mlp()
    optimizer = getattr(torch.optim, kind)(model.parameters(), lr=0.01)
    with ls.Recorder(tmp_path / "run.h5", model, optimizer, every=1) as recorder:
        for _ in range(3):
            steps(model, optimizer, 1)
            recorder.step(loss=1.0)
    run, objective = ls.Trajectory(tmp_path / "run.h5"), ls.Objective(mlp(), LOSS, points())
    recorded = ls.recorded_view(objective, run[-1], run.optimizer)
    live = ls.optimizer_view(ls.Objective(model, LOSS, points()), optimizer, model)
    vector = torch.linspace(-1, 1, 43, dtype=torch.float64)
    assert torch.allclose(recorded.operator @ vector, live.operator @ vector, rtol=1e-10)
    assert recorded.threshold == live.threshold


def test_steps_beyond_the_threshold_diverge_on_the_quadratic() -> None:
    # Linear regression: the loss is a quadratic, so the threshold is sharp.
    inputs = torch.randn(40, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    data = inputs, inputs.sum(1, keepdim=True)
    for momentum, nesterov in ((0.0, False), (0.9, False), (0.9, True)):
        for factor, grows in ((0.97, False), (1.03, True)):
            model = nn.Linear(3, 1).double()
            probe = torch.optim.SGD(model.parameters(), lr=1.0, momentum=momentum, nesterov=nesterov)
            view = ls.optimizer_view(ls.Objective(model, nn.MSELoss(), data), probe, model)
            sharpest = ls.eigenpairs(view.operator, k=1).values[0]
            rate = factor * view.threshold.value / sharpest  # the threshold falls as 1/lr
            optimizer = torch.optim.SGD(model.parameters(), lr=rate, momentum=momentum, nesterov=nesterov)
            values = []
            for _ in range(600):
                optimizer.zero_grad()
                loss = nn.functional.mse_loss(model(data[0]), data[1])
                loss.backward()
                optimizer.step()
                values.append(loss.item())
            assert (values[-1] > 1e3 * values[0]) == grows and (values[-1] < 1e-3 * values[0]) != grows


def test_share_of_the_gradient_in_the_leading_space() -> None:
    objective = ls.Objective(mlp(), LOSS, points())
    matrix, gradient = hessian_of(mlp()), objective.gradient()
    vectors = torch.linalg.eigh(matrix).eigenvectors.flip(1)
    components = (vectors.T @ gradient) ** 2
    expected = torch.cumsum(components, 0) / components.sum()
    pairs = ls.eigenpairs(ls.Hessian(objective), k=4, tol=1e-8)
    assert np.allclose(ls.gradient_shares(gradient, pairs), expected[:4].numpy(), atol=1e-6)
    assert ls.gradient_shares(gradient, vectors)[-1] == pytest.approx(1)
    with pytest.raises(ls.InputError, match="do not fit"):
        ls.gradient_shares(np.ones(4), pairs)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_batch_sharpness_is_the_mean_over_mini_batches(seed: int) -> None:
    objective = ls.Objective(mlp(), LOSS, points(), weight_decay=0.1)
    found = ls.batch_sharpness(objective, 6, batches=8, seed=seed)
    expected = []
    batches = [batch for epoch in (0, 1) for batch in objective.mini_batches(6, seed, epoch)]
    for inputs, targets in batches[:8]:
        one = ls.Objective(mlp(), LOSS, (inputs, targets), weight_decay=0.1)
        gradient = one.gradient()
        expected.append(float(gradient @ (ls.Hessian(one) @ gradient) / (gradient @ gradient)))
    assert found.value == pytest.approx(np.mean(expected), rel=1e-10)
    assert found.stderr == pytest.approx(np.std(expected, ddof=1) / np.sqrt(8), rel=1e-10)
    whole = ls.batch_sharpness(objective, 23, batches=2, seed=seed)
    gradient = objective.gradient()
    assert whole.value == pytest.approx(
        float(gradient @ (ls.Hessian(objective) @ gradient) / (gradient @ gradient)), rel=1e-10
    )


def test_wrong_requests_are_refused_in_words() -> None:
    model = mlp()
    objective = ls.Objective(model, LOSS, points())
    groups = [{"params": model[0].parameters(), "momentum": 0.9}, {"params": model[2].parameters()}]
    with pytest.raises(ls.InputError, match="no one threshold holds for all"):
        ls.optimizer_view(objective, torch.optim.SGD(groups, lr=0.1), model)
    with pytest.raises(ls.InputError, match="has not moved the parameter"):
        ls.optimizer_view(objective, torch.optim.Adam(model.parameters()), model)
    with pytest.raises(ls.InputError, match="size must be at least 1, not 0"):
        ls.batch_sharpness(objective, 0)
