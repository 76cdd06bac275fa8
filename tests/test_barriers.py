"""Barriers of all pairs: profiles of their paths, closed forms, permutations; resuming; bad input."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import landscape as ls
from tests.cases import cases
from tests.test_interpolation import another
from tests.test_surface import quadratic


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_convex_loss_joins_everything(seed: int) -> None:
    objective, _, best = quadratic(8, seed)
    minima = {
        name: best + random
        for name, random in zip("abcd", np.random.default_rng(seed).normal(size=(4, 8)), strict=True)
    }
    found = ls.connectivity(objective, minima, points=5)
    assert (found.barriers == 0).all() and found.clusters(0.0).tolist() == [0, 0, 0, 0]
    assert found.point_names.tolist() == list("abcd") and found.s.tolist() == [0, 0.25, 0.5, 0.75, 1]
    rows = torch.cat([batch[0] for batch in objective._batches]).numpy()
    for i, a in enumerate(minima.values()):
        assert found.point_loss[i] == objective.at(a).loss()
        for j, b in enumerate(minima.values()):
            assert found.distances[i, j] == pytest.approx(np.linalg.norm(a - b))
            assert found.function_distances[i, j] == pytest.approx(np.sqrt(((rows @ (a - b)) ** 2).mean()))
            exact = [objective.at((1 - s) * a + s * b).loss() for s in found.s]
            assert found.loss_between[i, j] == pytest.approx(exact, rel=1e-12)


@pytest.fixture(scope="module")
def three() -> tuple[ls.Objective, dict[str, ls.Checkpoint]]:
    objective = cases()["convolution and batch norm"].objective(
        metrics={"accuracy": lambda output, target: (output.argmax(1) == target).double().mean()}
    )
    return objective, {name: another(objective, seed) for seed, name in enumerate(("one", "two", "three"))}


@pytest.mark.parametrize("batchnorm", ["eval", "recompute"])
def test_every_pair_is_the_profile_of_its_path(batchnorm: str, three: Any) -> None:
    objective, minima = three
    found = ls.connectivity(objective, minima, points=5, batchnorm=batchnorm, subsamples=6, seed=3)
    ends = list(minima.values())
    for i, j in ((0, 1), (0, 2), (1, 2)):
        path = ls.LinearPath(ends[i], ends[j])
        profile = ls.interpolate(
            objective, path, points=5, batchnorm=batchnorm, subsamples=6, seed=3, derivatives=False
        )
        assert np.array_equal(found.loss_between[i, j], profile.loss)
        assert np.array_equal(found.loss_between[j, i], profile.loss[::-1])
        for name, value in (
            ("barriers", profile.barrier),
            ("barrier_stderr", profile.barrier_stderr),
            ("distances", path.distance),
            ("function_distances", profile.function_distances[-1, 0]),
        ):
            matrix = getattr(found, name)
            assert matrix[i, j] == matrix[j, i] == pytest.approx(value, rel=1e-12), name
    for i, end in enumerate(ends):
        there = objective.at(end).evaluate()
        assert (found.point_loss[i], found.point_metrics["accuracy"][i]) == (there["loss"], there["accuracy"])
    assert found.batchnorm == batchnorm and found.evaluations == 3 + 3 * 5 and found.n == objective.n


class CutShortError(Exception):
    pass


def test_a_matrix_that_was_cut_short_goes_on_and_is_kept(three: Any, tmp_path: Path) -> None:
    objective, minima = three
    whole = ls.connectivity(objective, minima, points=4)

    def stop(done: int, total: int, text: str) -> None:
        assert total == 6
        if done == 2:
            raise CutShortError

    with pytest.raises(CutShortError):
        ls.connectivity(objective, minima, points=4, state=tmp_path / "state", progress=stop)
    resumed = ls.connectivity(objective, minima, points=4, state=tmp_path / "state")
    assert resumed.provenance["resumed_parts"] == 2
    loaded = ls.load(resumed.save(tmp_path / "found.h5"))
    for one in dataclasses.fields(whole):
        if one.name not in ("seconds", "provenance"):
            same = np.testing.assert_equal
            same(getattr(loaded, one.name), getattr(whole, one.name), one.name)
    with pytest.raises(ls.InputError, match="points: 4 there, 5 now"):
        ls.connectivity(objective, minima, points=5, state=tmp_path / "state")


def test_a_sequence_is_numbered_and_any_order_of_parameters_will_do(three: Any) -> None:
    objective, minima = three
    ends = list(minima.values())
    layout = [(name, int(np.prod(shape))) for name, shape in zip(ends[1].names, ends[1].shapes, strict=True)]
    parts = dict(zip(ends[1].names, np.split(ends[1].theta, np.cumsum([size for _, size in layout])[:-1]), strict=True))
    names = ends[1].names[::-1]
    turned = dataclasses.replace(
        ends[1],
        theta=np.concatenate([parts[name] for name in names]),
        names=names,
        shapes=ends[1].shapes[::-1],
    )
    straight = ls.connectivity(objective, ends, points=3)
    assert straight.point_names.tolist() == ["1", "2", "3"]
    assert np.array_equal(ls.connectivity(objective, [ends[0], turned, ends[2]], points=3).barriers, straight.barriers)


def permuted(objective: ls.Objective, order: np.ndarray) -> np.ndarray:
    """Theta of a perceptron with one hidden layer whose units stand in another order."""
    parts = objective.variables()
    first, bias, second, last = (value.numpy() for value in parts.values())
    return np.concatenate([part.reshape(-1) for part in (first[order], bias[order], second[:, order], last)])


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_network_and_its_permutations_are_joined_after_alignment(seed: int) -> None:
    objective = cases()["mlp"].objective()
    random = np.random.default_rng(seed)
    theta = 3 * random.standard_normal(objective.n)
    there = objective.at(theta)
    turned = permuted(there, np.array([2, 0, 3, 4, 1]))
    near = permuted(there, np.array([4, 3, 2, 1, 0])) + 1e-3 * random.standard_normal(objective.n)
    minima = {"itself": there, "turned": turned, "near": near}
    plain = ls.connectivity(objective, minima, points=7)
    found = ls.connectivity(objective, minima, points=7, align="weights")
    assert np.ptp(plain.loss_between[0, 1]) > 0.1 and found.barriers[0, 1] == found.distances[0, 1] == 0
    assert found.loss_between[0, 1] == pytest.approx(np.full(7, there.loss())) and found.alignment == "weights"
    assert found.barriers.max() < 1e-4 and found.distances[0, 2] < 0.01 < plain.distances[0, 2]
    assert found.function_distances == pytest.approx(plain.function_distances, abs=1e-6)


def test_ways_may_be_curves_that_were_fitted() -> None:
    objective = cases()["mlp"].objective()
    ends = [2 * np.random.default_rng(seed).standard_normal(objective.n) for seed in (0, 1)]
    found = ls.connectivity(objective, ends, path="bezier", points=5, seed=3)
    fitted = ls.BezierPath.fit(objective, *ends, seed=3)
    profile = ls.interpolate(objective, fitted, points=5, seed=3, derivatives=False)
    assert np.array_equal(found.loss_between[0, 1], profile.loss) and found.path == "bezier"
    assert found.barriers[0, 1] == profile.barrier
    assert found.distances[0, 1] == pytest.approx(np.linalg.norm(ends[1] - ends[0]))


def test_bad_input_is_named(three: Any) -> None:
    objective, minima = three
    a, b, _ = minima.values()
    for message, given, options in (
        ("at least two minima, not 1", [a], {}),
        ("minima must be several points", 3, {}),
        ("minima 1 and 3 are the same point", [a, b, a], {}),
        (r"minimum x is of|different models.*minimum x|minimum x.*'0\.weight'",
         {"x": cases()["mlp"].objective(), "y": b}, {}),
        ("minimum 2 has no batch-norm statistics: the network uses '1.running_mean'", [a, b.theta], {}),
        ("path must be linear or bezier, not 'arc'", [a, b], {"path": "arc"}),
        ("align must be weights or activations, or None", [a, b], {"align": "yes"}),
        ("points must be at least 3", [a, b], {"points": 2}),
        ("batchnorm must be eval or recompute", [a, b], {"batchnorm": "batch"}),
    ):  # fmt: skip
        with pytest.raises(ls.InputError, match=message):
            ls.connectivity(objective, given, **options)
    with pytest.raises(ls.InputError, match=r"needs a landscape\.Objective, not Linear"):
        ls.connectivity(nn.Linear(1, 1), [a, b])  # type: ignore[arg-type]
