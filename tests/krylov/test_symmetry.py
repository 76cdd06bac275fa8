"""Operators that are not symmetric are refused from the products that are spent anyway; symmetric ones never."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import landscape as ls
from tests.cases import Diagonal


class Given(Diagonal):
    """Any matrix, as a user's subclass brings it."""

    name = "given"

    def __init__(self, matrix: np.ndarray, dtype: torch.dtype) -> None:
        super().__init__(np.zeros(len(matrix)), dtype)
        self.matrix = torch.from_numpy(matrix).to(dtype)

    def on(self, grid: ls.ProcessGrid) -> Given:
        return self

    def apply_rows(self, shard, rows):
        return self.matrix @ shard


def random(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    values = np.random.default_rng(seed).standard_normal((n, n)) / np.sqrt(n)
    return (values + values.T) / 2, (values - values.T) / 2


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("n", [300, 1500])
def test_a_skew_part_is_seen(n: int, seed: int, dtype: torch.dtype) -> None:
    symmetric, skew = random(n, seed)
    with pytest.raises(ls.InputError, match=r"is not symmetric: .* use \(A \+ Aᵀ\)/2"):
        ls.spectral_density(Given(symmetric + skew, dtype), max_products=30)
    with pytest.raises(ls.InputError, match=r"is not symmetric: .* use \(A \+ Aᵀ\)/2"):
        ls.eigenpairs(Given(symmetric + skew, dtype), k=3)
    density = ls.spectral_density(Given(symmetric, dtype), max_products=30, tol=1e-9)
    assert density.products == 30
    assert ls.eigenpairs(Given(symmetric, dtype), k=3).converged.all()


def test_low_accuracy_is_no_asymmetry() -> None:
    class Coarse(Given):
        def apply_rows(self, shard, rows):
            return (self.matrix.bfloat16() @ shard.bfloat16()).to(shard.dtype)

    assert ls.spectral_density(Coarse(random(300, 0)[0], torch.float32), max_products=30, tol=1e-9).products == 30


def test_a_preconditioner_from_one_side_is_refused() -> None:
    symmetric, _ = random(400, 3)
    metric = np.exp(np.random.default_rng(0).standard_normal(400))
    with pytest.raises(ls.InputError, match=r"P\^-½ A P\^-½ instead of P⁻¹A"):
        ls.spectral_density(Given(symmetric / metric[:, None], torch.float64), max_products=30)
