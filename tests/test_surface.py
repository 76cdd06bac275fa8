from __future__ import annotations

import copy
import shutil
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import nn

import landscape as ls
from landscape import zoo
from landscape.errors import InputError
from landscape.store import RunState
from tests.geometry.runs import Run


class Point(nn.Module):
    """A model that is its parameters."""

    def __init__(self, n: int) -> None:
        super().__init__()
        self.theta = nn.Parameter(torch.zeros(n, dtype=torch.float64))

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        return rows @ self.theta


def quadratic(n: int, seed: int, **options) -> tuple[ls.Objective, np.ndarray, np.ndarray]:
    """½ mean (rows·theta - target)², its matrix and its minimum."""
    generator = np.random.default_rng(seed)
    rows, best = generator.standard_normal((40, n)), generator.standard_normal(n)
    objective = ls.Objective(
        Point(n),
        lambda output, target: 0.5 * ((output - target) ** 2).mean(),
        (torch.from_numpy(rows), torch.from_numpy(rows @ best)),
        **options,
    )
    return objective, rows.T @ rows / 40, best


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("weight_decay", [0.0, 0.3])
def test_a_quadratic_gives_the_exact_paraboloid(seed, weight_decay):
    objective, matrix, best = quadratic(12, seed, weight_decay=weight_decay)
    a, b, c = np.random.default_rng(seed + 5).standard_normal((3, 12))
    plane = ls.Plane.through(a, b, c)
    surface = ls.loss_surface(objective, plane, resolution=(7, 5), margin=0.4)
    assert surface.loss.shape == (5, 7)

    def exact(theta):
        return 0.5 * (theta - best) @ matrix @ (theta - best) + 0.5 * weight_decay * theta @ theta

    for row, y in enumerate(surface.y):
        for column, x in enumerate(surface.x):
            expected = exact(plane.origin + x * plane.directions[0] + y * plane.directions[1])
            assert surface.loss[row, column] == pytest.approx(expected, rel=1e-12)
            assert surface.loss[row, column] == pytest.approx(objective.at(plane.point(x, y)).loss(), rel=1e-12)
    assert surface.anchor_names.tolist() == ["a", "b", "c"]
    assert surface.anchor_loss == pytest.approx([exact(point) for point in (a, b, c)], rel=1e-12)
    assert surface.anchor_coordinates[1] == pytest.approx([np.linalg.norm(b - a), 0], abs=1e-12)
    for place in surface.anchor_coordinates:  # the anchors lie within, with the margin around them
        assert surface.x[0] < place[0] < surface.x[-1] and surface.y[0] < place[1] < surface.y[-1]
    assert surface.x[-1] - surface.x[0] == pytest.approx(1.8 * np.ptp(surface.anchor_coordinates[:, 0]))


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    """A run of the convolutional net, whose batch-norm statistics move, with its objective."""
    objective = zoo.build("digits-cnn", epochs=0, samples=300)
    model = copy.deepcopy(objective._network.module).requires_grad_(True)
    path = tmp_path_factory.mktemp("run") / "run.h5"
    inputs = torch.cat([batch[0] for batch in objective._batches])
    targets = torch.cat([batch[1] for batch in objective._batches])
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

    def evaluate():
        return objective.at(model.state_dict()).loss()

    with ls.Recorder(path, model.train(), optimizer, evaluate=evaluate, segment_bytes=60000) as recorder:
        for step in range(9):
            part = slice(30 * step, 30 * step + 60)
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(inputs[part]), targets[part]).backward()
            optimizer.step()
            recorder.step()
    return objective, ls.Trajectory(path)


