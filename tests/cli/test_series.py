"""`landscape eigenpairs run.h5` and `landscape spectrum run.h5` as a user types them."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np
import pytest

import landscape as ls
from landscape import zoo
from landscape.cli import run

SOURCE = """
import torch
import landscape as ls

def build(seed=0):
    torch.manual_seed(seed)
    network = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Tanh(), torch.nn.Linear(4, 2)).double()
    x = torch.randn(24, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    return ls.Objective(network, torch.nn.functional.cross_entropy, (x, (x.sum(1) > 0).long()))
"""


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("series")
    (folder / "mine.py").write_text(SOURCE)
    before, path = Path.cwd(), list(sys.path)
    os.chdir(folder)
    try:
        small = ["--set", "samples=60", "--epochs", "2", "--every", "1", "--batch", "20"]
        assert run(["train", "--objective", "zoo:digits-mlp", *small, "-o", "zoo.h5"]) == 0
        assert run(["train", "--objective", "mine.py:build", "--epochs", "3", "--batch", "8", "-o", "run.h5"]) == 0
    finally:
        os.chdir(before)
        sys.path[:] = path
    return folder


@pytest.fixture(autouse=True)
def in_that_folder(files, monkeypatch):
    monkeypatch.chdir(files)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield
    sys.modules.pop("mine", None)


def test_eigenpairs_along_a_run_that_remembers_its_objective(capsys):
    assert run(["eigenpairs", "zoo.h5", "--every", "4", "-k", "2", "-o", "a.h5"]) == 0
    said = capsys.readouterr()
    series, recorded = ls.load("a.h5"), ls.Trajectory("zoo.h5")
    assert isinstance(series, ls.EigenSeries) and series.steps.tolist() == [0, 4, 6]
    objective = zoo.build("digits-mlp", samples=60, epochs=0)
    pairs = ls.eigenpairs(ls.Hessian(objective.at(recorded[4])), 2)
    assert np.allclose(series.values[1], pairs.values, rtol=1e-4) and series.provenance["run"] == recorded.name
    assert "2 largest eigenpairs of the hessian at 3 of 7 checkpoints of zoo.h5, 2454 parameters" in said.err
    assert f"step 4: {series.values[1, 0]:.6g} … {series.values[1, 1]:.6g}" in said.out
    assert "at 1 cold start, " in said.out and "all pairs at 3 of 3 checkpoints" in said.out
    assert Path("a.png").stat().st_size > 10_000 and not Path("a.h5.state").exists()
    assert run(["info", "a.h5"]) == 0
    assert "eigenvalues along a recorded run" in capsys.readouterr().out
    assert run(["eigenpairs", "zoo.h5", "--every", "4", "-k", "2", "-o", "a.h5"]) == 0
    assert "already complete: a.h5" in capsys.readouterr().out
    assert run(["eigenpairs", "zoo.h5", "--every", "3", "-k", "2", "-o", "a.h5"]) == 2
    assert "every: 4 there, 3 now" in capsys.readouterr().err


def test_a_series_that_was_interrupted_is_explained_and_goes_on(capsys, monkeypatch):
    import landscape.series

    solve, left = landscape.series.solve, [2]

    def interrupted(*arguments):
        if left[0] == 0:
            raise KeyboardInterrupt
        left[0] -= 1
        return solve(*arguments)

    options = ["eigenpairs", "run.h5", "--objective", "mine.py:build", "--chain", "3", "-k", "2", "--no-figure"]
    monkeypatch.setattr(landscape.series, "solve", interrupted)
    assert run([*options, "-o", "f.h5"]) == 130
    monkeypatch.setattr(landscape.series, "solve", solve)
    capsys.readouterr()
    assert run(["info", "f.h5.state"]) == 0
    told = capsys.readouterr().out
    assert "products done\n" in told and "chain-0000: " in told
    assert run([*options, "-o", "f.h5"]) == 0
    assert "(2 checkpoints in an earlier run)" in capsys.readouterr().out and not Path("f.h5.state").exists()


def test_spectra_along_a_run_of_the_users_own_code(capsys):
    assert run(["spectrum", "run.h5", "--every", "3", "-o", "b.h5"]) == 2
    assert "say --objective mine.py:build" in capsys.readouterr().err
    assert run(["spectrum", "run.h5", "--every", "3", "--objective", "mine.py:build", "-o", "b.h5"]) == 0
    said = capsys.readouterr()
    series, recorded = ls.load("b.h5"), ls.Trajectory("run.h5")
    from mine import build

    assert series.steps.tolist() == recorded.steps[::3].tolist()
    values = np.linalg.eigvalsh(ls.Hessian(build().at(recorded[3])) @ np.eye(26))
    assert np.abs(np.sort(series[1].nodes) - values).max() <= 1e-8
    assert f"{len(series)} of {len(series)} densities" in said.out and Path("b.png").stat().st_size > 10_000
    assert run(["info", "b.h5"]) == 0
    assert "eigenvalue densities along a recorded run" in capsys.readouterr().out


def test_what_was_not_reached_is_said(capsys):
    options = ["--objective", "mine.py:build", "--every", "5", "--no-figure"]
    assert run(["eigenpairs", "run.h5", *options, "-k", "4", "--max-products", "3", "-o", "c.h5"]) == 3
    assert "at 3 of 3 checkpoints not all pairs" in capsys.readouterr().err
    assert np.isnan(ls.load("c.h5").values[:, 3]).all()
    options = [*options, "--method", "classical", "--probes", "1", "--steps", "2", "--tol", "0.001"]
    assert run(["spectrum", "run.h5", *options, "-o", "d.h5"]) == 3
    assert "at 3 of 3 checkpoints the predicted error is larger" in capsys.readouterr().err


def test_a_block_of_start_vectors(capsys):
    output = ["--no-figure", "-o", "e.h5", "-k", "3", "--block", "2"]
    assert run(["eigenpairs", "--objective", "mine.py:build", *output]) == 0
    assert ls.load("e.h5").provenance["configuration"]["block"] == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["eigenpairs", "run.h5", "--every", "0"], "--every is 0, but it should be greater than or equal to 1"),
        (["spectrum", "--every", "5"], "landscape spectrum run.h5 --every 5"),
        (["eigenpairs", "--chain", "5", "--objective", "zoo:digits-mlp"], "--chain belongs to a series"),
        (["eigenpairs", "none.h5", "--every", "5"], "none.h5"),
        (["eigenpairs", "mine.py", "--every", "5"], "mine.py"),
        (["eigenpairs", "zoo.h5", "--at", "5"], "--at names one point, but zoo.h5 is a whole run"),
        (["spectrum", "zoo.h5", "--checkpoint", "run.h5"], "--checkpoint names one point, but zoo.h5 is a whole run"),
        (["spectrum", "zoo.h5", "--memory", "full"], "--memory belongs to a single density"),
        (["eigenpairs", "zoo.h5", "--block", "0"], "--block is 0, but it should be greater than or equal to 1"),
    ],
)
def test_bad_input_exits_with_2_and_one_message(arguments, message, capsys):
    assert run([*arguments, "-o", "bad.h5"]) == 2
    error = capsys.readouterr().err
    assert message in error and "Traceback" not in error
    assert not Path("bad.h5").exists()


def test_a_result_of_another_kind_is_no_run(capsys):
    ls.EigenPairs(np.ones(1), np.ones((1, 1)), np.zeros(1), np.ones(1, bool), 1e-3, 1.0, 1).save("pairs.h5")
    assert run(["eigenpairs", "pairs.h5", "--every", "5"]) == 2
    assert "pairs.h5 holds eigenpairs (eigen_pairs); a recorded run is needed" in capsys.readouterr().err
