"""What a surface holds beside the loss: other data, derivatives, batch-norm modes, a quadratic model."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import nn

import landscape as ls
from landscape import _statistics, zoo
from landscape.errors import InputError
from landscape.surface import check_memory
from tests.test_surface import quadratic


def convolutional(seed: int, samples: int = 40, **options) -> tuple[nn.Module, ls.Objective]:
    """Two batch-norm layers, whose statistics belong to other data."""
    torch.manual_seed(seed)
    model = nn.Sequential(
        nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.Tanh(), nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Tanh(),
        nn.Flatten(), nn.Linear(64, 3), nn.BatchNorm1d(3),
    ).double()  # fmt: skip
    for part in model:
        if hasattr(part, "running_var"):
            part.running_mean.normal_()
            part.running_var.uniform_(0.5, 2)
    data = torch.randn(samples, 1, 8, 8).double(), torch.randint(0, 3, (samples,))
    metrics = {"accuracy": lambda output, target: (output.argmax(1) == target).double().mean()}
    return model, ls.Objective(model, nn.CrossEntropyLoss(), data, metrics=metrics, **options)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_derivatives_on_the_grid(seed):
    objective, matrix, best = quadratic(7, seed)
    plane = ls.Plane.through(*np.random.default_rng(seed).standard_normal((3, 7)))
    surface = ls.loss_surface(objective, plane, resolution=(3, 4), quantities=["lambda_max", "gradient_norm"])
    assert list(surface.metrics) == ["gradient_norm", "lambda_max", "lambda_max_residual"]
    for row, y in enumerate(surface.y):
        for column, x in enumerate(surface.x):
            slope = matrix @ (plane.point(x, y) - best)
            assert surface.metrics["gradient_norm"][row, column] == pytest.approx(np.linalg.norm(slope), rel=1e-9)
    top = np.linalg.eigvalsh(matrix)[-1]
    assert (abs(surface.metrics["lambda_max"] - top) <= surface.metrics["lambda_max_residual"] + 1e-9).all()
    assert (surface.metrics["lambda_max_residual"] <= 0.011 * top).all()


def test_derivatives_of_a_network_and_at_holes():
    objective = zoo.build("digits-cnn", epochs=0, samples=60)
    plane = ls.Plane.random(objective)
    chosen = ["gradient_norm", "lambda_max"]
    surface = ls.loss_surface(objective, plane, resolution=2, quantities=chosen)
    there = objective.at(plane.point(surface.x[1], surface.y[0]))
    assert surface.metrics["gradient_norm"][0, 1] == pytest.approx(float(there.gradient().norm()), rel=1e-5)
    top = ls.eigenpairs(ls.Hessian(there), k=1).values[0]
    assert surface.metrics["lambda_max"][0, 1] == pytest.approx(top, rel=0.02)
    far = ls.loss_surface(objective, plane, resolution=2, extent=(0, 1e36, 0, 1), quantities=chosen)
    assert not np.isfinite(far.loss[0, 1]) and np.isnan(far.metrics["lambda_max"][0, 1])
    with pytest.raises(InputError, match="'sharpness' is unknown; there are gradient_norm, lambda_max"):
        ls.loss_surface(objective, plane, resolution=2, quantities=["sharpness"])


def test_test_data_beside_the_training_data():
    model, objective = convolutional(0)
    _, _other = convolutional(0, 33)
    fresh = torch.randn(33, 1, 8, 8).double(), torch.randint(0, 3, (33,))
    test = ls.Objective(model, nn.CrossEntropyLoss(), fresh, metrics=objective.metrics)
    plane = ls.Plane.random(objective)
    surface = ls.loss_surface(objective, plane, resolution=3, test=test)
    assert list(surface.metrics) == ["accuracy", "test_loss", "test_accuracy"]
    expected = test.at(plane.point(surface.x[2], surface.y[1])).evaluate()
    assert surface.metrics["test_loss"][1, 2] == pytest.approx(expected["loss"], rel=1e-12)
    assert surface.metrics["test_accuracy"][1, 2] == pytest.approx(expected["accuracy"])
    assert np.array_equal(surface.loss, ls.loss_surface(objective, plane, resolution=3).loss)
    with pytest.raises(InputError, match=r"must be a landscape\.Objective"):
        ls.loss_surface(objective, plane, resolution=2, test=fresh)
    with pytest.raises(InputError, match="the test objective"):
        ls.loss_surface(objective, plane, resolution=2, test=zoo.build("digits-mlp", epochs=0, samples=50))


def in_one_batch(model: nn.Module, theta: np.ndarray, objective: ls.Objective) -> float:
    """The loss with all data in one batch in training mode: torch's own batch norm."""
    alike = convolutional(0)[0].train()
    torch.nn.utils.vector_to_parameters(torch.from_numpy(theta), alike.parameters())
    inputs, targets = (torch.cat([batch[side] for batch in objective._batches]) for side in (0, 1))
    return nn.functional.cross_entropy(alike(inputs), targets).item()


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("layer_bytes", [2**28, 1])
def test_recomputed_statistics_are_those_of_one_batch(seed, layer_bytes, monkeypatch):
    """Both ways to find them: all data at once, or layer after layer."""
    monkeypatch.setattr(_statistics, "LAYER_BYTES", layer_bytes)
    model, objective = convolutional(seed, micro_batch=7)
    assert _statistics.Statistics(objective).passes == (1 if layer_bytes > 1 else 3)
    plane = ls.Plane.random(objective, seed)
    surface = ls.loss_surface(objective, plane, resolution=2, batchnorm="recompute", quantities=["gradient_norm"])
    for row, column in ((0, 0), (1, 0)):
        theta = plane.point(surface.x[column], surface.y[row])
        assert surface.loss[row, column] == pytest.approx(in_one_batch(model, theta, objective), rel=1e-10)
    assert surface.batchnorm == "recompute"
    frozen = ls.loss_surface(objective, plane, resolution=2)
    assert abs(frozen.loss / surface.loss - 1).min() > 1e-3 and frozen.batchnorm == "eval"


