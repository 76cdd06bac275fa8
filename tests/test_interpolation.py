"""Profiles of paths: closed forms on quadratics, the objective itself on networks; resuming; bad input."""

from __future__ import annotations

import dataclasses
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import landscape as ls
from landscape import zoo
from landscape._evaluation import Evaluator
from landscape._path_spectra import chains_from_ends
from landscape._statistics import Statistics
from landscape.records.parts import record_parts
from tests.cases import cases
from tests.test_surface import quadratic

TIMES = ("seconds", "gradient_equivalents", "provenance")


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("weight_decay", [0.0, 0.3])
def test_a_quadratic_has_the_closed_form(seed: int, weight_decay: float) -> None:
    objective, matrix, best = quadratic(12, seed, weight_decay=weight_decay)
    rows = torch.cat([batch[0] for batch in objective._batches]).numpy()
    a, b = np.random.default_rng(seed + 5).standard_normal((2, 12))
    profile = ls.interpolate(
        objective, ls.LinearPath(a, b), points=5, margin=0.25, spectra=True, pairs=3, pair_tol=1e-9, chain=2
    )
    hessian = matrix + weight_decay * np.eye(12)
    d, s = b - a, profile.s
    assert s.tolist() == [-0.25, 0, 0.25, 0.5, 0.75, 1, 1.25]
    assert np.abs(profile.excess + 0.5 * s * (1 - s) * (d @ hessian @ d)).max() <= 1e-10
    assert profile.barrier == 0.0
    assert [profile.length, profile.distance] == pytest.approx([np.linalg.norm(d)] * 2)
    u = d / np.linalg.norm(d)
    thetas = a + s[:, None] * d
    gradients = (thetas - best) @ matrix + weight_decay * thetas
    assert profile.slopes == pytest.approx(gradients @ u, rel=1e-10)
    assert profile.gradient_norms == pytest.approx(np.linalg.norm(gradients, axis=1), rel=1e-12)
    assert profile.curvatures == pytest.approx(np.full(7, u @ hessian @ u), rel=1e-12)
    values, vectors = np.linalg.eigh(hessian)
    assert profile.values == pytest.approx(np.tile(values[:-4:-1], (7, 1)), rel=1e-9)
    assert profile.smallest == pytest.approx(np.full(7, values[0]), rel=1e-7)
    assert (profile.residuals <= 1e-9 * values[-1] * 1.001).all()
    assert profile.tangent_overlap == pytest.approx(np.full(7, ((vectors[:, -3:].T @ u) ** 2).sum()), rel=1e-7)
    assert np.abs(profile.end_overlap - 1).max() <= 1e-12
    for density in profile.densities:
        assert np.sort(density.nodes) == pytest.approx(values, rel=1e-8)
        assert density.trace == pytest.approx(np.trace(hessian)) and density.error < 1e-12
    assert profile.distances == pytest.approx(np.abs(np.stack([s, s - 1], 1)) * profile.length)
    outputs = np.sqrt(((rows @ d) ** 2).mean()) * np.abs(np.stack([s, s - 1], 1))
    assert profile.function_distances == pytest.approx(outputs, rel=1e-12)
    assert profile.end_loss.tolist() == [objective.at(a).loss(), objective.at(b).loss()]
    assert profile.coordinates.shape == (0, 2) and profile.end_names.tolist() == ["A", "B"]


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_convex_logistic_regression_has_no_barrier(seed: int) -> None:
    random = np.random.default_rng(seed)
    x = torch.from_numpy(random.standard_normal((60, 4)))
    y = torch.from_numpy(random.integers(0, 3, 60))
    objective = ls.Objective(nn.Linear(4, 3).double(), nn.CrossEntropyLoss(), (x, y))
    a, b = 2 * random.standard_normal((2, objective.n))
    profile = ls.interpolate(objective, ls.LinearPath(a, b), points=21, pairs=2)
    assert profile.barrier == 0.0 and (profile.excess[1:-1] < 0).all()
    assert (profile.curvatures > 0).all() and (profile.smallest > -1e-9).all()
    assert (np.diff(profile.slopes) > 0).all()  # of a convex function they rise


