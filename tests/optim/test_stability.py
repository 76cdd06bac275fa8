"""Thresholds against the linear map that torch's own optimizers apply to position and momentum on a quadratic."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

import landscape as ls
from landscape.optim.stability import threshold_of

# So small that what adaptive optimizers keep of squared gradients does not move.
TINY = 1e-9
CASES: list[tuple[str, dict[str, Any]]] = [
    ("SGD", {}),
    ("SGD", {"momentum": 0.9}),
    ("SGD", {"momentum": 0.9, "dampening": 0.3}),
    ("SGD", {"momentum": 0.9, "nesterov": True}),
    ("SGD", {"momentum": 0.5, "nesterov": True}),
    ("SGD", {"momentum": 0.9, "weight_decay": 0.7}),
    ("Adam", {}),
    ("Adam", {"betas": (0.5, 0.9)}),
    ("Adam", {"weight_decay": 0.7}),
    ("AdamW", {"weight_decay": 3.0}),
    ("NAdam", {"betas": (0.8, 0.9)}),
    ("RMSprop", {}),
    ("RMSprop", {"momentum": 0.6}),
    ("Adagrad", {}),
    ("Adagrad", {"lr_decay": 0.2}),
]
STEP = 5
# (kind, options, step): while their bias corrections and the schedule of NAdam's momentum still change.
EARLY: list[tuple[str, dict[str, Any], int]] = [
    *(("Adam", {}, step) for step in (1, 2, 10, 50)),
    ("Adam", {"betas": (0.5, 0.9), "weight_decay": 0.7}, 2),
    ("AdamW", {"weight_decay": 3.0}, 3),
    *(("NAdam", {}, step) for step in (1, 2, 10, 100, 1000, 10_000)),
    ("NAdam", {"betas": (0.8, 0.9), "momentum_decay": 0.1}, 4),
    ("NAdam", {"momentum_decay": 0.0}, 1000),
    ("NAdam", {"weight_decay": 3.0, "decoupled_weight_decay": True}, 20),
]
# State of one parameter, with a second moment of 1 and after all warm-up; the name of its momentum.
STATES: dict[str, tuple[dict[str, float], str]] = {
    "SGD": ({}, "momentum_buffer"),
    "Adam": ({"step": 1e6, "exp_avg_sq": 1.0}, "exp_avg"),
    "AdamW": ({"step": 1e6, "exp_avg_sq": 1.0}, "exp_avg"),
    "NAdam": ({"step": 1e7, "exp_avg_sq": 1.0, "mu_product": 0.0}, "exp_avg"),
    "RMSprop": ({"step": 1e6, "square_avg": 1.0}, "momentum_buffer"),
    "Adagrad": ({"step": STEP, "sum": 1.0}, "none"),
}


def state_before(kind: str, options: dict[str, Any], step: int) -> dict[str, float]:
    """State before this step, in which it divides by 1; NAdam's product of momenta is that of torch's own steps."""
    x = torch.nn.Parameter(torch.zeros(1, dtype=torch.float64))
    optimizer = getattr(torch.optim, kind)([x], lr=0.05, **options)
    x.grad = torch.zeros_like(x)
    for _ in range(step - 1 if kind == "NAdam" else 0):
        optimizer.step()
    kept = optimizer.state[x].get("mu_product")
    corrected = 1 - optimizer.param_groups[0]["betas"][1] ** step
    return {"step": step - 1.0, "exp_avg_sq": corrected} | (
        {"mu_product": 1.0 if kept is None else kept.item()} if kind == "NAdam" else {}
    )


def after_a_step(
    kind: str, options: dict[str, Any], state: dict[str, float], curvature: float, position: float, momentum: float
) -> list[float]:
    """Position and momentum after one step of torch's optimizer on ½ curvature x²."""
    x = torch.nn.Parameter(torch.tensor([position], dtype=torch.float64))
    optimizer = getattr(torch.optim, kind)([x], lr=0.05, **options)
    name = STATES[kind][1]
    values = {**state, name: momentum}
    group = optimizer.param_groups[0]
    # It decays in the step before it divides.
    left = group["betas"][1] if "betas" in group else group.get("alpha", 1.0)
    values |= {key: values[key] / left for key in ("exp_avg_sq", "square_avg") if key in values}
    optimizer.state[x] = {
        key: torch.tensor(value if key in ("step", "mu_product") else [value], dtype=torch.float64)
        for key, value in values.items()
    }
    x.grad = curvature * x.detach()
    optimizer.step()
    kept = optimizer.state[x].get(name)
    return [x.item(), kept.item() if isinstance(kept, torch.Tensor) else 0.0]


