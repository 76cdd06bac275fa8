"""Lines through parameter space: exact on quadratics, bands that cover, the same as the objective of networks."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import landscape as ls
from landscape import zoo
from landscape.errors import InputError
from landscape.records import Profile
from tests.test_surface import StopError, quadratic


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("weight_decay", [0.0, 0.4])
def test_a_quadratic_is_its_model(seed, weight_decay):
    objective, matrix, _best = quadratic(6, seed, weight_decay=weight_decay, micro_batch=7)
    u = np.random.default_rng(seed).standard_normal(6)
    line = ls.loss_profile(objective, u, points=9, subsamples=8)
    unit, theta = u / np.linalg.norm(u), objective.theta.numpy()
    matrix = matrix + weight_decay * np.eye(6)
    assert line.curvature == pytest.approx(unit @ matrix @ unit)
    assert line.slope == pytest.approx(unit @ objective.gradient().numpy())
    assert line.loss == pytest.approx([objective.at(theta + s * unit).loss() for s in line.s], rel=1e-12)
    assert line.model == pytest.approx(line.loss, rel=1e-9)
    assert line.loss_at_origin == pytest.approx(objective.loss()) and line.anchor_names.tolist() == ["origin"]
    assert line.samples.shape == (8, 9) and line.sample_weights.tolist() == [5.0] * 8
    assert line.sample_weights @ line.samples / 40 == pytest.approx(line.loss, rel=1e-12)  # the parts are all data
    assert line.s[[0, -1]] == pytest.approx([-np.linalg.norm(u), np.linalg.norm(u)])


class Mean(nn.Module):
    def __init__(self):
        super().__init__()
        self.theta = nn.Parameter(torch.zeros(1, dtype=torch.float64))

    def forward(self, x):
        return x + self.theta


def test_bands_hold_the_mean_over_all_data_as_often_as_they_say():
    """(x + s)² with normal x has the mean 1 + s²; the data of each repetition are sorted, which must not matter."""
    hits = []
    for seed in range(60):
        x = np.sort(np.random.default_rng(seed).standard_normal(200))
        objective = ls.Objective(Mean(), nn.MSELoss(), (torch.from_numpy(x), torch.zeros(200).double()))
        line = ls.loss_profile(objective, [1.0], points=3, extent=(-1, 1), subsamples=20, derivatives=False)
        low, high = line.band(0.9)
        hits.append((low <= 1 + line.s**2) & (1 + line.s**2 <= high))
    assert np.mean(hits) == pytest.approx(0.9, abs=0.06)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_standard_error_is_that_of_a_ratio(seed):
    random = np.random.default_rng(seed)
    losses, weights = random.uniform(1, 2, 4000), random.uniform(1, 3, 4000)
    parts = np.arange(4000) % 40
    of_part = [np.average(losses[parts == one], weights=weights[parts == one]) for one in range(40)]
    line = Profile(
        s=np.zeros(1),
        loss=np.array([np.average(losses, weights=weights)]),
        samples=np.array(of_part)[:, None],
        sample_weights=np.array([weights[parts == one].sum() for one in range(40)]),
    )
    exact = np.sqrt((weights**2 * (losses - line.loss[0]) ** 2).sum()) / weights.sum()
    assert line.standard_error[0] == pytest.approx(exact, rel=0.35)  # 40 parts know it to a tenth; three times that
    low, high = line.band(0.95)
    assert (high - low)[0] == pytest.approx(2 * 2.0227 * line.standard_error[0], rel=1e-4)
    with pytest.raises(InputError, match="between 0 and 1"):
        line.band(1.0)
    assert np.isnan(Profile(s=np.zeros(2), loss=np.zeros(2)).band()[0]).all()


def test_an_axis_of_a_plane_with_what_is_known_about_it():
    objective = zoo.build("digits-cnn", epochs=1, samples=150)
    pairs = ls.eigenpairs(ls.Hessian(objective), k=2)
    plane = ls.Plane.eigenvectors(pairs)
    line = ls.loss_profile(objective, plane, axis=2, points=5, test=objective, quantities=["gradient_norm"])
    assert (line.axis, line.axis_source) == ("eigenvector_2", plane.axis_sources[1])
    assert line.curvature == pairs.values[1] and (line.s[0], line.s[-1]) == plane.extent[2:]
    surface = ls.loss_surface(objective, plane, resolution=5, margin=0)
    assert line.loss == pytest.approx(surface.loss[:, 2], rel=1e-6)
    assert line.metrics["accuracy"] == pytest.approx(surface.metrics["accuracy"][:, 2])
    assert line.metrics["test_loss"] == pytest.approx(line.loss, rel=1e-6)
    assert np.isfinite(line.metrics["gradient_norm"]).all()
    assert line.slope == pytest.approx(float(objective.gradient().double().numpy() @ plane.directions[1]), rel=1e-3)
    assert line.loss[2] == pytest.approx(objective.loss(), rel=1e-6)
    low, high = line.band()
    assert (low < line.loss).all() and (line.loss < high).all()
    through = ls.Plane.through(objective.theta, objective.theta + 1, torch.randn_like(objective.theta))
    along = ls.loss_profile(objective, through, points=3)
    assert along.anchor_names.tolist() == ["a", "b"] and along.anchor_s[1] == pytest.approx(np.sqrt(objective.n))


def test_losses_whose_samples_cannot_be_seen_are_cut_into_micro_batches():
    data = [(torch.randn(size, 3), torch.randint(0, 2, (size,))) for size in (8, 8, 4)]
    loss = lambda model, batch: nn.functional.cross_entropy(model(batch[0]), batch[1])  # noqa: E731
    opaque = ls.Objective(nn.Linear(3, 2), loss, data)
    clear = ls.Objective(nn.Linear(3, 2), nn.CrossEntropyLoss(), data)
    for objective, options, kind in (
        (opaque, {}, "micro-batches"),
        (clear, {}, "random parts of the samples"),
    ):
        line = ls.loss_profile(objective, np.ones(8), points=3, subsamples=4, **options)
        assert line.provenance["parts"] == kind
        assert line.sample_weights @ line.samples / 20 == pytest.approx(line.loss, rel=1e-6)
    assert len(ls.loss_profile(clear, np.ones(8), points=2, subsamples=100).samples) == 20
    ignoring = ls.Objective(nn.Linear(3, 2), nn.CrossEntropyLoss(ignore_index=0), data)
    line = ls.loss_profile(ignoring, np.ones(8), points=3, subsamples=3)
    assert line.sample_weights.sum() == sum(int((target != 0).sum()) for _, target in data)
    assert np.average(line.samples, axis=0, weights=line.sample_weights) == pytest.approx(line.loss, rel=1e-5)


def test_holes_and_a_continued_line(tmp_path):
    objective = zoo.build("digits-mlp", epochs=0, samples=100)
    direction = np.ones(objective.n)
    line = ls.loss_profile(objective, direction, points=4, extent=(-1e38, 1e38))
    assert line.holes > 0 and np.isnan(line.band()[0]).sum() >= line.holes
    whole = ls.loss_profile(objective, direction, points=7)

    def interrupt(done, total, text):
        if done == 3:
            raise StopError

    options = {"points": 7, "state": tmp_path / "state", "checkpoint_seconds": 0}
    with pytest.raises(StopError):
        ls.loss_profile(objective, direction, progress=interrupt, **options)
    again = ls.loss_profile(objective, direction, **options)
    assert again.provenance["resumed_points"] == 3
    assert np.array_equal(again.loss, whole.loss) and np.array_equal(again.samples, whole.samples)
    saved = ls.load(whole.save(tmp_path / "profile.h5"))
    assert np.array_equal(saved.samples, whole.samples) and saved.slope == whole.slope


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"axis": 3}, "axis must be 1 or 2"),
        ({"points": 1}, "points must be at least 2"),
        ({"subsamples": 1}, "subsamples must be at least 2"),
        ({"extent": (1, 1)}, "extent must be"),
        ({"direction": np.zeros(3)}, "is zero"),
        ({"direction": np.ones(4)}, "has 4 numbers"),
        ({"seed": -1}, "negative"),
        ({"points": 10**11}, r"a line of 100000000000 points with \d+ numbers .* points would fit"),
    ],
)
def test_bad_arguments(options, message):
    objective, _, _ = quadratic(3, 0)
    with pytest.raises(InputError, match=message):
        ls.loss_profile(objective, **{"direction": np.ones(3), **options})
