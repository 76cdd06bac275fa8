"""The nudged elastic band on surfaces whose saddles are known, and between trained networks."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp
from scipy.optimize import minimize, root
from torch import Tensor, nn

import landscape as ls
from landscape import zoo
from landscape.errors import ComputeError, InputError
from landscape.geometry.elastic_band import evenly_spaced, tangents
from landscape.geometry.fast_relaxation import FastRelaxation
from tests.cases import cases


class Surface(nn.Module):
    """A function of two parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.place = nn.Parameter(torch.zeros(2, dtype=torch.float64))

    def forward(self, ones: Tensor) -> Tensor:
        return self.height(*self.place) + 0 * ones.sum()

    def height(self, x: Tensor, y: Tensor) -> Tensor:
        raise NotImplementedError

    @classmethod
    def objective(cls, start: tuple[float, float] = (0.0, 0.0)) -> ls.Objective:
        def loss(model: Any, batch: Any) -> Tensor:
            return model(batch[0])

        surface = cls()
        surface.place.data = torch.tensor(start, dtype=torch.float64)
        return ls.Objective(surface, loss, [(torch.ones(4, dtype=torch.float64),)])


class TwoWells(Surface):
    """Minima (±1, 0) and the saddle (0, 0.8) of height 1 between them, in a valley that is bent."""

    def height(self, x: Tensor, y: Tensor) -> Tensor:
        return (x**2 - 1) ** 2 + 3 * (y - 0.8 * (1 - x**2)) ** 2


class MuellerBrown(Surface):
    """The surface on which methods for reaction paths are compared (Müller and Brown, 1979)."""

    def height(self, x: Tensor, y: Tensor) -> Tensor:
        heights = (-200.0, -100.0, -170.0, 15.0)
        bends = ((-1.0, 0.0, -10.0), (-1.0, 0.0, -10.0), (-6.5, 11.0, -6.5), (0.7, 0.6, 0.7))
        places = ((1.0, 0.0), (0.0, 0.5), (-0.5, 1.5), (-1.0, 1.0))
        terms = [
            height * torch.exp(a * (x - u) ** 2 + b * (x - u) * (y - v) + c * (y - v) ** 2)
            for height, (a, b, c), (u, v) in zip(heights, bends, places, strict=True)
        ]
        return torch.stack(terms).sum()


def critical(objective: ls.Objective, start: list[float], saddle: bool = False) -> np.ndarray:
    def loss(x: np.ndarray) -> float:
        return objective.at(x).loss()

    def gradient(x: np.ndarray) -> np.ndarray:
        return objective.at(x).gradient().numpy()

    return root(gradient, start, tol=1e-13).x if saddle else minimize(loss, start, jac=gradient, tol=1e-14).x


def test_the_climbing_image_finds_the_saddle_of_mueller_and_brown():
    objective = MuellerBrown.objective()
    a, b = critical(objective, [-0.558, 1.442]), critical(objective, [0.623, 0.028])
    saddle = critical(objective, [-0.822, 0.624], saddle=True)
    assert objective.at(saddle).loss() == pytest.approx(-40.6648, abs=1e-4)  # as published
    for options in ({}, {"spring": 1000.0}):
        band = ls.PolygonalPath.elastic_band(objective, a, b, images=7, climb=True, tol=1e-4, steps=2000, **options)
        assert band.provenance["converged"] and band.kind == "band"
        losses = [objective.at(image).loss() for image in band.controls]
        assert max(losses) == pytest.approx(objective.at(saddle).loss(), abs=1e-4)
        assert band.controls[int(np.argmax(losses))] == pytest.approx(saddle, abs=1e-3)
        assert band.fit_loss[-1] == pytest.approx(max(losses), abs=1e-9) and band.fit_loss[0] > 0


