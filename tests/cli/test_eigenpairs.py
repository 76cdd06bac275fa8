"""`landscape eigenpairs` as a user types it: what it writes, says and refuses, and how it continues."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import landscape as ls
from landscape.cli import run
from landscape.cli.summaries.eigen_pairs import eigen_pairs_in_words

SOURCE = """
import os, signal
import torch
import landscape as ls

if "DIE_AFTER" in os.environ:  # so many products
    from landscape.krylov import RestartedLanczos
    step = RestartedLanczos.step
    def mortal(self, most=None):
        if self.products == int(os.environ["DIE_AFTER"]):
            os.kill(os.getpid(), signal.SIGKILL)
        step(self, most)
    RestartedLanczos.step = mortal

def build(seed=0, width=4):
    torch.manual_seed(seed)
    network = torch.nn.Sequential(torch.nn.Linear(3, width), torch.nn.Tanh(), torch.nn.Linear(width, 2)).double()
    x = torch.randn(24, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    return ls.Objective(network, torch.nn.functional.cross_entropy, (x, (x.sum(1) > 0).long()))
"""


@pytest.fixture(autouse=True)
def own_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    Path("mine.py").write_text(SOURCE)
    yield
    sys.modules.pop("mine", None)


def eigenpairs(*arguments):
    return run(["eigenpairs", "--objective", "mine.py:build", *arguments])


def dense():
    from mine import build

    return np.linalg.eigvalsh(ls.Hessian(build()) @ np.eye(26))


def test_a_result_a_figure_and_what_they_say(capsys):
    assert eigenpairs("-k", "3", "--which", "both") == 0
    said = capsys.readouterr()
    pairs = ls.load("eigenpairs.h5")
    values = dense()
    assert np.abs(pairs.values - values[[25, 24, 23, 2, 1, 0]]).max() <= 1e-5 * values[-1]
    assert "3 eigenpairs at each end of the hessian of mine.py:build, 26 parameters, 24 samples, 1 rank" in said.err
    assert "6 at both ends, in loss per parameter²" in said.out and f"{pairs.values[0]:.6g}, " in said.out
    assert "all of 6 pairs, asked for a residual of 0.001 · |λ|" in said.out
    assert f"{pairs.products} products" in said.out and f"{pairs.loss:.6g}" in said.out
    assert Path("eigenpairs.png").stat().st_size > 10_000 and not Path("eigenpairs.h5.state").exists()
    assert run(["info", "eigenpairs.h5"]) == 0
    told = capsys.readouterr().out
    assert all(line in told for line in eigen_pairs_in_words(pairs))
    assert "record.vectors" in told
    assert eigenpairs("-k", "3", "--which", "both") == 0
    assert "already complete: eigenpairs.h5" in capsys.readouterr().out
    assert eigenpairs("-k", "4", "--which", "both") == 2
    assert "  k: 3 there, 4 now" in capsys.readouterr().err


def test_not_all_converged_is_written_and_said(capsys):
    assert eigenpairs("-k", "5", "--max-products", "4", "--no-figure") == 3
    said = capsys.readouterr()
    assert "NOT ALL: " in said.out and "of 5 pairs have a residual below --tol 0.001; more products" in said.err
    assert len(ls.load("eigenpairs.h5")) == 3
    assert eigenpairs("-k", "5", "--tol", "1e-17", "--no-figure", "-o", "b.h5") == 3
    assert "what is missing is the rounding of products" in capsys.readouterr().err


def test_at_a_checkpoint_of_a_recorded_run(capsys):
    small = ["--set", "samples=100", "--epochs", "1", "--every", "8", "--batch", "50"]
    assert run(["train", "--objective", "zoo:digits-mlp", *small, "-o", "run.h5"]) == 0
    recorded = ls.Trajectory("run.h5")
    for index in (0, -1):
        output = f"at{index}.h5"
        assert run(["eigenpairs", "--checkpoint", "run.h5", "--at", str(index), "-k", "1", "-o", output]) == 0
        pairs = ls.load(output)
        assert np.array_equal(pairs.theta, recorded[index].theta) and pairs.loss == recorded.losses[index]
    assert run(["eigenpairs", "--checkpoint", "run.h5", "--at", "99", "-k", "1"]) == 2
    assert "--at 99: run.h5 has" in capsys.readouterr().err


def test_killed_and_run_again_gives_the_same_bits(faults):
    options = ["-k", "4", "--which", "both", "--basis", "10", "--tol", "1e-6", "--no-figure"]
    command = [sys.executable, "-m", "landscape", "eigenpairs", "--objective", "mine.py:build", *options]
    root = Path(ls.__file__).parents[1]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(root), os.environ.get("PYTHONPATH", "")])}
    assert eigenpairs(*options, "-o", "whole.h5") == 0
    whole = ls.load("whole.h5")
    for point in np.random.default_rng().integers(8, whole.products - 2, faults):
        for name in ("b.h5", "b.h5.state"):
            subprocess.run(["rm", "-rf", name], check=True)
        killed = subprocess.run(
            [*command, "-o", "b.h5", "--checkpoint-seconds", "0"],
            env=environment | {"DIE_AFTER": str(point), "OMP_NUM_THREADS": "1"},
            capture_output=True,
            check=False,
        )
        assert killed.returncode == -signal.SIGKILL
        assert eigenpairs(*options, "-o", "b.h5") == 0
        again = ls.load("b.h5")
        for field in ("values", "vectors", "residuals"):
            assert np.array_equal(getattr(again, field), getattr(whole, field))
        assert 0 < again.provenance["resumed_products"] < whole.products and not Path("b.h5.state").exists()


def test_info_explains_a_half_done_run(capsys, monkeypatch):
    from landscape.krylov import RestartedLanczos

    step = RestartedLanczos.step

    def interrupted(self, most=None):
        if self.products == 7:
            raise KeyboardInterrupt
        step(self, most)

    monkeypatch.setattr(RestartedLanczos, "step", interrupted)
    assert eigenpairs("-k", "8", "--checkpoint-seconds", "0", "--no-figure") == 130
    capsys.readouterr()
    assert run(["info", "eigenpairs.h5.state"]) == 0
    assert "7 products done of at most 1000" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-k", "27"], "k = 27 eigenpairs are asked for, but the operator has only n = 26"),
        (["-k", "0"], "--k is 0, but it should be greater than or equal to 1"),
        (["--which", "top"], "--which is 'top', but it should be 'largest', 'smallest', 'magnitude' or 'both'"),
        (["--tol", "0"], "--tol is 0.0, but it should be greater than 0"),
        (["--basis", "6", "-k", "5"], "basis = 6 vectors are too few for 5 pairs"),
        (["--figure", "a.gif"], "must end in one of .png, .svg, .pdf"),
    ],
)
def test_bad_input_exits_with_2_and_one_message(arguments, message, capsys):
    assert eigenpairs(*arguments) == 2
    error = capsys.readouterr().err
    assert message in error and "Traceback" not in error
    assert not Path("eigenpairs.h5").exists()


def test_many_values_are_shortened():
    n = 40
    pairs = ls.EigenPairs(np.arange(n) + 0.5, np.eye(n), np.zeros(n), np.ones(n, bool), 1e-3, 39.5, n)
    text = "\n".join(eigen_pairs_in_words(pairs))
    assert "0.5, 1.5" in text and "39.5" in text and "20.5" not in text and "all of 40 pairs" in text
    zero = ls.EigenPairs(torch.zeros(2).double().numpy(), np.eye(2), np.zeros(2), np.ones(2, bool), 1e-3, 0.0, 2)
    assert "‖Av − λv‖ at most 0:" in "\n".join(eigen_pairs_in_words(zero))
