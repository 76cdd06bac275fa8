"""What an optimizer sees: against dense matrices, direct sums over mini-batches, and trainings that must diverge."""

from __future__ import annotations

import copy
from typing import Any

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
    # AdamW shrinks the parameters beside the gradient: its function has no weight decay.
    decay = 0.0 if kind == "AdamW" else 0.02
    matrix = hessian_of(model, decay)
    P = torch.ones(43, dtype=torch.float64) if kind == "SGD" else view.operator.diagonal
    expected = P[:, None] ** -0.5 * matrix * P**-0.5
    assert (view.operator @ torch.eye(43, dtype=torch.float64) - expected).abs().max() <= 1e-11 * expected.abs().max()
    gradient = ls.Objective(model, LOSS, points(), weight_decay=decay).gradient()
    assert torch.allclose(view.gradient(), gradient * P**-0.5, rtol=1e-10)


@pytest.mark.parametrize("kind", ["SGD", "Adam", "AdamW", "NAdam"])
def test_a_recorded_checkpoint_has_the_view_of_the_live_optimizer(kind: str, tmp_path) -> None:
    model = mlp()
    optimizer = getattr(torch.optim, kind)(model.parameters(), lr=0.01, weight_decay=0.02)
    with ls.Recorder(tmp_path / "run.h5", model, optimizer, every=1) as recorder:
        for _ in range(3):
            steps(model, optimizer, 1)
            recorder.step(loss=1.0)
    run, objective = ls.Trajectory(tmp_path / "run.h5"), ls.Objective(mlp(), LOSS, points(), weight_decay=0.02)
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


class Line(nn.Module):
    """A linear model with two parameters and a third: the mean of its squares is a quadratic form."""

    def __init__(self) -> None:
        super().__init__()
        self.slopes, self.offset = nn.Parameter(torch.zeros(2).double()), nn.Parameter(torch.zeros(1).double())

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return features @ torch.cat([self.slopes, self.offset])


FEATURES = torch.randn(30, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(3)) * torch.tensor([1, 3, 2])
# Kind, options of both groups, weight decay of the objective, steps of which the offset misses the first.
GROUPS: list[tuple[str, dict[str, Any], dict[str, Any], float, bool]] = [
    ("SGD", {"lr": 0.1}, {"lr": 0.3}, 0.0, False),
    ("SGD", {"lr": 0.1, "momentum": 0.9}, {"momentum": 0.5, "nesterov": True}, 0.0, False),
    ("SGD", {"lr": 0.0, "momentum": 0.9}, {"lr": 0.1, "momentum": 0.9}, 0.0, False),
    ("SGD", {"lr": 0.1, "weight_decay": 0.5}, {"weight_decay": 0.0}, 0.0, False),
    ("SGD", {"lr": 0.1, "weight_decay": 0.5}, {"weight_decay": 0.0}, 0.5, False),
    ("Adam", {"weight_decay": 0.5}, {"weight_decay": 0.0}, 0.0, False),
    ("Adam", {"betas": (0.9, 0.99)}, {"betas": (0.5, 0.9), "lr": 3e-3}, 0.0, False),
    ("Adam", {}, {}, 0.0, True),
    ("AdamW", {"weight_decay": 300.0}, {"weight_decay": 0.0}, 0.0, False),
    ("AdamW", {"weight_decay": 300.0}, {"weight_decay": 300.0}, 300.0, False),
    ("AdamW", {"weight_decay": 300.0}, {"lr": 0.0}, 300.0, False),
    ("Adam", {"decoupled_weight_decay": True, "weight_decay": 300.0}, {"decoupled_weight_decay": False}, 0.0, False),
    ("NAdam", {"momentum_decay": 0.004}, {"momentum_decay": 1.0}, 0.0, True),
    ("Adagrad", {"lr_decay": 0.3, "lr": 0.1}, {"lr_decay": 0.0}, 0.0, True),
    ("RMSprop", {"momentum": 0.9}, {"momentum": 0.3}, 0.0, False),
]


def stepped(kind: str, first: dict[str, Any], second: dict[str, Any], late: bool) -> tuple[Line, Any, dict[str, Any]]:
    """A model at the minimum, its optimizer after some steps, and the state before the last of them."""
    model = Line()
    groups = [{"params": [model.slopes], **first}, {"params": [model.offset], **first, **second}]
    optimizer = getattr(torch.optim, kind)(groups, lr=1e-3)
    generator = torch.Generator().manual_seed(0)
    for step in range(5):
        for parameter in model.parameters():
            parameter.grad = torch.randn(parameter.shape, dtype=torch.float64, generator=generator)
        if late and step < 2:
            model.offset.grad = None
        optimizer.step()
    before = copy.deepcopy(optimizer.state_dict())
    for parameter in model.parameters():
        torch.nn.init.zeros_(parameter)
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    torch.nn.init.zeros_(model.slopes), torch.nn.init.zeros_(model.offset)
    return model, optimizer, before


