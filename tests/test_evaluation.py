"""Evaluation in place: the numbers of Objective, whatever the loss, and nothing of the user's is touched."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

import landscape as ls
from landscape import zoo
from landscape._evaluation import Evaluator
from tests.cases import cases

CASES = cases()


def moved(theta: torch.Tensor, seed: int) -> torch.Tensor:
    noise = torch.randn(theta.shape, generator=torch.Generator().manual_seed(seed), dtype=theta.dtype)
    return theta + 0.1 * noise


@pytest.mark.parametrize("name", CASES)
def test_every_kind_of_loss_and_model(name):
    case = CASES[name]
    objective = case.objective(metrics={"mean": _opaque if "dict" in name or "opaque" in name else _mean})
    faithful, fast = Evaluator(objective, merged=False), Evaluator(objective)
    for seed in range(3):
        theta = moved(objective.theta, seed)
        there = objective.at(theta).evaluate()
        assert faithful.evaluate(theta) == list(there.values())  # the same bits
        assert fast.evaluate(theta) == pytest.approx(list(there.values()), rel=1e-12)
        assert fast.check(theta)
        assert fast.evaluate(theta)[0] == pytest.approx(float(case.full(theta)), rel=1e-12)


def _mean(output, target):
    return output.mean()


def _opaque(model, batch):
    return model(batch if isinstance(batch, dict) else batch[0]).mean()


@pytest.mark.parametrize("name", ["digits-mlp", "digits-cnn", "digits-resnet"])
def test_reference_nets_in_float32(name):
    objective = zoo.build(name, epochs=1, samples=600)
    faithful, fast = Evaluator(objective, merged=False), Evaluator(objective)
    assert fast.passes < faithful.passes == objective.batches
    for seed in range(3):
        theta = moved(objective.theta, seed)
        expected = list(objective.at(theta).evaluate().values())
        assert faithful.evaluate(theta) == expected
        assert fast.check(theta) and not fast.separated
        found = fast.evaluate(theta)
        assert found[0] == pytest.approx(expected[0], rel=1e-5)
        assert found[1] == pytest.approx(expected[1], abs=2 / 600)
        assert fast.evaluate(theta) == found


def test_other_buffers_are_those_of_the_point():
    objective = zoo.build("digits-cnn", epochs=1, samples=300)
    buffers = {name: value * 1.3 if value.is_floating_point() else value for name, value in objective.buffers.items()}
    expected = objective.at(objective.theta, buffers).loss()
    for merged in (True, False):
        one = Evaluator(objective, merged)
        before = one.evaluate(objective.theta)[0]
        assert one.evaluate(objective.theta, buffers)[0] == pytest.approx(expected, rel=1e-5)
        assert one.evaluate(objective.theta)[0] == before


def test_nothing_of_the_user_changes():
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(144, 3))
    data = torch.randn(40, 1, 8, 8), torch.randint(0, 3, (40,))
    objective = ls.Objective(model, nn.CrossEntropyLoss(), data)
    things = [model.state_dict(), objective.buffers, {"theta": objective.theta}, objective._network.module.state_dict()]
    before, state, mode = copy.deepcopy(things), torch.get_rng_state(), model.training
    threads, numpy_state = torch.get_num_threads(), repr(np.random.get_state())  # noqa: NPY002
    for merged in (True, False):
        one = Evaluator(objective, merged)
        one.check(objective.theta * 1.5)
        one.evaluate(objective.theta * 2)
    for old, new in zip(before, things, strict=True):
        assert all(torch.equal(old[name], new[name]) for name in old)
    assert torch.equal(torch.get_rng_state(), state) and repr(np.random.get_state()) == numpy_state  # noqa: NPY002
    assert model.training == mode and torch.get_num_threads() == threads
    assert all(parameter.requires_grad and parameter.grad is None for parameter in model.parameters())


class Counting(nn.Module):
    """Writes to a buffer in eval mode, as some quantizers do; the next point must not notice."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 3)
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, x):
        self.calls += 1
        return self.linear(x) * self.calls


def test_a_network_that_writes_to_its_buffers():
    objective = ls.Objective(
        Counting(), functional.cross_entropy, (torch.randn(70, 4), torch.randint(0, 3, (70,))), micro_batch=9
    )
    for merged in (True, False):
        one = Evaluator(objective, merged)
        assert one.evaluate(objective.theta)[0] == one.evaluate(objective.theta)[0]
        assert one.evaluate(objective.theta)[0] == pytest.approx(objective.loss(), rel=1e-6)


def test_nan_and_inf_are_results():
    objective = zoo.build("digits-cnn", epochs=0, samples=200, weight_decay=1e-3)
    for merged in (True, False):
        one = Evaluator(objective, merged)
        assert np.isnan(one.evaluate(torch.full_like(objective.theta, float("nan")))).all()
        far = one.evaluate(objective.theta * 1e25)
        assert not np.isfinite(far[0])
        assert np.isfinite(one.evaluate(objective.theta)).all()


def test_metrics_that_are_no_means_are_found_and_computed_for_each_micro_batch():
    metrics = {
        "spread": lambda output, target: output.std(),
        "mean": lambda output, target: output.mean(),
        "of this size": lambda output, target: output.reshape(10, 3).sum(),
    }
    objective = ls.Objective(
        nn.Linear(4, 3),
        nn.CrossEntropyLoss(),
        (torch.randn(50, 4), torch.randint(0, 3, (50,))),
        micro_batch=10,
        metrics=metrics,
    )
    fast = Evaluator(objective)
    assert fast.passes == 1
    assert fast.check(objective.theta)
    assert fast.separated == {"spread", "of this size"}
    assert fast.evaluate(objective.theta) == pytest.approx(list(objective.evaluate().values()), rel=1e-5)


def test_a_loss_that_must_not_be_merged_is_not():
    """Batches of one sample with weights of their own: the mean over several of them is another number."""
    samples = [(torch.randn(1, 4), torch.randint(0, 3, (1,))) for _ in range(6)]
    objective = ls.Objective(
        nn.Linear(4, 3),
        lambda o, t: functional.cross_entropy(o, t),
        samples,
        weight=lambda batch: 1.0 + float(batch[1]),
    )
    fast = Evaluator(objective)
    assert fast.passes == 1
    assert not fast.check(objective.theta)
    assert fast.passes == 6
    assert fast.evaluate(objective.theta)[0] == objective.loss()


def test_batches_of_other_shapes_stay_apart():
    batches = [(torch.randn(5, length, 4), torch.randint(0, 3, (5, length))) for length in (3, 3, 7, 3)]
    loss = lambda output, target: functional.cross_entropy(output.flatten(0, 1), target.flatten())  # noqa: E731
    objective = ls.Objective(nn.Linear(4, 3), loss, batches, weight=lambda batch: float(batch[1].numel()))
    fast = Evaluator(objective)
    assert [group.sizes for group in fast._groups] == [[5, 5], [5], [5]]
    assert fast.evaluate(objective.theta)[0] == pytest.approx(objective.loss(), rel=1e-6)
