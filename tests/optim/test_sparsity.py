"""The sparsity that ProxSGD is for, on the digits perceptron; tools/benchmarks/prox_sgd.py measures it in full."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import landscape as ls
from landscape import zoo
from landscape.optim import ProxSGD

OPTIONS = {"gradient_weight": 1.0, "schedule": "theory", "curvature": 0.2}


@pytest.mark.slow
def test_four_fifths_are_exact_zeros_at_less_than_a_point_of_accuracy(tmp_path: Path) -> None:
    zeros, lost = [], []
    for seed in range(3):
        objective = zoo.build("digits-mlp", epochs=0, seed=seed)
        assert ProxSGD(objective.model().parameters(), lr=2.0, **OPTIONS).check_schedule() == []
        dense, sparse = (
            ls.train(
                objective,
                "prox_sgd",
                lr=2.0,
                options={**OPTIONS, "l1": l1},
                epochs=300,
                every=300 * 29,  # the last step, before finalize
                seed=seed,
                path=tmp_path / f"{l1}-{seed}.h5",
            )
            for l1 in (0.0, 1.3e-3)
        )
        rough, last = sparse[1], sparse[-1]
        assert np.count_nonzero(rough.theta) == objective.n
        before, rough_accuracy, after = (
            objective.at(point).evaluate()["accuracy"] for point in (dense[-1], rough, last)
        )
        assert abs(after - rough_accuracy) <= 2e-3
        zeros.append(np.mean(last.theta == 0))
        lost.append(before - after)
    assert np.mean(zeros) >= 0.8 and np.mean(lost) <= 0.01