@pytest.fixture(scope="module")
def network() -> tuple[ls.Objective, ls.Objective, ls.LinearPath]:
    """Batch norm, whose statistics differ at the ends; other data; a path."""
    objective = cases()["convolution and batch norm"].objective(
        metrics={"accuracy": lambda output, target: (output.argmax(1) == target).double().mean()}
    )
    generator = torch.Generator().manual_seed(5)
    data = torch.randn(11, 1, 6, 6, generator=generator).double(), torch.randint(0, 3, (11,), generator=generator)
    test = ls.Objective(objective.model(), nn.CrossEntropyLoss(), data)
    return objective, test, ls.LinearPath(*(another(objective, seed) for seed in (0, 1)), names=("here", "there"))


def another(objective: ls.Objective, seed: int) -> ls.Checkpoint:
    """A point some way off, with statistics of its own."""
    random = np.random.default_rng(seed)
    buffers = {name: value.numpy().copy() for name, value in objective.buffers.items()}
    for name, value in buffers.items():
        if value.ndim:
            buffers[name] = value * (1 + 0.3 * random.random(value.shape))
    theta = objective.theta.numpy() + 0.5 * random.standard_normal(objective.n)
    return ls.Checkpoint(theta, buffers, objective.names, tuple(map(tuple, objective.shapes)))


def test_points_are_those_of_the_objective(network: Any) -> None:
    objective, test, path = network
    before = objective._digest(), torch.random.get_rng_state()
    options: dict[str, Any] = {"points": 3, "margin": 0.5, "test": test, "pairs": 2, "spectra": True, "tol": 0.3}
    profile = ls.interpolate(objective, path, **options)
    assert objective._digest() == before[0] and torch.equal(torch.random.get_rng_state(), before[1])
    assert profile.s.tolist() == [-0.5, 0, 0.5, 1, 1.5] and profile.batchnorm == "eval"
    assert profile.warm.tolist() == [True, False, True, False, True]
    for row, s in enumerate(profile.s):
        buffers = {name: torch.from_numpy(value) for name, value in path.buffers(s).items()}
        there = objective.at(path.point(s), buffers)
        assert profile.loss[row] == pytest.approx(there.loss(), rel=1e-12)
        assert profile.metrics["accuracy"][row] == pytest.approx(there.evaluate()["accuracy"])
        assert profile.metrics["test_loss"][row] == pytest.approx(test.at(path.point(s), buffers).loss(), rel=1e-12)
        assert profile.samples[:, row] @ profile.sample_weights / 23 == pytest.approx(profile.loss[row], rel=1e-12)
        gradient = there.gradient().numpy()
        assert profile.gradient_norms[row] == pytest.approx(np.linalg.norm(gradient))
        assert profile.slopes[row] == pytest.approx(gradient @ path.tangent(s))
        hessian = ls.Hessian(there)
        assert profile.curvatures[row] == pytest.approx(path.tangent(s) @ (hessian @ path.tangent(s)))
        arrays, facts = record_parts(ls.spectral_density(hessian, tol=0.3), TIMES)
        found_arrays, found_facts = record_parts(profile.densities[row], TIMES)
        assert all(np.array_equal(found_arrays[name], array, equal_nan=True) for name, array in arrays.items())
        assert repr(found_facts) == repr(facts)
        exact, vectors = np.linalg.eigh(np.asarray(hessian @ np.eye(there.n)))
        scale = np.abs(exact).max()
        assert np.abs(profile.values[row] - exact[:-3:-1]).max() <= 1e-5 * scale
        assert abs(profile.smallest[row] - exact[0]) <= 1e-5 * scale
        pairs = ls.eigenpairs(hessian, 2)
        assert np.abs(pairs.values - profile.values[row]).max() <= 1e-6 * scale
        overlap = ((vectors[:, -2:].T @ path.tangent(s)) ** 2).sum()
        assert profile.tangent_overlap[row] == pytest.approx(overlap, abs=1e-2)
    assert profile.end_loss.tolist() == [objective.at(end).loss() for end in path.ends]
    assert profile.end_overlap[[1, 3], [0, 1]] == pytest.approx([1, 1]) and (profile.end_overlap <= 1 + 1e-9).all()
    assert profile.end_overlap[1, 1] == pytest.approx(profile.end_overlap[3, 0])
    assert profile.function_distances[[1, 3], [0, 1]].tolist() == [0, 0]
    assert profile.function_distances[1, 1] == pytest.approx(profile.function_distances[3, 0])
    inputs = torch.cat([batch[0] for batch in objective._batches])
    outputs = [there.output(there.variables(), inputs).detach() for there in map(objective.at, path.ends)]
    apart = ((outputs[0] - outputs[1]) ** 2).sum(1).mean().sqrt().item()
    assert profile.function_distances[1, 1] == pytest.approx(apart)
    assert profile.end_names.tolist() == ["here", "there"] and profile.evaluations == 7


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_curved_path_is_walked_by_its_length(seed: int) -> None:
    objective, matrix, best = quadratic(6, seed)
    a, b, control = np.random.default_rng(seed).standard_normal((3, 6))
    path = ls.BezierPath(a, b, control[None], names=("first", "last"))
    path.fit_loss = np.array([3.0, 2.0, 1.0])
    profile = ls.interpolate(objective, path, points=9, margin=0.125, pairs=1)
    thetas = np.array([path.point(s) for s in profile.s])
    assert profile.loss == pytest.approx(0.5 * np.einsum("pn,nm,pm->p", thetas - best, matrix, thetas - best))
    steps = np.linalg.norm(np.diff(thetas, axis=0), axis=1)
    assert profile.length > profile.distance and steps == pytest.approx(np.full(10, profile.length / 8), rel=0.2)
    tangents = np.array([path.tangent(s) for s in profile.s])
    assert profile.slopes == pytest.approx(np.einsum("pn,nm,pm->p", thetas - best, matrix, tangents))
    assert profile.curvatures == pytest.approx(np.einsum("pn,nm,pm->p", tangents, matrix, tangents))
    assert np.array_equal(profile.coordinates, path.coordinates(profile.s)) and profile.coordinates.shape == (11, 2)
    assert profile.distances[:, 0] == pytest.approx(np.linalg.norm(thetas - a, axis=1))
    assert (profile.path, profile.fit_loss.tolist()) == ("bezier", [3.0, 2.0, 1.0])