def spectral_radius(model: Line, optimizer: Any, before: dict[str, Any], features: torch.Tensor) -> float:
    """Of the linear map that the last step is on positions and momenta near the minimum, by torch's own steps."""
    tiny, parameters = 1e-9, list(model.parameters())
    after = copy.deepcopy(optimizer.state_dict())
    columns = []
    for unit in tiny * torch.eye(6, dtype=torch.float64):
        optimizer.load_state_dict(copy.deepcopy(before))
        for parameter, position, momentum in zip(
            parameters, unit[:3].split([2, 1]), unit[3:].split([2, 1]), strict=True
        ):
            parameter.data.copy_(position)
            for name in ("exp_avg", "momentum_buffer"):
                if isinstance(optimizer.state[parameter].get(name), torch.Tensor):
                    optimizer.state[parameter][name].copy_(momentum)
        optimizer.zero_grad()
        model(features).square().mean().backward()
        optimizer.step()
        states = [optimizer.state[parameter] for parameter in parameters]
        momenta = [state.get("exp_avg", state.get("momentum_buffer")) for state in states]
        kept = [torch.zeros_like(p) if m is None else m for m, p in zip(momenta, parameters, strict=True)]
        columns.append(torch.cat([value.detach().reshape(-1) for value in (*parameters, *kept)]) / tiny)
    optimizer.load_state_dict(after)
    for parameter in parameters:
        torch.nn.init.zeros_(parameter)
    # A learning rate of 0 leaves an eigenvalue of 1, where nothing moves.
    sizes = torch.linalg.eigvals(torch.stack(columns, 1)).abs()
    return float(sizes[(sizes - 1).abs() > 1e-9].max())


@pytest.mark.parametrize(("kind", "first", "second", "in_objective", "late"), GROUPS)
def test_one_threshold_holds_for_groups_that_differ(
    kind: str, first: dict[str, Any], second: dict[str, Any], in_objective: float, late: bool
) -> None:
    model, optimizer, before = stepped(kind, first, second, late)

    def ratio(scale: float) -> float:
        data = scale * FEATURES, torch.zeros(30, dtype=torch.float64)
        objective = ls.Objective(model, nn.MSELoss(), data, weight_decay=in_objective)
        view = ls.optimizer_view(objective, optimizer, model)
        return float(
            torch.linalg.eigvalsh(view.operator @ torch.eye(3, dtype=torch.float64))[-1] / view.threshold.value
        )

    # The scale of the data that brings the sharpness to the threshold; coupled weight decay does not grow with it.
    low, high = 0.0, 1.0
    while ratio(high) < 1:
        low, high = high, 2 * high
    for _ in range(14):
        middle = (low + high) / 2
        low, high = (middle, high) if ratio(middle) < 1 else (low, middle)
    assert spectral_radius(model, optimizer, before, 0.998 * low * FEATURES) < 1
    assert spectral_radius(model, optimizer, before, 1.002 * high * FEATURES) > 1


def test_parameters_that_do_not_move_are_left_out() -> None:
    model = mlp()
    model.unused = nn.Parameter(torch.ones(2, dtype=torch.float64))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    steps(model, optimizer, 3)
    objective = ls.Objective(model, LOSS, points())
    view = ls.optimizer_view(objective, optimizer, model)
    place = [name for name in objective.names for _ in range(dict(model.named_parameters())[name].numel())]
    unused = torch.tensor([name == "unused" for name in place])
    assert (view.scale[unused] == 0).all() and (view.scale[~unused] > 0).all()
    alone = ls.Objective(model, LOSS, points(), parameters=[name for name in objective.names if name != "unused"])
    other = ls.optimizer_view(alone, optimizer, model)
    assert ls.eigenpairs(view.operator, k=1).values[0] == pytest.approx(
        ls.eigenpairs(other.operator, k=1).values[0], rel=1e-6
    )
    for group in optimizer.param_groups:
        group["lr"] = 0.0
    with pytest.raises(ls.InputError, match="learning rate of 0 everywhere: nothing moves"):
        ls.optimizer_view(objective, optimizer, model)


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
    groups = [{"params": model[0].parameters()}, {"params": model[2].parameters(), "maximize": True}]
    with pytest.raises(ls.InputError, match="the SGD maximizes"):
        ls.optimizer_view(objective, torch.optim.SGD(groups, lr=0.1), model)
    with pytest.raises(ls.InputError, match=r"does not move the parameter '2\.weight'"):
        ls.optimizer_view(objective, torch.optim.SGD(model[0].parameters(), lr=0.1), model)
    with pytest.raises(ls.InputError, match="has not moved the parameter"):
        ls.optimizer_view(objective, torch.optim.Adam(model.parameters()), model)
    with pytest.raises(ls.InputError, match="size must be at least 1, not 0"):
        ls.batch_sharpness(objective, 0)
