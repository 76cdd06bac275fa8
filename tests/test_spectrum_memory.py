"""Spectral densities in every memory mode: agreement with the full basis, resuming, budgets that do not suffice."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import landscape as ls
from landscape import zoo
from landscape._budget import choose
from landscape._capacity import bytes_of
from landscape.krylov import MODES, needs
from tests.cases import Diagonal

DTYPES = ("float32", "float64")
# How far nodes may move, in units of the largest: rounding of the products apart, what the storage costs.
MOVED = {"selective": 0.0, "disk": 0.0, "float32": 1e-12, "float16": 1e-7, "bfloat16": 1e-5}


@cache
def hessian(dtype: str) -> ls.Hessian:
    return ls.Hessian(zoo.build("digits-mlp", epochs=3, samples=120, dtype=dtype))


@cache
def density(mode: str, dtype: str, seed: int) -> ls.SpectralDensity:
    return ls.spectral_density(hessian(dtype), tol=1e-9, max_products=40, seed=seed, memory=mode)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("mode", MOVED)
def test_modes_with_a_basis_agree_on_a_network(mode: str, seed: int, dtype: str) -> None:
    if mode == dtype:
        with pytest.raises(ls.InputError, match="in float32 already; use full"):
            density(mode, dtype, seed)
        return
    full, other = density("full", dtype, seed), density(mode, dtype, seed)
    assert other.memory == other.provenance["memory"] == mode
    if mode == "disk":
        assert np.array_equal(full.nodes, other.nodes) and np.array_equal(full.weights, other.weights)
    moved = np.abs(full.nodes - other.nodes).max() / full.lambda_max
    assert moved <= MOVED[mode] + 100 * torch.finfo(getattr(torch, dtype)).eps
    assert np.array_equal(full.resolved, other.resolved)
    assert np.abs(full.weights - other.weights).max() <= 1e-5


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("seed", range(3))
def test_without_a_basis_a_network_has_the_same_distribution(seed: int, dtype: str) -> None:
    full = ls.spectral_density(hessian(dtype), method="classical", probes=1, steps=40, seed=seed)
    minimal = density("minimal", dtype, seed)
    sigma = full.default_sigma
    x = np.linspace(full.lambda_min - 3 * sigma, full.lambda_max + 3 * sigma, 3000)
    step = x[1] - x[0]
    # The distribution of what a plot shows, smoothed by its kernel.
    difference = np.cumsum(full.pdf(x, sigma) - minimal.pdf(x, sigma)) * step
    assert np.abs(difference).max() <= 1e-3
    assert minimal.memory == "minimal" and not minimal.resolved.any()
    assert minimal.lambda_max == pytest.approx(full.lambda_max, rel=1e-5)


@pytest.mark.parametrize("mode", ["full", "selective", "float32", "float16", "bfloat16", "disk", "minimal"])
def test_every_mode_resumes_with_the_same_bits(mode: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    eigenvalues = np.sort(np.r_[1e-2 * np.random.default_rng(0).standard_normal(980) ** 3, np.linspace(0.1, 1, 20)])
    options: dict[str, Any] = {"tol": 1e-9, "max_products": 50, "memory": mode}
    whole = ls.spectral_density(Diagonal(eigenvalues), **options)
    # Several segments per checkpoint, some of them of a checkpoint that was never finished.
    monkeypatch.setattr("landscape._durable.PIECE_BYTES", 3 * 1000 * 8)

    class KilledError(Exception):
        pass

    def stop(at: int) -> Any:
        def progress(done: int, total: int, text: str) -> None:
            if done == at:
                raise KilledError

        return progress

    from landscape.store import RunState

    state, written, append = tmp_path / "state", [0], RunState.append

    def killed(self: RunState, arrays: Any, attributes: Any) -> None:
        written[0] += 1
        if written[0] == 12:
            raise KilledError
        append(self, arrays, attributes)

    monkeypatch.setattr(RunState, "append", killed)
    for at, seconds in ((7, 0), (35, 1e-3), (42, 0)):
        with pytest.raises(KilledError):
            ls.spectral_density(
                Diagonal(eigenvalues), **options, state=state, checkpoint_seconds=seconds, progress=stop(at)
            )
    resumed = ls.spectral_density(Diagonal(eigenvalues), **options, state=state)
    assert resumed.provenance["resumed_products"] >= 7
    assert np.array_equal(resumed.nodes, whole.nodes) and np.array_equal(resumed.weights, whole.weights)


def test_the_budget_decides() -> None:
    eigenvalues = np.linspace(-1, 1, 300_000)
    full, half, least = (needs(MODES[name], 300_000, 10, itemsize=8).device for name in ("full", "float32", "minimal"))
    for budget, name in ((full, "full"), (full - 1, "float32"), (half - 1, "float16"), (least, "minimal")):
        found = ls.spectral_density(Diagonal(eigenvalues), max_products=10, memory_budget=budget)
        assert found.memory == name and found.provenance["configuration"]["memory"] == name
    with pytest.raises(ls.InputError, match=rf"too small: memory=\"minimal\".* takes 9.2 MiB \({least} bytes\)"):
        ls.spectral_density(Diagonal(eigenvalues), max_products=10, memory_budget=least - 1)
    with pytest.raises(ls.InputError, match=rf'too small for memory="full".* \({full} bytes\)'):
        ls.spectral_density(Diagonal(eigenvalues), max_products=10, memory="full", memory_budget="20 MiB")


def test_where_vectors_are_kept_is_not_part_of_the_configuration() -> None:
    found = ls.spectral_density(Diagonal(np.linspace(-1, 1, 1000)), max_products=5, memory="disk")
    assert found.memory == "disk" and found.provenance["configuration"]["memory"] == "full"


def test_few_parameters_get_their_exact_spectrum_in_any_mode() -> None:
    eigenvalues = np.sort(np.r_[np.zeros(6), np.linspace(-1, 2, 37)])
    found = ls.spectral_density(Diagonal(eigenvalues), memory="minimal", tol=1e-9)
    assert found.memory == "full" and np.abs(found.nodes - eigenvalues).max() <= 1e-12


def test_budgets_are_read_as_people_write_them() -> None:
    assert [bytes_of(text) for text in (1000, "4e9", "4GiB", "0.5 MB", "3k")] == [
        1000, 4 * 10**9, 2**32, 2**19, 3072,
    ]  # fmt: skip
    for wrong in ("four", "-1", 0, "4 XB", "1.2.3"):
        with pytest.raises(ls.InputError, match="memory_budget must be a number of bytes such as"):
            bytes_of(wrong)


@pytest.mark.parametrize(
    ("mode", "message"),
    [
        ("huge", "unknown memory mode 'huge'; choose auto, full, host"),
        ("host", "the computation is on the host already; use full, or disk"),
        ("float32", "the computation is in float32 already"),
    ],
)
def test_modes_that_make_no_sense_are_refused(mode: str, message: str) -> None:
    with pytest.raises(ls.InputError, match=message):
        choose(mode, None, 1000, 10, 1, torch.float32, torch.device("cpu"))
