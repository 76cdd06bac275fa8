from __future__ import annotations

import numpy as np
import pytest
import torch

import landscape as ls
from landscape.errors import InputError
from landscape.geometry import principal, random_walk_shares
from tests.geometry.runs import Run, random_walk

SHAPES = ((3, 4), (3,), (2, 3), (2,))
NAMES = ("0.weight", "0.bias", "1.weight", "1.bias")
N = 23


def svd(theta: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    _, sizes, rows = np.linalg.svd(theta - theta.mean(0), full_matrices=False)
    return rows, sizes**2 / (sizes**2).sum()


def same_up_to_sign(found: np.ndarray, expected: np.ndarray, tolerance: float = 1e-8) -> None:
    for ours, theirs in zip(found, expected, strict=True):
        assert min(np.abs(ours - theirs).max(), np.abs(ours + theirs).max()) < tolerance
        assert ours[np.argmax(np.abs(ours))] > 0


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("panel", [2**30, 5 * N * 8, 1])
def test_pca_is_the_singular_value_decomposition_of_the_centred_checkpoints(seed, panel, monkeypatch):
    monkeypatch.setattr(principal, "PANEL_BYTES", panel)  # how many checkpoints are held at once
    monkeypatch.setattr(principal, "COLUMNS", 7)
    theta = 100 + random_walk(11, N, seed)
    plane = ls.Plane.pca(Run(theta, NAMES, SHAPES))
    rows, shares = svd(theta)
    same_up_to_sign(plane.directions, rows[:2])
    assert plane.explained_variance == pytest.approx(shares[:2])
    sums = np.append(0, np.cumsum((np.diff(theta, axis=0) ** 2).sum(1)))
    assert plane.explained_variance_null == pytest.approx(random_walk_shares([sums])[:2])
    assert np.array_equal(plane.origin, theta[-1])
    assert plane.coordinates(Run(theta)) == pytest.approx((theta - theta[-1]) @ plane.directions.T)
    low, high = plane.coordinates(theta).min(0), plane.coordinates(theta).max(0)
    assert plane.extent == pytest.approx((low[0], high[0], low[1], high[1]))
    assert (plane.kind, plane.axes, plane.unit) == ("pca", ("pca_1", "pca_2"), "distance in parameter space")


def test_pca_of_several_runs_other_components_and_the_mean_as_origin():
    runs = [random_walk(7, N, 0), random_walk(9, N, 1)]
    everything = np.concatenate(runs)
    plane = ls.Plane.pca([Run(runs[0]), Run(runs[1], block=2)], origin="mean", components=(2, 4))
    rows, shares = svd(everything)
    same_up_to_sign(plane.directions, rows[[1, 3]])
    assert plane.origin == pytest.approx(everything.mean(0))
    assert plane.explained_variance == pytest.approx(shares[[1, 3]])
    sums = [np.append(0, np.cumsum((np.diff(theta, axis=0) ** 2).sum(1))) for theta in runs]
    assert plane.explained_variance_null == pytest.approx(random_walk_shares(sums)[[1, 3]])
    assert plane.axes == ("pca_2", "pca_4")
    assert len(plane.runs) == 2


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("case", ["equal", "one to three", "different starts", "decaying", "masked"])
def test_random_walks_explain_what_their_null_says(case, seed):
    """Whatever the lengths of their steps, and wherever they start."""
    walks = [random_walk(length, 20000, [seed, length]) for length in (40, 25)]
    parameters = None
    if case == "one to three":
        walks[1] *= 3
    if case == "different starts":
        walks[1] = walks[1] + 5 * np.random.default_rng([seed, 7]).standard_normal(20000)
    if case == "decaying":
        scales = 0.9 ** np.arange(39)[:, None]
        walks = [
            np.concatenate([walk[:1], np.cumsum(np.diff(walk, axis=0) * scales[: len(walk) - 1], 0)]) for walk in walks
        ]
    if case == "masked":  # elsewhere, it is no random walk
        walks = [np.concatenate([walk, np.outer(np.arange(len(walk)), np.full(100, 100.0))], axis=1) for walk in walks]
        parameters = "walk"
    names, shapes = ("walk", "line"), ((20000,), (walks[0].shape[1] - 20000,))
    plane = ls.Plane.pca([Run(1 + walk, names, shapes) for walk in walks], parameters=parameters)
    assert plane.explained_variance == pytest.approx(plane.explained_variance_null, abs=0.02)
    if case in ("one to three", "different starts", "decaying"):
        before = random_walk_shares([range(40), range(25)])[:2]
        assert abs(plane.explained_variance_null - before).max() > 0.05


def test_a_mask_zeroes_the_directions_only():
    theta = random_walk(8, N, 3)
    plane = ls.Plane.pca(Run(theta, NAMES, SHAPES), parameters="weight")
    mask = np.zeros(N, bool)
    mask[:12] = mask[15:21] = True
    assert not plane.directions[:, ~mask].any()
    assert np.array_equal(plane.origin, theta[-1])
    rows, shares = svd(theta[:, mask])
    same_up_to_sign(plane.directions[:, mask], rows[:2])
    assert plane.explained_variance == pytest.approx(shares[:2])


def test_runs_whose_parameters_come_in_another_order():
    theta = random_walk(6, N, 4)
    order = [2, 0, 3, 1]
    parts = np.split(theta, np.cumsum([12, 3, 6]), axis=1)
    other = Run(
        np.concatenate([parts[k] for k in order], axis=1), [NAMES[k] for k in order], [SHAPES[k] for k in order]
    )
    plane = ls.Plane.pca(Run(theta, NAMES, SHAPES))
    assert plane.coordinates(other) == pytest.approx(plane.coordinates(Run(theta, NAMES, SHAPES)))
    doubled = ls.Plane.pca([Run(theta, NAMES, SHAPES), other])
    same_up_to_sign(doubled.directions, plane.directions)


def test_float32_checkpoints():
    theta = (10 + random_walk(9, 300, 5)).astype(np.float32)
    plane = ls.Plane.pca(Run(theta))
    assert plane.directions.dtype == plane.origin.dtype == np.float32
    assert plane.directions.astype(float) @ plane.directions.astype(float).T == pytest.approx(np.eye(2), abs=1e-6)
    same_up_to_sign(plane.directions, svd(theta.astype(float))[0][:2], 1e-6)


@pytest.mark.parametrize(
    ("theta", "message"),
    [
        (np.ones((1, 5)), "one checkpoint"),
        (np.ones((4, 5)), "4 checkpoints are identical"),
        (np.outer(np.arange(4.0), np.ones(5)), "vary in 1 direction only"),
        (np.outer(np.arange(2.0), np.ones(5)), "vary in 1 direction only"),
        ((3 + np.outer(np.linspace(0, 1, 9), np.sqrt(np.arange(50)))).astype(np.float32), "vary in 1 direction only"),
        (np.where(np.eye(4, 5) == 1, np.nan, 1.0), "the last checkpoint \\(step 3\\) of the run run holds NaN"),
        (
            np.where(np.eye(4, 5, -1) == 1, [[1], [np.nan], [2], [3]], np.eye(4, 5)),
            "checkpoint 1 \\(step 1\\) of the run",
        ),
    ],
)
def test_degenerate_runs_are_named(theta, message):
    with pytest.raises(InputError, match=message):
        ls.Plane.pca(Run(theta))


def test_bad_options_of_pca():
    run = Run(random_walk(5, 6, 0))
    for options, message in (
        ({"components": (1, 1)}, "two different numbers"),
        ({"components": (0, 1)}, "from 1 on"),
        ({"components": (1, 5)}, "component 5 does not exist"),
        ({"origin": "first"}, '"last" or "mean"'),
    ):
        with pytest.raises(InputError, match=message):
            ls.Plane.pca(run, **options)
    with pytest.raises(InputError, match="at least one run"):
        ls.Plane.pca([])
    with pytest.raises(InputError, match="n = 6 parameters, but the run run has 7"):
        ls.Plane.pca([run, Run(random_walk(5, 7, 0))])


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_coordinates_are_distances_and_projection_undoes_point(seed):
    a, b, c, d = np.random.default_rng(seed).standard_normal((4, 40))
    plane = ls.Plane.through(a, b, c)
    assert list(plane.anchors) == ["a", "b", "c"]
    for (name, place), theta in zip(plane.anchors.items(), (a, b, c), strict=True):
        assert plane.point(*place) == pytest.approx(theta), name
        assert plane.coordinates(theta)[0] == pytest.approx(place, abs=1e-12)
        assert plane.residual(theta)[0] < 1e-12
    places = np.array(list(plane.anchors.values()))
    for i, first in enumerate((a, b, c)):
        for j, second in enumerate((a, b, c)):
            assert np.linalg.norm(places[i] - places[j]) == pytest.approx(np.linalg.norm(first - second), abs=1e-12)
    # Pythagoras for a point beside the plane.
    coordinates, distance = plane.project(d)
    assert np.hypot(np.linalg.norm(coordinates[0]), distance[0]) == pytest.approx(np.linalg.norm(d - a))
    nearest = plane.point(*coordinates[0])
    assert distance[0] == pytest.approx(np.linalg.norm(d - nearest))


def test_through_checkpoints_runs_and_objectives():
    model = torch.nn.Linear(3, 2)
    objective = ls.Objective(model, torch.nn.MSELoss(), (torch.randn(8, 3), torch.randn(8, 2)))
    run = Run(random_walk(4, 8, 1).astype(np.float32), objective.names, [tuple(s) for s in objective.shapes])
    plane = ls.Plane.through(objective, run, run[1])
    assert plane.names == ("weight", "bias")
    assert plane.origin == pytest.approx(objective.theta.numpy())
    assert plane.point(*plane.anchors["b"]) == pytest.approx(run[-1].theta, abs=1e-6)
    nameless = ls.Plane.through(objective.theta, run[0].theta, run[1])
    assert nameless.names == ("weight", "bias")
    for bad, message in (
        ((run[0], run[0], run[1]), "span no plane"),
        ((run[0], run[1], Run(random_walk(2, 9, 0))[1]), "n = 8 parameters, but point c has 9"),
        ((np.zeros((2, 2)), run[1], run[2]), "a vector \\(n,\\)"),
    ):
        with pytest.raises(InputError, match=message):
            ls.Plane.through(*bad)


def pairs(**changes):
    n = 6
    vectors = np.linalg.qr(np.random.default_rng(0).standard_normal((n, n)))[0]
    options = {
        "values": np.array([8.0, 2.0, 0.0, -1.0]),
        "vectors": vectors[:, :4],
        "residuals": np.zeros(4),
        "converged": np.ones(4, bool),
        "tol": 1e-3,
        "scale": 8.0,
        "n": n,
        "theta": np.arange(6.0),
        "parameters": {"w": [2, 3]},
        "loss": 0.1,
    }
    return ls.EigenPairs(**{**options, **changes})


def test_eigenvectors():
    one = pairs()
    plane = ls.Plane.eigenvectors(one, (0, 3))
    assert plane.directions == pytest.approx(one.vectors[:, [0, 3]].T)
    assert plane.curvature.tolist() == [8.0, -1.0]
    assert plane.axes == ("eigenvector_1", "eigenvector_4")
    assert (plane.names, plane.shapes) == (("w",), ((2, 3),))
    assert plane.extent == pytest.approx((-0.5, 0.5, -np.sqrt(2), np.sqrt(2)))  # ½ · 8 · 0.5² = 1
    assert ls.Plane.eigenvectors(one, (0, 2)).extent[3] == pytest.approx(5.0)  # no curvature: ten times the other
    assert ls.Plane.eigenvectors(pairs(loss=4.0)).extent[1] == pytest.approx(1.0)
    with pytest.raises(InputError, match="from 0 to 3"):
        ls.Plane.eigenvectors(one, (0, 4))
    with pytest.raises(InputError, match="no objective"):
        ls.Plane.eigenvectors(pairs(theta=np.zeros(0)))


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_random_planes(seed):
    theta = np.random.default_rng(seed + 10).standard_normal(N)
    point = ls.Checkpoint(theta, names=NAMES, shapes=SHAPES, buffers={"mean": np.ones(2)})
    plane = ls.Plane.random(point, seed)
    for direction in plane.directions:
        for (_, part), shape in zip(plane.layout.parts(), SHAPES, strict=True):
            sizes = np.linalg.norm(direction[part].reshape(shape[0], -1), axis=1)
            wanted = np.linalg.norm(theta[part].reshape(shape[0], -1), axis=1) if len(shape) > 1 else np.zeros(shape)
            assert sizes == pytest.approx(wanted)
    assert plane.unit == "norms of the filters"
    # Not orthonormal, yet projection undoes point.
    assert plane.coordinates(plane.point(0.3, -0.7))[0] == pytest.approx([0.3, -0.7])
    assert plane.residual(plane.point(0.3, -0.7))[0] < 1e-12
    assert plane.digest() == ls.Plane.random(point, seed).digest() != ls.Plane.random(point, seed + 1).digest()
    plain = ls.Plane.random(point, seed, normalize=None, parameters="^0")
    assert plain.directions @ plain.directions.T == pytest.approx(np.eye(2))
    assert not plain.directions[:, 15:].any()
    assert plain.extent[1] == pytest.approx(np.linalg.norm(theta))


def test_bad_random_planes():
    point = ls.Checkpoint(np.ones(N), names=NAMES, shapes=SHAPES)
    for options, message in (
        ({"normalize": "row"}, '"filter", "layer" or None'),
        ({"seed": -1}, "negative"),
        ({"parameters": "bias"}, "nothing is left"),
    ):
        with pytest.raises(InputError, match=message):
            ls.Plane.random(point, **options)
    with pytest.raises(InputError, match="names and shapes"):
        ls.Plane.random(np.ones(4))


def test_a_plane_follows_the_order_of_another_layout():
    plane = ls.Plane.random(ls.Checkpoint(np.arange(1.0, N + 1), names=NAMES, shapes=SHAPES))
    other = ls.Plane.random(ls.Checkpoint(np.zeros(N) + 1, names=NAMES[::-1], shapes=SHAPES[::-1])).layout
    turned = plane.aligned(other)
    assert turned.names == NAMES[::-1]
    back = turned.aligned(plane.layout)
    assert np.array_equal(back.origin, plane.origin) and np.array_equal(back.directions, plane.directions)
    assert turned.origin[:2].tolist() == [22, 23]


@pytest.mark.parametrize(
    ("origin", "directions", "message"),
    [
        (np.zeros(3), np.zeros((2, 4)), "directions \\(2, n\\), not \\(3,\\) and \\(2, 4\\)"),
        (np.zeros(3), np.full((2, 3), np.nan), "NaN or inf"),
    ],
)
def test_any_directions_make_a_plane_but_these(origin, directions, message):
    with pytest.raises(InputError, match=message):
        ls.Plane(origin, directions)
