"""Directions of other kinds than runs and points, beside dense Hessians and their definitions."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import landscape as ls
from landscape.errors import InputError
from landscape.geometry.layout import layout_of


def network(seed: int) -> ls.Objective:
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1)).double()
    return ls.Objective(model, nn.MSELoss(), (torch.randn(30, 3).double(), torch.randn(30, 1).double()))


def hessian(objective: ls.Objective) -> np.ndarray:
    return (ls.Hessian(objective) @ torch.eye(objective.n, dtype=objective.dtype)).numpy()


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_layer_normalization_gives_each_matrix_its_norm_and_leaves_biases(seed):
    objective = network(seed)
    plane = ls.Plane.random(objective, seed, normalize="layer")
    theta = objective.theta.numpy()
    for name, part in layout_of(objective, objective.n).parts():
        for direction in plane.directions:
            wanted = np.linalg.norm(theta[part]) if "weight" in name else 0
            assert np.linalg.norm(direction[part]) == pytest.approx(wanted)
    same = ls.Plane.random(objective, seed, normalize=None)
    weight = slice(0, 12)  # within a layer the direction is that of the Gaussian vector
    one, other = plane.directions[0][weight], same.directions[0][weight]
    assert one / np.linalg.norm(one) == pytest.approx(other / np.linalg.norm(other))
    assert plane.unit == "norms of the layers" and plane.axis_sources[0] == f"random, seed {seed}, layer-normalized"
    assert same.axis_sources[1] == f"random, seed {seed}, orthonormal"


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_largest_and_the_smallest_eigenvector(seed):
    objective = network(seed)
    values, vectors = np.linalg.eigh(hessian(objective))
    pairs = ls.eigenpairs(ls.Hessian(objective), k=2, which="both", tol=1e-8)
    for indices in ("ends", (0, -1), (0, 3)):
        plane = ls.Plane.eigenvectors(pairs, indices)
        assert plane.curvature == pytest.approx([values[-1], values[0]], rel=1e-6)
        assert abs(plane.directions[0] @ vectors[:, -1]) == pytest.approx(1, abs=1e-6)
        assert abs(plane.directions[1] @ vectors[:, 0]) == pytest.approx(1, abs=1e-6)
        assert plane.axes == ("eigenvector_1", "eigenvector_n")
    assert plane.axis_sources[0].startswith(f"eigenvector 1 of the Hessian, λ = {values[-1]:.4g}, residual ")
    assert plane.axis_sources[1].startswith(f"eigenvector 1 from the smallest of the Hessian, λ = {values[0]:.4g}")
    assert ls.Plane.eigenvectors(pairs, (1, 2)).axes == ("eigenvector_2", "eigenvector_n-1")
    lowest = ls.eigenpairs(ls.Hessian(objective), k=2, which="smallest", tol=1e-8)
    assert ls.Plane.eigenvectors(lowest).axes == ("eigenvector_n", "eigenvector_n-1")
    largest = ls.eigenpairs(ls.Hessian(objective), k=2)
    with pytest.raises(InputError, match='which="both"'):
        ls.Plane.eigenvectors(largest, "ends")
    for wrong in ((0, 2), (0, -2), (-3, 1), "smallest"):
        with pytest.raises(InputError, match="indices must be two"):
            ls.Plane.eigenvectors(largest, wrong)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_gradient_and_eigenvector(seed):
    objective = network(seed)
    matrix, slope = hessian(objective), objective.gradient().numpy()
    pairs = ls.eigenpairs(ls.Hessian(objective), k=3, tol=1e-8)
    elsewhere = objective.at(objective.theta + 1)
    for index in (0, 2, -1):
        plane = ls.Plane.gradient(elsewhere, pairs, index)  # it moves to where the pairs are
        first, second = plane.directions
        assert first == pytest.approx(slope / np.linalg.norm(slope))
        vector = pairs.vectors[:, index]
        across = vector - first * (first @ vector)
        assert second == pytest.approx(across / np.linalg.norm(across))
        assert first @ second == pytest.approx(0, abs=1e-12)
        assert plane.curvature == pytest.approx([first @ matrix @ first, second @ matrix @ second], rel=1e-6)
    assert plane.axes == ("gradient", "eigenvector_3") and plane.kind == "gradient"
    assert plane.axis_sources[0] == f"gradient of the loss, norm {np.linalg.norm(slope):.4g}"
    assert plane.axis_sources[1].endswith("perpendicular to the gradient")
    rise = max(pairs.loss, 1)
    for reach, along, bent in zip(plane.extent[1::2], (first @ slope, second @ slope), plane.curvature, strict=True):
        assert abs(along) * reach + 0.5 * abs(bent) * reach**2 <= rise * (1 + 1e-9)
    single = ls.eigenpairs(ls.Hessian(objective), k=1)
    assert ls.Plane.gradient(objective, single).axes == ("gradient", "eigenvector_1")


def test_without_a_gradient_there_is_no_direction():
    model = nn.Linear(2, 1, bias=False).double()
    with torch.no_grad():
        model.weight.zero_()
    objective = ls.Objective(model, nn.MSELoss(), (torch.eye(2).double(), torch.zeros(2, 1).double()))
    pairs = ls.eigenpairs(ls.Hessian(objective), k=1)
    with pytest.raises(InputError, match="the gradient is zero"):
        ls.Plane.gradient(objective, pairs)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_vectors_of_the_user(seed):
    objective = network(seed)
    u, v = np.random.default_rng(seed).standard_normal((2, objective.n))
    plane = ls.Plane.along(objective, u, torch.from_numpy(v), axes=("forgetting", "learning"))
    assert plane.directions @ plane.directions.T == pytest.approx(np.eye(2), abs=1e-12)
    assert plane.directions[0] == pytest.approx(u / np.linalg.norm(u))
    assert np.linalg.matrix_rank(np.stack([*plane.directions, v]), tol=1e-10) == 2
    assert plane.extent == pytest.approx(np.array([-1, 1, -1, 1]) * np.linalg.norm([u, u, v, v], axis=1))
    assert plane.axes == ("forgetting", "learning")
    assert plane.axis_sources == ("given by the user", "given by the user, perpendicular to forgetting")
    raw = ls.Plane.along(objective, u, v, orthonormalize=False, sources=("mine", "yours"))
    assert np.array_equal(raw.directions, [u, v]) and raw.unit == "lengths of the given directions"
    assert raw.axis_sources == ("mine", "yours") and raw.extent == (-1, 1, -1, 1)
    part = {"2.weight": np.ones((1, 4))}
    plane = ls.Plane.along(objective, part, v)
    assert np.flatnonzero(plane.directions[0]).tolist() == [16, 17, 18, 19]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"u": np.zeros(21)}, "direction u is zero"),
        ({"u": np.full(21, np.nan)}, "NaN or inf"),
        ({"u": np.ones(5)}, "has 5 numbers, but the model has n = 21"),
        ({"u": {"3.weight": np.ones(4)}}, "'3.weight', but there is no such parameter; there are 0.weight"),
        ({"u": {"2.weight": np.ones(4)}}, r"has shape \(4,\) in '2.weight', but the model has \(1, 4\)"),
        ({"v": 2 * np.arange(21.0)}, "span no plane"),
        ({"axes": ("u", "u")}, "two different names"),
        ({"axes": ("u", "")}, "two different names"),
    ],
)
def test_vectors_that_make_no_plane(options, message):
    with pytest.raises(InputError, match=message):
        ls.Plane.along(network(0), **{"u": np.arange(21.0), "v": np.ones(21), **options})


def test_the_source_of_each_direction_goes_into_the_surface():
    objective = network(0)
    surface = ls.loss_surface(objective, ls.Plane.random(objective, seed=4), resolution=2)
    assert surface.axis_sources.tolist() == ["random, seed 4, filter-normalized"] * 2
    assert ls.Plane.through(*np.eye(3)).axis_sources[0] == "from point a to point b"
