"""Series along a run against dense Hessians at its checkpoints; resuming; records, figures and bad input."""

from __future__ import annotations

import dataclasses
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import landscape as ls
from landscape.records.parts import record_parts
from landscape.series import chosen_checkpoints
from tests.cases import cases

# By name: which one "auto" takes depends on a timing, and the rounding on that.
HESSIAN = partial(ls.Hessian, product="double_backward")


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> tuple[ls.Objective, ls.Trajectory]:
    """A network with batch norm, whose statistics change along the run."""
    objective = cases()["convolution and batch norm"].objective()
    path = tmp_path_factory.mktemp("series") / "run.h5"
    options = {"momentum": 0.9}
    return objective, ls.train(objective, "sgd", lr=0.05, epochs=5, batch=6, every=2, options=options, path=path)


def dense(objective: ls.Objective, checkpoint: ls.Checkpoint) -> np.ndarray:
    there = objective.at(checkpoint)
    return np.asarray(ls.Hessian(there) @ np.eye(there.n))


@pytest.mark.parametrize(("which", "seed"), [("largest", 0), ("both", 1), ("smallest", 2)])
def test_eigenvalues_at_every_checkpoint_are_those_of_the_dense_hessian(recorded: Any, which: str, seed: int) -> None:
    objective, run = recorded
    series = ls.eigenpairs_along(run, objective, 3, which, every=3, chain=3, seed=seed, tol=1e-7)
    indices = chosen_checkpoints(len(run), 3)
    assert len(indices) == len(series) >= 4 and series.steps.tolist() == run.steps[indices].tolist()
    assert series.warm.tolist() == [row % 3 > 0 for row in range(len(series))] and series.converged.all()
    for row, index in enumerate(indices):
        values = np.linalg.eigvalsh(dense(objective, run[index]))
        ends = {"largest": values[::-1][:3], "smallest": values[:3], "both": np.r_[values[-3:], values[:3]]}[which]
        scale = np.abs(values).max()
        assert np.abs(np.sort(series.values[row]) - np.sort(ends)).max() <= 1e-9 * scale
        assert series.loss[row] == objective.at(run[index]).loss()
        assert (series.residuals[row] <= 1e-7 * np.maximum(np.abs(series.values[row]), scale / 1000) * 1.001).all()
    assert series.losses.tolist() == run.losses[indices].tolist()
    assert series.learning_rates.tolist() == run.learning_rates[indices].tolist()
    assert series.theta_sha256.tolist() == run.digests[indices].tolist()
    assert series.products == series.product_counts.sum() and series.gradient_equivalents > 0
    assert series.optimizer["class"] == "SGD" and series.run == run.name and series.n == objective.n


def test_a_chain_of_one_is_cold_everywhere(recorded: Any) -> None:
    objective, run = recorded
    cold = ls.eigenpairs_along(run, objective, 2, chain=1, every=4, operator=HESSIAN)
    for row, index in enumerate(chosen_checkpoints(len(run), 4)):
        alone = ls.eigenpairs(HESSIAN(objective.at(run[index])), 2)
        assert np.array_equal(cold.values[row], alone.values) and cold.product_counts[row] == alone.products
        again = cold[row]
        assert np.array_equal(again.residuals, alone.residuals) and again.scale == alone.scale
        assert again.noise_floor == alone.noise_floor and again.loss == alone.loss and len(again) == 2
    assert not cold.warm.any()


def test_densities_at_every_checkpoint_are_those_computed_there(recorded: Any) -> None:
    objective, run = recorded
    for options in ({"tol": 0.3}, {"method": "classical", "probes": 2, "steps": 9, "seed": 3}):
        series = ls.spectra_along(str(run.path), objective, every=6, operator=HESSIAN, **options)
        indices = chosen_checkpoints(len(run), 6)
        assert len(series) == len(indices) and series.steps.tolist() == run.steps[indices].tolist()
        for row, index in enumerate(indices):
            density = ls.spectral_density(HESSIAN(objective.at(run[index])), **options)
            times = ("seconds", "gradient_equivalents", "provenance")
            arrays, facts = record_parts(density, times)
            found_arrays, found_facts = record_parts(series[row], times)
            assert all(np.array_equal(found_arrays[name], array, equal_nan=True) for name, array in arrays.items())
            assert repr(found_facts) == repr(facts)
        assert series.lambda_max[0] == series[0].lambda_max and series.loss[-1] == objective.at(run[-1]).loss()
        assert series.products == sum(density.products for density in series)


class CutShortError(Exception):
    pass