@pytest.mark.parametrize("spring", [None, 2.0])
def test_images_lie_on_the_path_of_least_loss(spring):
    objective = TwoWells.objective()
    a, b = np.array([-1.0, 0.0]), np.array([1.0, 0.0])
    band = ls.PolygonalPath.elastic_band(objective, a, b, images=11, spring=spring, tol=1e-5, steps=2000)
    assert band.provenance["converged"] and band.provenance["force"] <= 1e-5
    assert band.controls[5] == pytest.approx([0, 0.8], abs=1e-3)  # by symmetry, the middle one is on the saddle
    assert objective.at(band.controls[5]).loss() == pytest.approx(1, abs=1e-5)

    # Steepest descent from beside the saddle runs along the images to the minimum.
    def downhill(_: float, place: np.ndarray) -> list[float]:
        x, y = place
        across = 6 * (y - 0.8 * (1 - x**2))
        return [-4 * x * (x**2 - 1) - 1.6 * x * across, -across]

    track = solve_ivp(downhill, (0, 10), [1e-3, 0.8], max_step=0.01).y.T
    for image in band.controls[6:]:
        assert np.linalg.norm(track - image, axis=1).min() < 0.02
    chain = np.concatenate([[a], band.controls, [b]])
    lengths = np.linalg.norm(np.diff(chain, axis=0), axis=1)
    assert lengths == pytest.approx(lengths.mean(), rel=1e-2 if spring is None else 0.2)
    assert band.length == pytest.approx(lengths.sum())
    straight = ls.LinearPath(a, b)
    assert max(objective.at(straight.point(s)).loss() for s in np.linspace(0, 1, 21)) > 2.9


def test_a_straight_path_of_least_loss_takes_no_step():
    class Straight(Surface):
        def height(self, x: Tensor, y: Tensor) -> Tensor:
            return (x**2 - 1) ** 2 + y**2

    band = ls.PolygonalPath.elastic_band(Straight.objective(), np.array([-1.0, 0]), np.array([1.0, 0]), images=4)
    assert band.provenance["converged"] and len(band.fit_loss) == 1 and "relaxed in 0 steps" in band.source


def test_tangents_as_published():
    images = np.random.default_rng(0).standard_normal((5, 7))
    forward, backward = images[2:] - images[1:-1], images[1:-1] - images[:-2]

    def unit(vector: np.ndarray) -> np.ndarray:
        return vector / np.linalg.norm(vector)

    assert tangents(images, np.arange(5.0)) == pytest.approx(np.stack([unit(one) for one in forward]))
    assert tangents(images, -np.arange(5.0)) == pytest.approx(np.stack([unit(one) for one in backward]))
    peak = tangents(images, np.array([0.0, 3.0, 1.0, 7.0, 6.0]))
    assert peak[0] == pytest.approx(unit(forward[0] * 3 + backward[0] * 2))  # the right neighbour is higher
    assert peak[1] == pytest.approx(unit(forward[1] * 6 + backward[1] * 2))
    assert peak[2] == pytest.approx(unit(forward[2] * 6 + backward[2] * 1))
    mirrored = tangents(images, np.array([6.0, 7.0, 1.0, 3.0, 0.0]))
    assert mirrored[0] == pytest.approx(unit(forward[0] * 1 + backward[0] * 6))  # the left neighbour is higher
    assert tangents(images, np.ones(5))[0] == pytest.approx(unit(forward[0] + backward[0]))


def test_even_spacing_keeps_the_ends_and_the_chain():
    corner = np.array([[0.0, 0.0], [1.0, 0.0], [4.0, 0.0], [4.0, 4.0]])
    spaced = evenly_spaced(corner)
    assert spaced == pytest.approx(np.array([[0, 0], [8 / 3, 0], [4, 4 / 3], [4, 4]]))
    assert evenly_spaced(np.linspace([0.0, 1], [1, 3], 6)) == pytest.approx(np.linspace([0.0, 1], [1, 3], 6))


def test_relaxation_finds_its_step_on_stiff_and_soft_bowls():
    for stiffness in (1e-3, 1.0, 1e4):
        x, motion = np.array([[1.0, 1.0], [0.5, -1.0]]), FastRelaxation((2, 2), 1.0)
        for _ in range(400):
            x = x + motion.step(-stiffness * x * np.array([1.0, 30.0]))
        assert np.abs(x).max() < 1e-3
    assert not FastRelaxation((1, 2), 1.0).step(np.zeros((1, 2))).any()


