"""The objective: what it refuses and how it says so, what it leaves untouched, other points of the same function."""

from __future__ import annotations

import copy
import math
import re
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, TensorDataset

import landscape as ls
from tests.cases import cases, cut, mlp, points

LOSS = nn.CrossEntropyLoss()


def build(model: nn.Module | None = None, loss: Any = LOSS, data: Any = None, **options: Any) -> ls.Objective:
    return ls.Objective(mlp() if model is None else model, loss, points() if data is None else data, **options)


def test_data_in_every_form_gives_the_same_loss() -> None:
    data = points()
    reference = build(data=data).loss()
    forms = [
        cut(data, 5),
        DataLoader(TensorDataset(*data), batch_size=7),
        TensorDataset(*data),
        [data],
        (data[0].numpy(), data[1].numpy()),
    ]
    for form in forms:
        assert build(data=form).loss() == pytest.approx(reference, rel=1e-13)


def test_the_model_comes_back_byte_identical() -> None:
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(32, 3))
    model[0].bias.requires_grad_(False)
    model.train()
    model[3].weight.grad = torch.ones_like(model[3].weight)
    before, modes = copy.deepcopy(model.state_dict()), [module.training for module in model.modules()]
    generator = torch.get_rng_state()
    data = torch.randn(20, 1, 6, 6, generator=torch.Generator().manual_seed(0)), torch.zeros(20, dtype=torch.long)
    objective = build(model, data=DataLoader(TensorDataset(*data), batch_size=6))
    objective.evaluate(), objective.gradient(), ls.Hessian(objective) @ objective.theta
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert [module.training for module in model.modules()] == modes
    assert [value.requires_grad for value in model.parameters()] == [True, False, True, True, True, True]
    assert [value.grad is not None for value in model.parameters()] == [False, False, False, False, True, False]
    assert torch.equal(torch.get_rng_state(), generator)


def test_parameters_are_chosen_by_name_pattern_or_predicate() -> None:
    for chosen in (["2.weight", "2.bias"], r"^2\.", lambda name, value: name.startswith("2")):
        objective = build(parameters=chosen)
        assert objective.names == ("2.weight", "2.bias") and objective.n == 18
    with pytest.raises(ls.InputError, match=r"lacks; it has \['0.weight'"):
        build(parameters=["3.weight"])


def test_another_point_is_the_same_function() -> None:
    case = cases()["convolution and batch norm"]
    objective = case.objective()
    theta = objective.theta + 0.1
    moved = objective.at(theta)
    assert moved.loss() == pytest.approx(case.full(theta).item(), rel=1e-12)
    assert objective.loss() == pytest.approx(case.full(objective.theta).item(), rel=1e-12)
    assert objective.at(theta.numpy()).loss() == moved.loss()
    other = copy.deepcopy(case.model)
    other[1].running_mean += 1
    with torch.no_grad():
        other[0].weight += 0.1
    assert objective.at(other.state_dict()).loss() == pytest.approx(build(other, data=case.data).loss(), rel=1e-12)
    buffers = {"1.running_mean": other[1].running_mean}
    assert (
        objective.at(other.state_dict())
        .buffers["1.running_mean"]
        .equal(objective.at(theta, buffers).buffers["1.running_mean"])
    )


def test_metrics_are_averaged_over_samples() -> None:
    inputs, targets = data = points()
    accuracy = lambda output, target: (output.argmax(1) == target).double().mean()  # noqa: E731
    result = build(data=cut(data, 9), metrics={"accuracy": accuracy}).evaluate()
    with torch.no_grad():
        expected = (mlp()(inputs).argmax(1) == targets).double().mean().item()
    assert result["accuracy"] == pytest.approx(expected, rel=1e-13)
    assert result["loss"] == pytest.approx(LOSS(mlp()(inputs), targets).item(), rel=1e-12)


def test_samples_are_a_seeded_subset() -> None:
    first, again, other = (build(samples=10, seed=seed) for seed in (0, 0, 1))
    assert first.samples == 10 and first.loss() == again.loss() != other.loss()
    with pytest.raises(ls.InputError, match="between 1 and the 23 samples"):
        build(samples=24)


def test_nothing_outside_changes_what_was_frozen() -> None:
    inputs, targets = points()
    loss = nn.CrossEntropyLoss(weight=torch.ones(3, dtype=torch.float64))
    objective = build(loss=loss, data=(inputs, targets))
    before = objective.loss()
    inputs *= 3
    loss.weight[0] = 5
    assert objective.loss() == before


