"""What a surface says of itself."""

from __future__ import annotations

import numpy as np
import pytest

from landscape.records import Surface


def surface(**changes):
    facts = {"x": np.arange(3.0), "y": np.arange(2.0), "loss": np.array([[3.0, 1, 2], [0.5, 4, 5]])}
    return Surface(**{**facts, **changes})


def test_what_is_left_out_means_that_everything_was_computed():
    record = surface(path_step=np.arange(4))
    assert record.evaluated.all() and record.evaluated.shape == (2, 3) and not record.loss_error.any()
    assert np.isnan(record.path_cosine).all() and record.path_threshold.shape == (4,)
    assert record.lowest == (0.0, 1.0, 0.5) and record.lowest_is_on_the_edge


def test_the_lowest_point_is_one_that_was_computed():
    known = np.ones((2, 3), bool)
    known[1, 0] = False
    assert surface(evaluated=known).lowest == (1.0, 0.0, 1.0)
    assert np.isnan(surface(evaluated=np.zeros((2, 3), bool)).lowest).all()


def test_the_error_of_the_model_is_known_where_the_loss_is():
    known = np.ones((2, 3), bool)
    known[0, 1] = False
    error = surface(evaluated=known, model=np.full((2, 3), 2.0)).model_error
    assert error[known] == pytest.approx([1, 0, -1.5, 2, 3]) and np.isnan(error[0, 1])
    assert np.isnan(surface().model_error).all()


def test_runs_know_their_turns_and_thresholds():
    path = surface(
        path_names=np.array(["a", "b"]), path_run=np.array([0, 1, 1]), path_step=np.arange(3),
        path_coordinates=np.zeros((3, 2)), path_loss=np.ones(3), path_projected_loss=np.ones(3),
        path_distance=np.zeros(3), path_cosine=np.array([0.1, 0.2, 0.3]), path_threshold=np.array([4.0, 5, 6]),
    ).paths[1]  # fmt: skip
    assert path.cosine.tolist() == [0.2, 0.3] and path.threshold.tolist() == [5, 6]