def test_it_starts_where_it_is_told_to():
    objective = TwoWells.objective()
    a, b = np.array([-1.0, 0.0]), np.array([1.0, 0.0])
    below = ls.BezierPath(a, b, [np.array([0.0, 1.5])])
    band = ls.PolygonalPath.elastic_band(objective, a, b, images=7, start=below, tol=1e-9, steps=1)
    first = max(objective.at(below.point(i / 8)).loss() for i in range(9))
    assert band.fit_loss[0] == pytest.approx(first) and len(band.fit_loss) == 2
    assert not band.provenance["converged"] and "not relaxed in 1 steps" in band.source


@pytest.mark.parametrize("seeds", [(0, 1), *(pytest.param(pair, marks=pytest.mark.slow) for pair in ((2, 3), (4, 5)))])
def test_a_band_goes_around_the_barrier_between_two_networks(seeds):
    objectives = [zoo.build("digits-mlp", seed=seed, epochs=10) for seed in seeds]
    band = ls.PolygonalPath.elastic_band(objectives[0], *objectives, images=5, steps=60)
    ends = max(one.loss() for one in objectives)
    path = [objectives[0].at(band.point(s)).loss() for s in np.linspace(0, 1, 25)]
    assert max(path) - ends < 0.25 * (band.fit_loss[0] - ends)


def test_the_users_model_and_the_random_state_stay():
    case = cases()["convolution and batch norm"]
    before = copy.deepcopy(case.model.state_dict())
    objective = case.objective()
    torch.manual_seed(5)
    expected = torch.rand(2)
    torch.manual_seed(5)
    seen: list[tuple[int, int, str]] = []
    found = [
        ls.PolygonalPath.elastic_band(
            objective,
            objective,
            objective.theta + 1,
            images=3,
            steps=4,
            batchnorm=mode,
            progress=lambda *w: seen.append(w),
        )
        for mode in ("batch", "batch", "eval")
    ]
    assert torch.equal(torch.rand(2), expected)
    assert all(torch.equal(case.model.state_dict()[name], value) for name, value in before.items())
    assert found[0].digest() == found[1].digest() != found[2].digest()
    assert seen[0][:2] == (0, 4) and "highest loss" in seen[0][2] and "force" in seen[0][2]
    # With the statistics of each micro-batch, from the user's own network in train mode.
    model = copy.deepcopy(case.model).eval().requires_grad_(False)
    model[1].train()
    torch.nn.utils.vector_to_parameters(objective.theta, model.parameters())
    sums = [float(case.loss(model(x), y)) * len(y) for x, y in case.data]
    start = max(found[0].fit_loss[0], 0.0)
    assert start >= sum(sums) / objective.samples - 1e-12


def test_what_cannot_be_relaxed():
    objective = TwoWells.objective()
    a, b = np.array([-1.0, 0.0]), np.array([1.0, 0.0])
    for options, message in (
        ({"images": 0}, "images must be at least 1"),
        ({"spring": 0.0}, "spring must be positive"),
        ({"tol": -1.0}, "tol must be positive"),
        ({"steps": 0}, "steps must be at least 1"),
        ({"climb": 1}, "climb must be True or False"),
        ({"start": [a, b]}, r"start must be a path, such as LinearPath\(a, b\), not list"),
        ({"batchnorm": "none"}, "batchnorm must be one of batch, eval"),
    ):
        with pytest.raises(InputError, match=message):
            ls.PolygonalPath.elastic_band(objective, a, b, **options)
    with pytest.raises(InputError, match=r"needs the landscape.Objective of its loss, not Linear"):
        ls.PolygonalPath.elastic_band(nn.Linear(1, 1), a, b)

    class Hole(Surface):
        def height(self, x: Tensor, y: Tensor) -> Tensor:
            return torch.sqrt(x**2 - 0.25) + y**2

    with pytest.raises(ComputeError, match="NaN or infinite at image 3 after 0 steps: look at the"):
        ls.PolygonalPath.elastic_band(Hole.objective((-1.0, 0.0)), a, b)