@pytest.mark.parametrize("kind", ["eigenpairs", "spectra"])
def test_a_series_that_was_cut_short_goes_on_with_the_same_bits(kind: str, recorded: Any, tmp_path: Path) -> None:
    objective, run = recorded
    function = {"eigenpairs": ls.eigenpairs_along, "spectra": ls.spectra_along}[kind]
    options: dict[str, Any] = {
        "every": 2,
        "operator": HESSIAN,
        **({"k": 2, "chain": 4} if kind == "eigenpairs" else {"method": "classical", "probes": 1, "steps": 6}),
    }
    whole = function(run, objective, **options)
    for cut in (1, 5):
        state = tmp_path / f"state-{cut}"

        def stop(done: int, total: int, text: str, cut: int = cut) -> None:
            assert total == len(whole)
            if done == cut:
                raise CutShortError

        with pytest.raises(CutShortError):
            function(run, objective, **options, state=state, progress=stop)
        resumed = function(run, objective, **options, state=state)
        assert resumed.provenance["resumed_checkpoints"] == cut
        if isinstance(whole, ls.EigenSeries):
            for name in ("values", "residuals", "converged", "product_counts", "warm"):
                assert np.array_equal(getattr(resumed, name), getattr(whole, name)), name
        else:
            for name, piece in whole.pieces.items():
                assert np.array_equal(resumed.pieces[name], piece, equal_nan=True), name
    with pytest.raises(ls.InputError, match="every"):
        function(run, objective, **(options | {"every": 3}), state=state)


def test_records_are_kept_and_drawn(recorded: Any, tmp_path: Path) -> None:
    objective, run = recorded
    pairs = ls.eigenpairs_along(run, objective, 3, every=3)
    loaded = ls.load(pairs.save(tmp_path / "pairs.h5"))
    for one in dataclasses.fields(pairs):
        before, after = getattr(pairs, one.name), getattr(loaded, one.name)
        same = np.array_equal(before, after) if isinstance(before, np.ndarray) else repr(before) == repr(after)
        assert same, one.name
    densities = ls.spectra_along(run, objective, every=7, tol=0.3)
    again = ls.load(densities.save(tmp_path / "spectra.h5"))
    x = np.linspace(-1, 1, 7)
    for before, after in zip(densities, again, strict=True):
        assert np.array_equal(before.pdf(x, 0.1), after.pdf(x, 0.1)) and before.error == after.error
        assert np.array_equal(before.cdf_band(x), after.cdf_band(x))
    for record, name in ((loaded, "pairs.png"), (again, "spectra.png")):
        record.plot(tmp_path / name, title="a title")
        assert (tmp_path / name).stat().st_size > 10_000
    again.plot(scale="symlog", sigma=0.1)
    with pytest.raises(ls.InputError, match="scale is 'log'"):
        again.plot(scale="log")
    with pytest.raises(ls.InputError, match="sigma is -1"):
        again.plot(sigma=-1)
    with pytest.raises(IndexError, match="checkpoint 99 of a series of"):
        again[99]


def test_the_map_shows_the_density_at_its_place(recorded: Any) -> None:
    objective, run = recorded
    series = ls.spectra_along(run, objective, every=7, tol=0.3)
    figure = series.plot()
    mesh = figure.axes[0].collections[0]
    edges = mesh.get_coordinates()
    assert edges.shape[0] == len(series) + 1
    centres = (edges[0, 1:, 0] + edges[0, :-1, 0]) / 2
    rows = mesh.get_array().reshape(len(series), -1)
    sigma = max(density.default_sigma for density in series)
    for row, density in zip(rows, series, strict=True):
        exact = density.pdf(centres, sigma)
        shown = ~np.ma.getmaskarray(row) & np.isfinite(np.ma.filled(row, np.nan))
        assert np.allclose(row[shown], exact[shown], rtol=1e-9) and shown.any()
        assert exact[~shown].max(initial=0) <= 1.001 / 20 / (series.n * sigma * np.sqrt(2 * np.pi))


def test_which_checkpoints_are_taken() -> None:
    assert chosen_checkpoints(1, 5) == [0] and chosen_checkpoints(11, 5) == [0, 5, 10]
    assert chosen_checkpoints(12, 5) == [0, 5, 10, 11] and chosen_checkpoints(3, 1) == [0, 1, 2]


def test_bad_input_is_named(recorded: Any, tmp_path: Path) -> None:
    objective, run = recorded
    for message, options in (
        ("every must be at least 1 checkpoint, not 0", {"every": 0}),
        ("chain must be at least 1 checkpoint, not -1", {"chain": -1}),
        ("k must be at least 1", {"k": 0}),
        ("unknown which", {"which": "top"}),
    ):
        with pytest.raises(ls.InputError, match=message):
            ls.eigenpairs_along(run, objective, **options)  # type: ignore[arg-type]
    with pytest.raises(ls.InputError, match=r"needs the landscape.Objective of the run, not Hessian"):
        ls.eigenpairs_along(run, ls.Hessian(objective))  # type: ignore[arg-type]
    ls.eigenpairs(ls.Hessian(objective), 1).save(tmp_path / "pairs.h5")
    with pytest.raises(ls.InputError, match="holds eigenpairs"):
        ls.spectra_along(tmp_path / "pairs.h5", objective)
    with pytest.raises(ls.InputError, match="parameter"):
        ls.eigenpairs_along(run, cases()["mlp"].objective())