def test_a_recorded_run(recorded):
    objective, run = recorded
    plane = ls.Plane.pca(run)
    seen = []
    surface = ls.loss_surface(objective, plane, resolution=6, progress=lambda *state: seen.append(state))
    # Every replayed checkpoint has the recorded loss, to the last bit; its projection another one.
    assert np.array_equal(surface.path_loss, run.losses)
    assert np.array_equal(surface.path_recorded_loss, run.losses)
    assert np.array_equal(surface.path_step, run.steps)
    assert surface.path_coordinates == pytest.approx(plane.coordinates(run))
    assert surface.path_distance == pytest.approx(plane.residual(run))
    assert surface.path_names.tolist() == ["SGD"]
    assert len(surface.paths) == 1 and surface.paths[0].loss.shape == (10,)
    theta = np.stack([checkpoint.theta for checkpoint in run]).astype(float)
    turns = [a @ b / np.linalg.norm(a) / np.linalg.norm(b) for a, b in pairwise(np.diff(theta, axis=0))]
    assert surface.path_cosine[1:-1] == pytest.approx(turns, rel=1e-9)
    assert surface.path_threshold == pytest.approx(2 / 0.1)  # gradient descent with the recorded learning rate
    for index in (0, 4, 9):
        there = objective.at(plane.point(*surface.path_coordinates[index]), run[-1].buffers)
        assert surface.path_projected_loss[index] == pytest.approx(there.loss(), rel=1e-5)
    for row, column in ((0, 0), (3, 2), (5, 5)):
        there = objective.at(plane.point(surface.x[column], surface.y[row]), run[-1].buffers).evaluate()
        assert surface.loss[row, column] == pytest.approx(there["loss"], rel=1e-5)
        assert surface.metrics["accuracy"][row, column] == pytest.approx(there["accuracy"], abs=1 / 300)
    last = objective.at(run[-1])
    assert surface.anchor_loss[0] == last.loss() == run.losses[-1]
    assert surface.theta_sha256 == last.describe()["theta_sha256"] == run.digests[-1]
    assert (surface.plane, surface.n, surface.evaluations) == ("pca", objective.n, 1 + 10 + 10 + 36)
    assert seen[-1][:2] == (57, 57) and len(seen) == 57 and "lowest" in seen[-1][2]
    assert surface.explained_variance.sum() <= 1 and surface.batchnorm == "eval"


def test_several_runs_on_one_plane_and_runs_that_are_not_of_the_plane(recorded):
    objective, run = recorded
    surface = ls.loss_surface(objective, ls.Plane.pca([run, run]), resolution=3)
    assert surface.path_names.tolist() == ["SGD 1", "SGD 2"]
    assert np.array_equal(surface.path_run, [0] * 10 + [1] * 10)
    plane = ls.Plane.random(objective)
    surface = ls.loss_surface(objective, plane, resolution=3, runs=run, margin=0.0)
    assert surface.path_distance[0] == 0 and surface.path_distance[-1] > 0  # the plane lies at its first checkpoint
    assert surface.x[-1] == max(1.0, surface.path_coordinates[:, 0].max())
    assert not len(ls.loss_surface(objective, ls.Plane.pca(run), resolution=2, runs=()).path_names)


def test_saved_drawn_and_read_again(recorded, tmp_path):
    objective, run = recorded
    surface = ls.loss_surface(objective, ls.Plane.pca(run), resolution=3)
    again = ls.load(surface.save(tmp_path / "surface.h5"))
    assert np.array_equal(again.loss, surface.loss)
    assert np.array_equal(again.metrics["accuracy"], surface.metrics["accuracy"])
    assert again.provenance["configuration"] == surface.provenance["configuration"]


def test_nothing_of_the_user_changes(recorded):
    objective, run = recorded
    model = objective._network.module
    before = copy.deepcopy([model.state_dict(), objective.buffers, {"theta": objective.theta}])
    state = torch.get_rng_state()
    ls.loss_surface(objective, ls.Plane.pca(run), resolution=3)
    for old, new in zip(before, [model.state_dict(), objective.buffers, {"theta": objective.theta}], strict=True):
        assert all(torch.equal(old[name], new[name]) for name in old)
    assert torch.equal(torch.get_rng_state(), state)