@pytest.mark.parametrize("seed", [0, 1])
def test_statistics_of_each_micro_batch(seed):
    _, objective = convolutional(seed, micro_batch=8)
    plane = ls.Plane.random(objective, seed)
    surface = ls.loss_surface(objective, plane, resolution=2, batchnorm="batch")
    alike = convolutional(0)[0].train()
    torch.nn.utils.vector_to_parameters(torch.from_numpy(plane.point(surface.x[0], surface.y[1])), alike.parameters())
    losses = [nn.functional.cross_entropy(alike(inputs), targets).item() for inputs, targets in objective._batches]
    assert surface.loss[1, 0] == pytest.approx(np.mean(losses), rel=1e-10)
    assert surface.batchnorm == "batch"
    with pytest.raises(InputError, match="gradient_norm need a loss that is a mean over samples"):
        ls.loss_surface(objective, plane, resolution=2, batchnorm="batch", quantities=["gradient_norm"])
    with pytest.raises(InputError, match="a quadratic model needs"):
        ls.loss_surface(objective, plane, resolution=2, batchnorm="batch", model=True)
    model, _ = convolutional(seed)
    batches = [(torch.randn(size, 1, 8, 8).double(), torch.randint(0, 3, (size,))) for size in (16, 1)]
    alone = ls.Objective(model, nn.CrossEntropyLoss(), batches)
    with pytest.raises(InputError, match=r"micro-batch 1 of 2 \(samples 16 to 16\) has no statistics"):
        ls.loss_surface(alone, plane, resolution=2, batchnorm="batch")


def test_modes_of_networks_without_batch_norm_and_modes_that_are_not_there():
    objective, _, _ = quadratic(3, 0)
    plane = ls.Plane(np.zeros(3), np.eye(2, 3))
    assert ls.loss_surface(objective, plane, resolution=2, batchnorm="recompute").batchnorm == "none"
    with pytest.raises(InputError, match="one of eval, recompute, batch, not 'train'"):
        ls.loss_surface(objective, plane, resolution=2, batchnorm="train")