def test_buffers_that_a_forward_pass_writes_do_not_leak() -> None:
    class Counting(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = mlp()
            self.register_buffer("calls", torch.zeros(1))

        def forward(self, data: Tensor) -> Tensor:
            self.calls += 1
            return self.layer(data)

    objective = build(Counting())
    before = objective.describe()
    objective.gradient()
    assert objective.buffers["calls"].item() == 0
    assert objective.describe() == before


def test_metrics_count_samples_whose_loss_is_ignored() -> None:
    inputs, targets = points()
    targets[:9] = -100
    objective = build(data=cut((inputs, targets), 9), metrics={"one": lambda output, target: 1.0})
    assert objective.batches == 2
    assert objective.evaluate()["one"] == 1.0


def test_the_random_stream_of_a_loader_is_left_alone() -> None:
    generator = torch.Generator().manual_seed(3)
    loader = DataLoader(TensorDataset(*points()), batch_size=7, generator=generator)
    before = generator.get_state()
    build(data=loader)
    assert torch.equal(generator.get_state(), before)


def test_wrapped_models_are_unwrapped() -> None:
    assert build(nn.DataParallel(mlp())).loss() == build().loss()

    class Compiled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self._orig_mod = mlp()

    assert build(Compiled()).names == build().names


class Augmented(Dataset[tuple[Tensor, Tensor]]):
    def __len__(self) -> int:
        return 8

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        return torch.randn(4, dtype=torch.float64), torch.tensor(0)


class Sharded(nn.Linear):
    """Named as FSDP names its wrapper."""


Sharded.__name__ = "FullyShardedDataParallel"


class Noisy(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = mlp()

    def forward(self, data: Tensor) -> Tensor:
        return nn.functional.dropout(self.layer(data), 0.5, training=True)


def not_finite() -> list[tuple[Tensor, ...]]:
    batches = cut(points(), 9)
    batches[1][0][2, 1] = float("nan")
    return batches


def frozen() -> nn.Module:
    return mlp().requires_grad_(False)


@pytest.mark.parametrize(
    ("message", "options"),
    [
        (r"DataLoader shuffles.*shuffle=False", lambda: {"data": DataLoader(TensorDataset(*points()), shuffle=True)}),
        (r"sample 0 of the dataset differs.*augments", lambda: {"data": Augmented()}),
        (r"other batches when it is read again.*augments", lambda: {"data": DataLoader(Augmented(), batch_size=2)}),
        (
            r"dropout is in train mode.*1 \(Dropout, p=0.5\).*model.eval\(\)",
            lambda: {"model": nn.Sequential(nn.Linear(4, 3), nn.Dropout(0.5))},
        ),
        (r"loss changes from one evaluation to the next.*functional dropout", lambda: {"model": Noisy()}),
        (r"the data is empty", lambda: {"data": []}),
        (r"the data is empty", lambda: {"data": DataLoader(TensorDataset(*(part[:0] for part in points())))}),
        (r"nothing is trainable: no parameter requires gradients", lambda: {"model": frozen()}),
        (r"nothing is trainable: no parameter is selected", lambda: {"parameters": "decoder"}),
        (r"loss is nan in micro-batch 1 of 3 \(samples 9 to 17\)", lambda: {"data": not_finite()}),
        (r"every batch has weight 0", lambda: {"data": (points()[0], torch.full((23,), -100))}),
        (
            r"not the mean over its samples.*weight=fn\(batch\)",
            lambda: {"loss": lambda output, target: output[target > 0].pow(2).mean(), "data": [points()]},
        ),
        (r"neither a mean nor a sum", lambda: {"loss": lambda output, target: output.square().sum().sqrt()}),
        (r"must return one number.*shape \(23,\)", lambda: {"loss": lambda o, t: o[:, 0], "data": [points()]}),
        (r'reduction="none"', lambda: {"loss": nn.CrossEntropyLoss(reduction="none")}),
        (r"name its first parameter `model`", lambda: {"loss": lambda m, batch: m(batch[0]).mean()}),
        (
            r"does not depend on the trainable parameters",
            lambda: {"loss": lambda model, batch: batch[0].mean(), "data": [points()]},
        ),
        (r"batches \(input, target\)", lambda: {"data": [{"x": points()[0]}]}),
        (r"X and y differ in their number of samples: 23 and 20", lambda: {"data": (points()[0], points()[1][:20])}),
        (r"is sharded \(FSDP\)", lambda: {"model": Sharded(4, 3)}),
        (r"must be a torch.nn.Module, not function", lambda: {"model": lambda x: x}),
        (
            r"not the mean over its samples.*weight=fn\(batch\)",
            lambda: {
                "loss": lambda o, t: nn.functional.cross_entropy(o, t, ignore_index=1),
                "data": [*cut(points(), 9)[:1], *cut(points(seed=2), 9)],
            },
        ),
        (r"must return the mean over the batch", lambda: {"loss": lambda model, batch: 0.0, "reduction": "sum"}),
        (
            r"1 \(BatchNorm1d\) has track_running_stats=False",
            lambda: {"model": nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3, track_running_stats=False)).double()},
        ),
        (r"must be float32 or float64, not torch.bfloat16", lambda: {"model": mlp().bfloat16()}),
        (
            r"fails on micro-batch 0 of 1 .*torch.float32 \(23, 4\) and torch.int64 \(23,\), with parameters of torch",
            lambda: {"data": (points()[0].float(), points()[1])},
        ),
        (r"device 'hal:9' cannot be used here", lambda: {"device": "hal:9"}),
        (r"weight_decay must be finite", lambda: {"weight_decay": -1.0}),
    ],
)
def test_bad_input_is_named(message: str, options: Any) -> None:
    with pytest.raises(ls.InputError, match=f"(?s){message}"):
        build(**options())


