"""Surfaces whose values are known in closed form, and what the tests of figures look for in a figure."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from landscape.records import EigenPairs, SpectralDensity, Surface
from tests.render.legibility import all_text as all_text
from tests.render.legibility import assert_legible as assert_legible
from tests.render.legibility import texts_of as texts_of

NAMES = (
    "SGD",
    "ProxSGD",
    "Adam",
    "RMSprop",
    "AdamW",
    "a run whose name is much longer than any legend is wide " * 3,
    "Lion",
)


def bowl(x, y, seed=0):
    """A positive function without symmetry."""
    tilt = np.random.default_rng(seed).uniform(-0.5, 0.5)
    return 0.02 + 0.5 * (x**2 / 2 + y**2 + tilt * x * y) * (1 + 0.3 * np.sin(3 * x) * np.cos(2 * y))


def surface(nx=31, ny=25, runs=2, checkpoints=40, seed=0, value=bowl, **changes):
    """The bowl on a PCA plane, with runs that walk from a common start towards its bottom."""
    random = np.random.default_rng(seed)
    x, y = np.linspace(-2, 3, nx), np.linspace(-1.8, 2.2, ny)
    time = np.linspace(0, 1, checkpoints)[:, None] ** 0.6
    paths = [
        np.array([-1.5, 1.6]) * (1 - time)
        + np.array([0.3 * run, -0.4 * run]) * time
        + 0.5 * np.sin(np.pi * time) * [np.cos(2.2 * run), np.sin(2.2 * run)]
        + 0.02 * random.normal(size=(checkpoints, 2))
        for run in range(runs)
    ]
    coordinates = np.concatenate([*paths, np.zeros((0, 2))])
    steps = np.tile(10 * np.arange(checkpoints), runs)
    projected = value(*coordinates.T)
    facts = {
        "plane": "pca", "axes": np.array(["pca_1", "pca_2"]), "n": 2762,
        "explained_variance": np.array([0.714, 0.123]), "explained_variance_null": np.array([0.608, 0.152]),
        "path_names": np.array(NAMES[:runs], dtype=str), "path_run": np.repeat(np.arange(runs), checkpoints),
        "path_step": steps, "path_coordinates": coordinates, "path_projected_loss": projected,
        "path_loss": projected * np.exp(0.1 * random.normal(size=len(projected))), "path_recorded_loss": projected,
        "path_distance": 0.8 * np.abs(np.sin(steps / 120)),
    }  # fmt: skip
    loss = value(x[None, :], y[:, None])
    accuracy = 1 / (1 + np.abs(np.nan_to_num(loss)))
    return Surface(x=x, y=y, loss=loss, metrics={"accuracy": accuracy}, **{**facts, **changes})


def with_holes(**options):
    """A surface with NaN and infinite cells; also where they are."""
    found = surface(**options)
    loss = found.loss.copy()
    loss[3:9, 22:28] = np.nan
    loss[16:20, 3:7] = np.inf
    loss[0, 0] = -np.inf
    return replace(found, loss=loss), ~np.isfinite(loss)


UNUSUAL = {
    "one point": lambda: surface(1, 1, 0),
    "one row": lambda: surface(31, 1),
    "one column": lambda: surface(1, 31),
    "a row with holes": lambda: replace(row := surface(31, 1), loss=np.where(row.x[None] > 1, np.nan, row.loss)),
    "two by two": lambda: surface(2, 2, 1, 1),
    "constant": lambda: replace(surface(), loss=np.full((25, 31), 2.302585)),
    "zero": lambda: replace(surface(), loss=np.zeros((25, 31))),
    "negative": lambda: replace(surface(runs=0), loss=surface().loss - 30, unit="norms of the filters"),
    "no finite value": lambda: replace(surface(), loss=np.full((25, 31), np.nan)),
    "some zeros": lambda: replace(found := surface(), loss=np.where(found.loss < 0.05, 0, found.loss)),
    "huge range": lambda: replace(found := surface(), loss=found.loss**12),
    "tiny range": lambda: replace(found := surface(), loss=2.302585 + 1e-7 * found.loss),
    "seven runs": lambda: surface(runs=7),
    "runs outside": lambda: replace(found := surface(), path_coordinates=3 * found.path_coordinates),
    "strip": lambda: replace(found := surface(), y=found.y / 20),
    "diverged": lambda: replace(found := surface(), path_loss=np.where(found.path_step > 200, np.inf, found.path_loss)),
    "points": lambda: surface(
        runs=0, plane="points", axes=np.array(["a_to_b", "beside_c"]), explained_variance=np.full(2, np.nan),
        anchor_names=np.array(["a", "b", "trained for longer"]),
        anchor_coordinates=np.array([[0.0, 0], [2, 0], [0.8, 1.5]]), anchor_loss=np.zeros(3),
    ),
    "eigenvectors": lambda: surface(
        runs=0, plane="eigenvectors", axes=np.array(["eigenvector_1", "eigenvector_2"]),
        explained_variance=np.full(2, np.nan), curvature=np.array([12.5, -0.3]),
    ),
}  # fmt: skip


def densities(count=3, n=2762):
    """Densities whose eigenvalues grow along a run."""
    found = []
    for index in range(count):
        ends = (index + 1.0) * np.array([4.2, 3.1, 1.7])
        nodes = np.concatenate([np.linspace(-0.1, 0.4, 30), ends])
        weights = np.concatenate([np.full(30, (1 - 3 / n) / 30), np.full(3, 1 / n)])
        found.append((100 * index, SpectralDensity(np.sort(nodes), weights, n, resolved=np.arange(33) >= 30)))
    return found


def eigen_pairs(k=6, seed=0, **changes):
    """Pairs of a decaying spectrum; the last one has not converged."""
    random = np.random.default_rng(seed)
    values = np.sort(random.uniform(1, 9, k))[::-1].copy()
    residuals = 1e-3 * random.uniform(1, 2, k)
    residuals[-1] = 0.4
    facts = {"converged": residuals < 0.01, "tol": 1e-3, "scale": 9.0, "n": 100, "products": 60, "loss": 0.5}
    return EigenPairs(values=values, vectors=np.eye(100)[:, :k], residuals=residuals, **{**facts, **changes})