class Twice(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear, self.norm = nn.Linear(3, 3), nn.BatchNorm1d(3)

    def forward(self, x):
        return self.norm(self.linear(self.norm(x)))


def test_a_layer_that_is_used_twice_has_no_statistics_of_its_own():
    objective = ls.Objective(Twice(), nn.CrossEntropyLoss(), (torch.randn(9, 3), torch.randint(0, 3, (9,))))
    with pytest.raises(InputError, match="'norm' more than once"):
        ls.loss_surface(objective, ls.Plane.random(objective), resolution=2, batchnorm="recompute")


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_quadratic_model_of_a_quadratic_is_the_surface(seed):
    objective, _, _ = quadratic(9, seed)
    pairs = ls.eigenpairs(ls.Hessian(objective), k=2, which="both", tol=1e-9)
    random = ls.Plane.through(*np.random.default_rng(seed).standard_normal((3, 9)))
    for plane, asked in (
        (ls.Plane.eigenvectors(pairs, "ends"), None),
        (ls.Plane.gradient(objective, pairs), None),
        (random, True),
    ):
        surface = ls.loss_surface(objective, plane, resolution=5, model=asked)
        assert surface.model == pytest.approx(surface.loss, rel=1e-7)
        assert abs(surface.model_error).max() < 1e-7 * surface.loss.max()
        assert surface.provenance["model"]["loss"] == pytest.approx(objective.at(plane.origin).loss())
    assert ls.loss_surface(objective, random, resolution=2).model.shape == (0, 0)
    assert np.isnan(ls.loss_surface(objective, random, resolution=2).model_error).all()
    assert ls.loss_surface(objective, ls.Plane.eigenvectors(pairs), resolution=2, model=False).model.size == 0


def second_derivatives(model: nn.Module, objective: ls.Objective, plane: ls.Plane, statistics=None) -> np.ndarray:
    """Along both axes of a plane, by torch alone; in training mode ``statistics`` are those of the whole data."""
    (inputs, targets), origin = objective_data(objective), torch.from_numpy(plane.origin)
    directions = torch.from_numpy(plane.directions)
    names, sizes = [name for name, _ in model.named_parameters()], [p.numel() for p in model.parameters()]

    def loss(z):
        parts = (origin + z @ directions).split(sizes)
        values = {name: one.view(p.shape) for name, one, p in zip(names, parts, model.parameters(), strict=True)}
        output = torch.func.functional_call(model, {**values, **(statistics or {})}, inputs)
        return nn.functional.cross_entropy(output, targets)

    return torch.autograd.functional.hessian(loss, torch.zeros(2).double()).numpy()


def objective_data(objective: ls.Objective) -> tuple[torch.Tensor, torch.Tensor]:
    inputs, targets = zip(*objective._batches, strict=True)
    return torch.cat(inputs), torch.cat(targets)


@pytest.mark.parametrize("operator", [ls.Hessian, ls.GaussNewton, ls.EmpiricalFisher])
def test_the_model_bends_as_the_loss_whatever_matrix_the_directions_are_of(operator):
    model, objective = convolutional(1)
    _, other = convolutional(2)
    exact_pairs = ls.eigenpairs(operator(objective), k=2, tol=1e-8)
    for pairs in (exact_pairs, ls.eigenpairs(operator(other.at(objective.theta, objective.buffers)), k=2)):
        plane = ls.Plane.eigenvectors(pairs)
        assert np.isfinite(plane.curvature).all() == (operator is ls.Hessian)
        expected = second_derivatives(model.eval(), objective, plane)
        surface = ls.loss_surface(objective, plane, resolution=2)
        assert surface.provenance["model"]["curvature"] == pytest.approx(expected, rel=1e-5, abs=1e-6)
        assert surface.curvature == pytest.approx(np.diag(expected), rel=1e-5)
        line = ls.loss_profile(objective, plane, axis=2, points=2)
        assert line.curvature == pytest.approx(expected[1, 1], rel=1e-5)
    silent = ls.loss_surface(objective, plane, resolution=2, model=False)
    assert np.isnan(silent.curvature).all() and silent.model.size == 0


def test_the_model_has_the_statistics_of_the_surface():
    model, objective = convolutional(3)
    plane = ls.Plane.eigenvectors(ls.eigenpairs(ls.Hessian(objective), k=2))
    own, statistics = [part for part in model if hasattr(part, "running_var")], {}
    for name, part in model.named_modules():
        if part in own:
            part.register_forward_pre_hook(lambda _, given, name=name: statistics.update(moments(name, given[0])))
    with torch.no_grad():
        copied = copy.deepcopy(model).train()
        nn.utils.vector_to_parameters(torch.from_numpy(plane.origin), copied.parameters())
        copied(objective_data(objective)[0])
    expected = second_derivatives(model.eval(), objective, plane, dict(statistics))
    surface = ls.loss_surface(objective, plane, resolution=2, batchnorm="recompute")
    assert surface.provenance["model"]["curvature"] == pytest.approx(expected, rel=1e-6)
    assert abs(surface.curvature - plane.curvature).min() > 0.01 * abs(plane.curvature).max()
    line = ls.loss_profile(objective, plane, points=2, batchnorm="recompute")
    assert line.curvature == pytest.approx(expected[0, 0], rel=1e-6)


def moments(name: str, given: torch.Tensor) -> dict[str, torch.Tensor]:
    dims = [dim for dim in range(given.dim()) if dim != 1]
    return {f"{name}.running_mean": given.mean(dims), f"{name}.running_var": given.var(dims, unbiased=False)}


def test_a_grid_that_does_not_fit_into_memory_says_what_would(monkeypatch):
    objective, _, _ = quadratic(3, 0)
    plane = ls.Plane(np.zeros(3), np.eye(2, 3))
    monkeypatch.setattr("landscape.surface.host_bytes", lambda: 2e6)
    with pytest.raises(
        InputError, match=r"200 × 300 points with 2 numbers at each of them takes about .* 88 × 88 would"
    ):
        ls.loss_surface(objective, plane, resolution=(200, 300), quantities=["gradient_norm"])
    ls.loss_surface(objective, plane, resolution=(3, 2), quantities=["gradient_norm"])
    monkeypatch.undo()
    for huge in ((10**12, 2), 2 * 10**9, 10**30):
        with pytest.raises(InputError, match=r"of memory are for it; \d+ × \d+ would fit"):
            ls.loss_surface(objective, plane, resolution=huge)


class Smaller:
    """Ranks of which another one has less memory."""

    def all_gather_object(self, value):
        return [value, 2e6]


def test_the_smallest_memory_of_all_ranks_counts():
    check_memory(15_000, 1, "a grid", str, Smaller())
    with pytest.raises(InputError, match="15625 would fit"):
        check_memory(16_000, 1, "a grid", str, Smaller())


def test_two_quantities_of_one_name():
    objective, _, _ = quadratic(3, 0, metrics={"gradient_norm": lambda output, target: output.mean()})
    with pytest.raises(InputError, match="'gradient_norm': give the metric another name"):
        ls.loss_surface(objective, ls.Plane(np.zeros(3), np.eye(2, 3)), resolution=2, quantities=["gradient_norm"])