def test_a_point_of_another_model_is_named() -> None:
    objective = build()
    with pytest.raises(ls.InputError, match=r"shape \(5,\), but the objective has n = 43"):
        objective.at(np.zeros(5))
    with pytest.raises(ls.InputError, match="theta holds NaN or inf at 1 of 43"):
        objective.at(torch.where(torch.arange(43) == 3, torch.nan, objective.theta))
    state = mlp().state_dict()
    wrong_shape = {**state, "2.weight": torch.zeros(3, 6)}
    with pytest.raises(ls.InputError, match=r"'2.weight' has shape \(3, 6\) in the checkpoint, but \(3, 5\)"):
        objective.at(wrong_shape)
    renamed = {("head.weight" if name == "2.weight" else name): value for name, value in state.items()}
    with pytest.raises(ls.InputError, match=r"it lacks 2\.weight; the model lacks head\.weight"):
        objective.at(renamed)


def shuffled(objective: ls.Objective, order: list[int]) -> ls.Checkpoint:
    """The objective's point with its parameters in another order."""
    parts = list(objective.variables().items())
    return ls.Checkpoint(
        torch.cat([parts[index][1].reshape(-1) for index in order]).numpy(),
        names=tuple(parts[index][0] for index in order),
        shapes=tuple(tuple(parts[index][1].shape) for index in order),
    )


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_checkpoint_with_names_in_another_order_is_realigned(seed: int) -> None:
    torch.manual_seed(seed)
    there = build(mlp())
    order = torch.randperm(len(there.names), generator=torch.Generator().manual_seed(seed)).tolist()
    here = build(mlp()).at(torch.zeros_like(there.theta)).at(shuffled(there, order))
    assert torch.equal(here.theta, there.theta)
    assert here.describe() == there.describe()


def test_a_checkpoint_fills_frozen_parameters_too() -> None:
    there = build(mlp())
    moved = there.at(there.theta + 0.1)
    part = build(mlp(), parameters=there.names[:1]).at(shuffled(moved, [2, 3, 0, 1]))
    assert part.names == there.names[:1]
    assert part.loss() == pytest.approx(moved.loss(), rel=1e-12)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_parameters_that_are_not_finite_are_refused(value: float) -> None:
    model = mlp()
    with torch.no_grad():
        next(model.parameters())[0] = value
    width = next(model.parameters()).shape[1]
    with pytest.raises(ls.InputError, match=rf"the parameters are not finite: {width} of .* did training diverge"):
        build(model)


def test_a_checkpoint_of_another_model_is_refused() -> None:
    objective = build(mlp())
    names, shapes = objective.names, [tuple(shape) for shape in objective.shapes]

    def checkpoint(names: tuple[str, ...], shapes: list[tuple[int, ...]], extra: int = 0) -> ls.Checkpoint:
        return ls.Checkpoint(np.zeros(sum(map(math.prod, shapes)) + extra), names=names, shapes=tuple(shapes))

    wide = [(shapes[0][0] + 1, shapes[0][1]), *shapes[1:]]
    both = re.escape(f"{names[0]!r} has shape {wide[0]} in the checkpoint, but {shapes[0]} in the model")
    with pytest.raises(ls.InputError, match=f"another model: parameter {both}"):
        objective.at(checkpoint(names, wide))
    turned = [shapes[0][::-1], *shapes[1:]]  # as many numbers, but other ones
    with pytest.raises(ls.InputError, match=re.escape(f"{names[0]!r} has shape {turned[0]}")):
        objective.at(checkpoint(names, turned))
    with pytest.raises(ls.InputError, match=rf"lacks its parameter 'head' of shape .*; the model has {names[0]!r}"):
        objective.at(checkpoint(("head", *names[1:]), shapes))
    with pytest.raises(ls.InputError, match=f"it lacks parameter {names[-1]!r} of shape"):
        objective.at(checkpoint(names[:-1], shapes[:-1]))
    with pytest.raises(ls.InputError, match="the names of its checkpoint need"):
        objective.at(checkpoint(names[::-1], shapes[::-1], extra=1))