def spectral_radius(
    kind: str, options: dict[str, Any], curvature: float, state: dict[str, float] | None = None
) -> float:
    state = STATES[kind][0] if state is None else state
    columns = [after_a_step(kind, options, state, curvature, *(TINY * unit).tolist()) for unit in np.eye(2)]
    has_momentum = kind in ("Adam", "AdamW", "NAdam") or options.get("momentum")
    matrix = np.array(columns).T / TINY
    return float(np.abs(np.linalg.eigvals(matrix if has_momentum else matrix[:1, :1])).max())


@pytest.mark.parametrize(("kind", "options"), CASES)
def test_a_step_grows_beyond_the_threshold_and_shrinks_below(kind: str, options: dict[str, Any]) -> None:
    defaults = getattr(torch.optim, kind)([torch.nn.Parameter(torch.zeros(1))], lr=0.05, **options).param_groups[0]
    threshold = threshold_of(kind, defaults, step=STEP + 1 if kind == "Adagrad" else None)
    # Weight decay that is coupled belongs to the function: the curvature of the loss alone is that much less.
    edge = threshold.value - threshold.weight_decay
    assert spectral_radius(kind, options, 0.999 * edge) < 1 < spectral_radius(kind, options, 1.001 * edge)
    assert spectral_radius(kind, options, 0.5 * edge) < 1
    assert spectral_radius(kind, options, edge) == pytest.approx(1, abs=1e-5)
    assert threshold.adaptive == (kind != "SGD")


@pytest.mark.parametrize(("kind", "options", "step"), EARLY)
def test_the_threshold_of_a_step_is_that_of_its_own_coefficients(kind: str, options: dict[str, Any], step: int) -> None:
    defaults = getattr(torch.optim, kind)([torch.nn.Parameter(torch.zeros(1))], lr=0.05, **options).param_groups[0]
    threshold = threshold_of(kind, defaults, step)
    edge, state = threshold.value - threshold.weight_decay, state_before(kind, options, step)
    assert spectral_radius(kind, options, 0.999 * edge, state) < 1 < spectral_radius(kind, options, 1.001 * edge, state)
    assert spectral_radius(kind, options, 0.5 * edge, state) < 1
    assert spectral_radius(kind, options, edge, state) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("kind", ["Adam", "AdamW", "NAdam"])
def test_the_threshold_becomes_that_after_all_warm_up(kind: str) -> None:
    options = {"lr": 0.1, "betas": (0.9, 0.999), "momentum_decay": 0.004, "weight_decay": 0.1}
    assert threshold_of(kind, options, 10**6).value == pytest.approx(threshold_of(kind, options).value, rel=1e-12)


def test_rules_are_named() -> None:
    assert threshold_of("SGD", {"lr": 0.1}).rule == "2/lr"
    assert threshold_of("SGD", {"lr": 0.1, "momentum": 0.9}).rule == "2(1+β)/lr"
    assert threshold_of("AdamW", {"lr": 0.1, "betas": (0.9, 0.99), "weight_decay": 1.0}).rule == (
        "(2-lr·w)(1+β₁)/((1-β₁)lr)"
    )
    assert threshold_of("Adam", {"lr": 0.1, "betas": (0.9, 0.99)}, 3).rule == "2(1+β₁)(1-β₁ᵗ)/((1-β₁)lr)"
    assert threshold_of("Adam", {"lr": 0.1, "betas": (0.9, 0.99)}, 10_000).rule == "2(1+β₁)/((1-β₁)lr)"


def test_wrong_requests_are_refused_in_words() -> None:
    for kind, options, message in (
        ("LBFGS", {"lr": 1.0}, "the step of LBFGS is not known; known are SGD, Adam"),
        ("SGD", {"lr": 0.0}, "needs a positive learning rate, not 0"),
        ("SGD", {"lr": 0.1, "maximize": True}, "maximizes"),
        ("AdamW", {"lr": 0.5, "betas": (0.9, 0.99), "weight_decay": 4.0}, "weight decay 4 times the learning rate 0.5"),
        ("Adagrad", {"lr": 0.1, "lr_decay": 0.1}, "say how many it has done"),
    ):
        with pytest.raises(ls.InputError, match=message):
            threshold_of(kind, options)
