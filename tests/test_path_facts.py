"""How runs turn, and what their optimizers bear, beside runs for which both are known."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

import landscape as ls
from landscape._path_facts import stability_thresholds, step_cosines
from tests.geometry.runs import Run, random_walk


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("block", [1, 3, 40])
def test_cosines_are_those_of_the_differences(seed, block):
    theta = random_walk(12, 300, seed)
    steps = np.diff(theta, axis=0)
    expected = [a @ b / np.linalg.norm(a) / np.linalg.norm(b) for a, b in itertools.pairwise(steps)]
    found = step_cosines(Run(theta, block=block))
    assert found[1:-1] == pytest.approx(expected, rel=1e-12)
    assert np.isnan(found[[0, -1]]).all()


def test_a_straight_run_a_circle_and_an_oscillation():
    time = np.arange(20.0)[:, None]
    assert step_cosines(Run(time * np.ones(5)))[1:-1] == pytest.approx(1)
    angle = 0.3 * time[:, 0]
    assert step_cosines(Run(np.stack([np.cos(angle), np.sin(angle)], 1)))[1:-1] == pytest.approx(np.cos(0.3))
    assert step_cosines(Run((time % 2) * np.ones(5)))[1:-1] == pytest.approx(-1)


def test_where_there_is_no_direction_there_is_no_cosine():
    theta = np.arange(8.0)[:, None] * np.ones(3)
    theta[4] = theta[3]
    theta[7] = np.nan
    found = step_cosines(Run(theta))
    assert np.flatnonzero(np.isfinite(found)).tolist() == [1, 2, 5]
    assert len(step_cosines(Run(theta[:1]))) == 1 and np.isnan(step_cosines(Run(theta[:2]))).all()


def recorded(path, make, groups=False):
    model = torch.nn.Linear(3, 1)
    parameters = list(model.parameters())
    given = [{"params": parameters[:1]}, {"params": parameters[1:], "lr": 0.5}] if groups else parameters
    optimizer = make(given)
    with ls.Recorder(path, model, optimizer) as recorder:
        for step in range(3):
            for group in optimizer.param_groups:
                group["lr"] = 0.1 / (step + 1)
            model(torch.ones(2, 3)).sum().backward()
            optimizer.step()
            recorder.step()
    return ls.Trajectory(path)


def test_thresholds_follow_the_learning_rate(tmp_path):
    run = recorded(tmp_path / "sgd.h5", lambda given: torch.optim.SGD(given, lr=0.4, momentum=0.5, weight_decay=0.25))
    momentum_factor = 2 * (1 + 0.5)
    expected = momentum_factor / run.learning_rates
    assert run.learning_rates[1:] == pytest.approx([0.1, 0.05, 0.1 / 3])
    assert stability_thresholds(run) == pytest.approx(expected - 0.25)  # the loss alone may curve by so much less
    assert stability_thresholds(run, weight_decay=0.25) == pytest.approx(expected)


@pytest.mark.parametrize("kind", ["Adam", "AdamW", "RMSprop", "Adagrad", "Rprop"])
def test_none_where_none_is_right(kind, tmp_path):
    run = recorded(tmp_path / "run.h5", lambda given: getattr(torch.optim, kind)(given, lr=0.01))
    assert np.isnan(stability_thresholds(run)).all()


def test_none_for_groups_that_differ_and_for_runs_without_an_optimizer(tmp_path):
    run = recorded(tmp_path / "run.h5", lambda given: torch.optim.SGD(given, lr=0.1, momentum=0.9), groups=True)
    assert np.isnan(stability_thresholds(run)[0])
    assert np.isnan(stability_thresholds(Run(np.zeros((3, 2))))).all()


@pytest.mark.parametrize("later", [False, True])
def test_none_where_a_schedule_changes_the_momentum(later, tmp_path):
    model = torch.nn.Linear(3, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    recorder = ls.Recorder(tmp_path / "run.h5", model, optimizer, every=2)
    momenta = []
    if not later:
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=0.5, total_steps=12)
    with recorder:
        momenta.append(optimizer.param_groups[0]["momentum"])
        for step in range(1, 9):
            model(torch.ones(2, 3)).sum().backward()
            optimizer.step()
            recorder.step()
            if step % 2 == 0:
                momenta.append(optimizer.param_groups[0]["momentum"])
            if not later:
                schedule.step()
            elif step == 5:
                optimizer.param_groups[0]["momentum"] = 0.5
    run = ls.Trajectory(tmp_path / "run.h5")
    true = 2 * (1 + np.array(momenta)) / run.learning_rates
    found = stability_thresholds(run)
    right = np.isfinite(found)
    assert right.tolist() == ([True, True, True, False, False] if later else [False] * 5)
    assert found[right] == pytest.approx(true[right])
    if later:
        goes_on_from_an_earlier_step(tmp_path / "run.h5", model, optimizer)


def goes_on_from_an_earlier_step(path, model, optimizer):
    optimizer.param_groups[0]["momentum"] = 0.9
    with ls.Recorder(path, model, optimizer, every=2, resume=True) as recorder:
        recorder.rewind(4)
        for _ in range(4):
            recorder.step()
    assert np.isfinite(stability_thresholds(ls.Trajectory(path))).all()