def test_without_derivatives_and_spectra_there_are_none(network: Any, tmp_path: Path) -> None:
    objective, _, path = network
    plain = ls.interpolate(objective, path, points=3, derivatives=False, subsamples=4)
    assert plain.gradient_norms.size == plain.slopes.size == plain.curvatures.size == plain.values.size == 0
    assert len(plain.densities) == 0 and plain.samples.shape == (4, 3) and np.isnan(plain.lambda_max).all()
    full = ls.interpolate(objective, path, points=3, pairs=1, spectra=True, tol=0.5, batchnorm="recompute")
    assert np.array_equal(full.unrepaired_loss, plain.loss)
    loaded = ls.load(full.save(tmp_path / "path.h5"))
    for one in dataclasses.fields(full):
        before, after = getattr(full, one.name), getattr(loaded, one.name)
        same = np.array_equal(before, after) if isinstance(before, np.ndarray) else repr(before) == repr(after)
        assert same, one.name


def test_recomputed_statistics_are_those_of_the_data(network: Any) -> None:
    objective, test, path = network
    profile = ls.interpolate(objective, path, points=5, margin=0.25, batchnorm="recompute", test=test, pairs=1)
    statistics, evaluator, beside = Statistics(objective), Evaluator(objective), Evaluator(test)
    for row, s in enumerate(profile.s):
        theta = torch.from_numpy(path.point(s))
        buffers = {name: torch.from_numpy(value) for name, value in path.buffers(s).items()}
        there = statistics.at(theta, buffers)
        assert profile.loss[row] == pytest.approx(evaluator.evaluate(theta, there)[0], rel=1e-13)
        assert profile.unrepaired_loss[row] == pytest.approx(evaluator.evaluate(theta, buffers)[0], rel=1e-13)
        assert profile.metrics["test_loss"][row] == pytest.approx(beside.evaluate(theta, there)[0], rel=1e-13)
        moved = objective.at(theta, there)
        assert profile.slopes[row] == pytest.approx(moved.gradient().numpy() @ path.tangent(s))
        exact = np.linalg.eigvalsh(np.asarray(ls.Hessian(moved) @ np.eye(moved.n)))
        assert profile.values[row, 0] == pytest.approx(exact[-1], rel=1e-5)
    assert profile.batchnorm == "recompute"
    assert profile.end_loss.tolist() == [objective.at(end).loss() for end in path.ends]
    bare = ls.interpolate(objective, ls.LinearPath(*(end.theta for end in path.ends)), points=5, batchnorm="recompute")
    assert np.array_equal(bare.loss, profile.loss[1:-1]) and np.isnan(bare.end_loss).all()
    assert bare.unrepaired_loss.size == 0


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_error_of_the_barrier_is_that_of_a_bootstrap(seed: int) -> None:
    ends = [zoo.build("digits-mlp", epochs=4, seed=one, samples=600) for one in (seed, seed + 10)]
    objective = ends[0]
    path = ls.LinearPath(*ends)
    profile = ls.interpolate(objective, path, points=9, derivatives=False, seed=seed)
    inputs, targets = (torch.cat([batch[side] for batch in objective._batches]) for side in (0, 1))
    losses = []
    for s in (0.0, profile.barrier_at, 1.0):
        there = objective.at(path.point(s))
        output = there.output(there.variables(), inputs)
        losses.append(nn.functional.cross_entropy(output, targets, reduction="none").detach().double().numpy())
    s = profile.barrier_at
    excess = losses[1] - (1 - s) * losses[0] - s * losses[2]
    assert profile.barrier == pytest.approx(excess.mean(), rel=1e-5)
    random = np.random.default_rng(seed)
    again = [excess[random.integers(0, 600, 600)].mean() for _ in range(2000)]
    # Fifty parts know a standard deviation to a tenth; three times that.
    assert profile.barrier_stderr == pytest.approx(np.std(again), rel=0.3)
    low, high = profile.barrier_band()
    assert low < profile.barrier < high


