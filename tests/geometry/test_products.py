"""The bits of a plane must not depend on the number of threads: surfaces are resumed on other computers."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import landscape as ls
from landscape.geometry.products import dot, eigh, norm, product

PLANES = """
import hashlib
import numpy as np
import landscape as ls
from landscape._path_facts import step_cosines
from tests.geometry.runs import Run, random_walk

n = 211_000
runs = [Run((1 + random_walk(length, n, length)).astype(np.float32), block=40) for length in (60, 21)]
print(hashlib.sha256(step_cosines(runs[1])).hexdigest())
for plane in (
    ls.Plane.pca(runs),
    ls.Plane.random(runs[0][-1], normalize=None),
    ls.Plane.through(*(runs[0][index] for index in (0, 30, 59))),
):
    rows = [*plane.project(runs[1]), *plane.anchors.values(), plane.explained_variance, plane.explained_variance_null]
    print(plane.digest(), plane.extent, hashlib.sha256(b"".join(row.tobytes() for row in rows)).hexdigest())
"""


def planes(threads: int) -> str:
    root = str(Path(ls.__file__).parents[1])
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    variables = {**os.environ, "PYTHONPATH": root, **dict.fromkeys(names, str(threads)), "MKL_DYNAMIC": "FALSE"}
    done = subprocess.run(
        [sys.executable, "-c", PLANES], env=variables, cwd=root, capture_output=True, text=True, timeout=120, check=True
    )
    return done.stdout


def test_planes_have_the_same_bits_for_every_number_of_threads():
    one = planes(1)
    assert len(one.splitlines()) == 4
    assert planes(2) == one


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_products_are_those_of_numpy(seed):
    generator = np.random.default_rng(seed)
    first, second = generator.standard_normal((2, 5, 200_001))
    assert product(first, second.T) == pytest.approx(first @ second.T, rel=1e-10)
    assert product(first[:, ::3], second[:, ::3].T) == pytest.approx(first[:, ::3] @ second[:, ::3].T, rel=1e-10)
    assert product(first.T[:7], second[:, :9]) == pytest.approx(first.T[:7] @ second[:, :9], rel=1e-10)
    assert dot(first[0], second[0]) == pytest.approx(first[0] @ second[0], rel=1e-10)
    assert norm(first[0].astype(np.float32)) == pytest.approx(np.linalg.norm(first[0]), rel=1e-6)
    square = first @ first.T
    values, vectors = eigh(square)
    assert values == pytest.approx(np.linalg.eigvalsh(square))
    assert vectors @ np.diag(values) @ vectors.T == pytest.approx(square)
    assert dot(np.zeros(0), np.zeros(0)) == 0
