"""Operators from functions: the same results as their matrices, and refusals in words."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import landscape as ls


def matrix(seed: int, n: int = 60) -> np.ndarray:
    values = np.random.default_rng(seed).standard_normal((n, n))
    return (values + values.T) / 2


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_it_is_an_operator_like_any_other(seed: int, dtype: torch.dtype) -> None:
    A = matrix(seed)
    operator = ls.from_function(lambda v: torch.from_numpy(A).to(v) @ v, 60, dtype=dtype, name="mine")
    exact = np.linalg.eigvalsh(A)
    tolerance = 100 * torch.finfo(dtype).eps * np.abs(exact).max()
    density = ls.spectral_density(operator)
    assert np.allclose(density.nodes, exact, atol=tolerance) and density.operator == "mine"
    assert np.allclose(ls.eigenpairs(operator, k=2).values, exact[[-1, -2]], atol=1e-4)
    doubled = 2 * operator - 1.0
    assert np.allclose(ls.spectral_density(doubled).nodes, 2 * exact - 1, atol=2 * tolerance)


def test_arrays_go_in_and_out() -> None:
    A = matrix(3)
    operator = ls.from_function(lambda v: A @ v, 60, arrays=True)
    vector = np.linspace(0, 1, 60)
    assert np.allclose(operator @ vector, A @ vector, rtol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("skew", [1.0, 0.1])
def test_what_is_not_symmetric_is_refused(dtype: torch.dtype, skew: float) -> None:
    A = torch.from_numpy(matrix(0) + skew * np.random.default_rng(1).standard_normal((60, 60))).to(dtype)
    with pytest.raises(ls.InputError, match=r"mine is not symmetric: .* use \(A \+ Aᵀ\)/2"):
        ls.from_function(lambda v: A @ v, 60, dtype=dtype, name="mine")


def test_bad_functions_are_refused_in_words() -> None:
    with pytest.raises(ls.ComputeError, match="product 1 of function holds NaN or inf at 7 of 7"):
        ls.from_function(lambda v: v * float("nan"), 7)
    with pytest.raises(ls.InputError, match=r"a vector of shape \(7,\) and returned \(1,\)"):
        ls.from_function(lambda v: v[:1], 7)
    with pytest.raises(ls.InputError, match="must be callable"):
        ls.from_function(np.eye(3), 3)  # type: ignore[arg-type]
    with pytest.raises(ls.InputError, match="at least 1"):
        ls.from_function(lambda v: v, 0)
    with pytest.raises(ls.InputError, match=r"knows no micro-batches"):
        ls.from_function(lambda v: v, 3).batch_product(None, 1.0, torch.ones(3))