class CutShortError(Exception):
    pass


def test_a_profile_that_was_cut_short_goes_on_with_the_same_bits(tmp_path: Path) -> None:
    objective, _, best = quadratic(12, 3)
    path = ls.LinearPath(best + 1, -best)
    options: dict[str, Any] = {"points": 4, "margin": 0.4, "pairs": 2, "spectra": True, "tol": 0.5, "chain": 1}
    totals: list[int] = []
    whole = ls.interpolate(objective, path, **options, progress=lambda done, total, _: totals.append(total))
    (total,) = set(totals)
    assert total == 8 + 2 + 6 + 6  # losses and ends, their pairs, all pairs, densities
    for cut in (3, 9, 13, total - 1):
        state = tmp_path / f"state-{cut}"

        def stop(done: int, total: int, text: str, cut: int = cut) -> None:
            if done == cut:
                raise CutShortError

        with pytest.raises(CutShortError):
            ls.interpolate(objective, path, **options, state=state, checkpoint_seconds=0, progress=stop)
        resumed = ls.interpolate(objective, path, **options, state=state)
        assert resumed.provenance["resumed_points"] == cut
        same_bits(resumed, whole)
    with pytest.raises(ls.InputError, match="chain: 1 there, 3 now"):
        ls.interpolate(objective, path, **(options | {"chain": 3}), state=state)
    other = ls.LinearPath(*reversed(path.ends))
    with pytest.raises(ls.InputError, match="path_sha256"):
        ls.interpolate(objective, other, **options, state=state)


def same_bits(one: ls.PathProfile, other: ls.PathProfile) -> None:
    arrays, other_arrays = record_parts(one)[0], record_parts(other)[0]
    for name, array in arrays.items():
        assert np.array_equal(array, other_arrays[name], equal_nan=array.dtype.kind == "f"), name
    for name in ("metrics", "pieces", "lengths"):
        before, after = getattr(one, name), getattr(other, name)
        assert before.keys() == after.keys()
        assert all(np.array_equal(before[key], after[key], equal_nan=True) for key in before), name


@pytest.mark.parametrize("length", [1, 2, 3, 5, 100])
def test_chains_hold_every_point_once_and_lead_from_neighbour_to_neighbour(length: int) -> None:
    for points, first, last in ((2, 0, 1), (3, 0, 2), (25, 0, 24), (37, 6, 30)):
        chains = chains_from_ends(points, first, last, length)
        assert sorted(index for chain in chains for index in chain) == list(range(points))
        assert all(abs(one - other) == 1 for chain in chains for one, other in pairwise(chain))
        assert max(map(len, chains)) <= length + 1
        assert chains[0][0] == first and [last] in [chain[:1] for chain in chains]