def test_holes_stay():
    """log of a number that is negative beyond x = 1, and its inverse."""

    class Logarithm(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.theta = nn.Parameter(torch.zeros(2, dtype=torch.float64))

        def forward(self, rows):
            return torch.log(1 - self.theta[0]) / (self.theta[1] + 2) * rows

    objective = ls.Objective(
        Logarithm(),
        lambda output, target: output.sum(),
        (torch.ones(4, 1).double(), torch.zeros(4, 1)),
        reduction="mean",
    )
    plane = ls.Plane(np.zeros(2), np.eye(2))
    surface = ls.loss_surface(objective, plane, resolution=5, extent=(-2, 2, -2, 2))
    assert np.isnan(surface.loss[:, 4]).all()
    assert np.isinf(surface.loss[1:, 3]).all()
    assert np.isfinite(surface.loss[1:, :2]).all()
    assert surface.holes == (~np.isfinite(surface.loss)).sum() >= 9
    assert np.isfinite(surface.lowest).all()


def test_a_checkpoint_that_diverged_is_a_hole_of_its_path():
    objective, _, _ = quadratic(4, 0)
    theta = np.arange(16.0).reshape(4, 4)
    theta[2] = np.nan
    surface = ls.loss_surface(objective, ls.Plane(np.zeros(4), np.eye(2, 4)), resolution=2, runs=Run(theta))
    assert np.isnan(surface.path_loss).tolist() == [False, False, True, False]
    assert np.isfinite(surface.x).all() and surface.x[-1] > 12


def test_a_plane_whose_parameters_come_in_another_order(recorded):
    objective, run = recorded
    plane = ls.Plane.pca(run)
    other = plane.aligned(ls.geometry.Layout(plane.names[::-1], plane.shapes[::-1], plane.n))
    expected = ls.loss_surface(objective, plane, resolution=3)
    found = ls.loss_surface(objective, other, resolution=3)
    assert np.array_equal(found.loss, expected.loss)
    assert np.array_equal(found.path_loss, expected.path_loss)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"resolution": 1}, "at least 2 along each axis, not 1"),
        ({"resolution": (5, 1)}, "at least 2"),
        ({"resolution": 2.5}, "at least 2"),
        ({"resolution": float("inf")}, "at least 2"),
        ({"margin": -1.0}, "margin"),
        ({"extent": (1, 0, 0, 1)}, "x_min, x_max"),
        ({"extent": (0, 1, 0)}, "x_min, x_max"),
    ],
)
def test_bad_arguments(options, message):
    objective, _, _ = quadratic(3, 0)
    with pytest.raises(InputError, match=message):
        ls.loss_surface(objective, ls.Plane(np.zeros(3), np.eye(2, 3)), **options)


def test_a_plane_or_a_run_of_another_model_is_named(recorded):
    objective, run = recorded
    other = zoo.build("digits-mlp", epochs=0, samples=100)
    with pytest.raises(InputError, match=r"'1.weight' has shape \(28, 64\) in the objective, but \(8,\)"):
        ls.loss_surface(other, ls.Plane.pca(run), resolution=2)
    with pytest.raises(InputError, match=r"the run run has 2|has n = 2"):
        ls.loss_surface(objective, ls.Plane.pca(run), resolution=2, runs=Run(np.zeros((3, 2))))
    with pytest.raises(InputError, match="not Run"):
        ls.loss_surface(objective, Run(np.zeros((3, 2))))
    with pytest.raises(InputError, match="not str"):
        ls.loss_surface("zoo:digits-mlp", ls.Plane.pca(run))
    broken = ls.Plane(
        run[-1].theta,
        np.eye(2, objective.n),
        names=run.names,
        shapes=run.shapes,
        buffers={"1.running_mean": np.zeros(3)},
    )
    with pytest.raises(InputError, match=r"buffer '1\.running_mean' has shape"):
        ls.loss_surface(objective, broken, resolution=2)


class StopError(Exception):
    pass


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_an_interrupted_surface_is_continued_with_the_same_content(recorded, tmp_path, seed):
    objective, run = recorded
    plane = ls.Plane.pca(run)
    whole = ls.loss_surface(objective, plane, resolution=4)
    stop = int(np.random.default_rng(seed).integers(1, 30))

    def interrupt(done, total, text):
        if done == stop:
            raise StopError

    with pytest.raises(StopError):
        ls.loss_surface(
            objective, plane, resolution=4, state=tmp_path / "state", checkpoint_seconds=0, progress=interrupt
        )
    counted = []
    again = ls.loss_surface(
        objective, plane, resolution=4, state=tmp_path / "state", progress=lambda done, *_: counted.append(done)
    )
    assert again.provenance["resumed_points"] == stop
    assert counted[0] == stop + 1 and counted[-1] == whole.evaluations
    for name in ("loss", "path_loss", "path_projected_loss", "anchor_loss"):
        assert np.array_equal(getattr(again, name), getattr(whole, name))
    assert np.array_equal(again.metrics["accuracy"], whole.metrics["accuracy"])
    with pytest.raises(InputError, match="x: "):
        ls.loss_surface(objective, plane, resolution=5, state=tmp_path / "state")
    shutil.rmtree(tmp_path / "state")


def test_a_state_of_the_caller(tmp_path):
    objective, _, _ = quadratic(3, 0)
    state = RunState(tmp_path / "state", {"anything": 1})
    ls.loss_surface(objective, ls.Plane(np.zeros(3), np.eye(2, 3)), resolution=3, state=state)
    assert len(state) == 1