def test_what_cannot_be_seen_is_unknown(network: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    loss = lambda model, batch: nn.functional.cross_entropy(model(batch[0]), batch[1])  # noqa: E731
    data = [(torch.randn(8, 3), torch.randint(0, 2, (8,))) for _ in range(3)]
    objective = ls.Objective(nn.Linear(3, 2), loss, data)
    profile = ls.interpolate(objective, ls.LinearPath(np.zeros(8), np.ones(8)), points=3)
    assert np.isnan(profile.function_distances).all() and profile.samples.shape == (3, 3)
    assert profile.provenance["no_function_distances"] == "outputs are not seen"
    with monkeypatch.context() as less:
        less.setattr("landscape._outputs.KEPT_BYTES", 1000)  # 23 samples, three outputs, two ends: 1104 bytes
        large = ls.interpolate(network[0], network[2], points=3, derivatives=False)
    assert np.isnan(large.function_distances).all() and np.isfinite(large.loss).all()
    assert "outputs take more than" in large.provenance["no_function_distances"]
    far = ls.LinearPath(np.zeros(8), np.full(8, 1e38))
    clear = ls.Objective(nn.Linear(3, 2), nn.MSELoss(), (torch.randn(9, 3), torch.randn(9, 2)))
    holes = ls.interpolate(clear, far, points=3, subsamples=3)
    assert holes.holes == 2 and np.isnan(holes.slopes[1:]).all() and np.isfinite(holes.slopes[0])
    with pytest.raises(ls.InputError, match=r"the loss is inf at s = 0\.5, where there is no Hessian"):
        ls.interpolate(clear, far, points=3, pairs=1)


class OnceDifferentiable(torch.autograd.Function):
    @staticmethod
    def forward(context: Any, x: torch.Tensor) -> torch.Tensor:
        context.save_for_backward(x)
        return x**2

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(context: Any, slope: torch.Tensor) -> torch.Tensor:
        return 2 * context.saved_tensors[0] * slope


class Square(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return OnceDifferentiable.apply(x)


def test_a_derivative_that_cannot_be_computed_is_no_hole(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    data = torch.randn(20, 3), torch.randn(20, 1)
    once = ls.Objective(nn.Sequential(nn.Linear(3, 4), Square(), nn.Linear(4, 1)), nn.MSELoss(), data)
    path = ls.LinearPath(np.ones(21), np.zeros(21))
    with pytest.raises(ls.InputError, match=r"layer 1 \(Square\).*derivatives=False"):
        ls.interpolate(once, path, points=3)
    assert np.isfinite(ls.interpolate(once, path, points=3, derivatives=False).loss).all()

    def full(*arguments: Any) -> Any:
        raise RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 1 bytes")

    smooth = ls.Objective(nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1)), nn.MSELoss(), data)
    monkeypatch.setattr(ls.Hessian, "batch_products", full)
    with pytest.raises(ls.ComputeError, match="memory"):
        ls.interpolate(smooth, path, points=3)


def test_bad_input_is_named(network: Any) -> None:
    objective, _, path = network
    a, b = path.ends
    other = cases()["mlp"].objective()
    for message, arguments, options in (
        (r"'0\.weight'.*\(2, 1, 3, 3\)", (objective, ls.LinearPath(other, other.theta + 1)), {}),
        ("needs a path such as landscape.LinearPath", (objective, a), {}),
        ("needs a landscape.Objective, not Hessian", (ls.Hessian(objective), path), {}),
        ("points must be at least 2, not 1", (objective, path), {"points": 1}),
        ("margin must be finite and not negative", (objective, path), {"margin": -1}),
        ("pairs must not be negative", (objective, path), {"pairs": -1}),
        ("only n = ", (objective, path), {"pairs": objective.n + 1}),
        ("tol must be positive", (objective, path), {"spectra": True, "tol": 0}),
        ("chain must be at least 1", (objective, path), {"chain": 0}),
        ("batchnorm must be eval or recompute along a path, not 'batch'", (objective, path), {"batchnorm": "batch"}),
        ("A has no batch-norm statistics: the network uses '1.running_mean' and 1 more. Give a checkpoint",
         (objective, ls.LinearPath(a.theta, b.theta)), {}),
        ("test must be a landscape.Objective", (objective, path), {"test": 3}),
    ):  # fmt: skip
        with pytest.raises(ls.InputError, match=message):
            ls.interpolate(*arguments, **options)
    with pytest.raises(ls.InputError, match="same point"):
        ls.LinearPath(a, a)
    strange = dataclasses.replace(a, buffers={**a.buffers, "1.running_mean": np.zeros(3)})
    with pytest.raises(ls.InputError, match=r"buffer '1\.running_mean' has shape"):
        ls.interpolate(objective, ls.LinearPath(strange, dataclasses.replace(strange, theta=b.theta)))
